/** Could the property test fail at all? Five mistakes are planted, one at a time; each must be found. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Lab } from './lab.ts';
import { compareWithKernel } from './property.ts';

const ROOT = join(import.meta.dirname, '../..');
const WORK = join(ROOT, 'build', `mutants-${process.pid}`);
afterAll(() => rmSync(WORK, { recursive: true, force: true }));

/** @throws when the text is not there exactly once: a mutant that changes nothing proves nothing */
function plant(file: string, right: string, wrong: string): void {
  const text = readFileSync(file, 'utf8');
  if (text.split(right).length !== 2) throw new Error(`${file} has not exactly one: ${right}`);
  writeFileSync(file, text.replace(right, wrong));
}

const KERNEL_MUTANTS = [
  {
    name: 'precedence',
    file: 'lib/policy.h',
    right: 'return exact->prefix >= any->prefix;',
    wrong: 'return exact->prefix < any->prefix;',
  },
  {
    name: 'port',
    file: 'lib/policy.h',
    right: '.prefix_length = POLICY_PREFIX_FULL,',
    wrong: '.prefix_length = POLICY_PREFIX_PROTOCOL,',
  },
  {
    name: 'default deny',
    file: 'lib/policy.h',
    right: '} else if (state->enforcing) {',
    wrong: '} else if (state->enforcing > 1) {',
  },
  {
    name: 'direction',
    file: 'lib/flow.h',
    right: 'return decide_half(responder->ingress_table,',
    wrong: 'return decide_half(responder->egress_table,',
  },
];

it.each(KERNEL_MUTANTS)(
  'a mistake in $name is found in the kernel program',
  { timeout: 60_000 },
  async ({ name, file, right, wrong }) => {
    const folder = join(WORK, name.replace(' ', '-'));
    mkdirSync(folder, { recursive: true });
    cpSync(join(ROOT, 'bpf'), folder, { recursive: true, filter: (path) => !path.endsWith('/build') });
    plant(join(folder, file), right, wrong);
    execFileSync('make', ['-s', '-C', folder], { stdio: 'pipe' });
    using lab = new Lab({ object: join(folder, 'build/sidestep.bpf.o') });
    const newCompiler = (numbers: Numbers): Compiler => new Compiler(numbers, { nodeName: 'here', podRanges: [] });
    const { mismatches } = await compareWithKernel(lab, {
      sets: 60,
      flowsPerSet: 50,
      seed: 7,
      stopAt: 1,
      newCompiler,
      numbers: new Numbers(undefined),
    });
    expect(mismatches.length).toBeGreaterThan(0);
  },
);

it('a mistake in the selectors is found in the compiler', { timeout: 60_000 }, async () => {
  const folder = join(WORK, 'selector');
  for (const part of ['model', 'policy', 'identity', 'generated'])
    cpSync(join(ROOT, 'control-plane', part), join(folder, part), { recursive: true });
  plant(join(folder, 'policy/peers.ts'), 'return peers.selectors.some(', 'return peers.selectors.slice(1).some(');
  const mutant = (await import(join(folder, 'policy/compile.ts'))) as { Compiler: typeof Compiler };
  using lab = new Lab();
  const newCompiler = (numbers: Numbers): Compiler => new mutant.Compiler(numbers, { nodeName: 'here', podRanges: [] });
  const { mismatches } = await compareWithKernel(lab, {
    sets: 60,
    flowsPerSet: 50,
    seed: 7,
    stopAt: 1,
    newCompiler,
    numbers: new Numbers(undefined),
  });
  expect(mismatches.length).toBeGreaterThan(0);
});

it('without a mistake the same seed finds nothing', { timeout: 60_000 }, async () => {
  using lab = new Lab();
  const newCompiler = (numbers: Numbers): Compiler => new Compiler(numbers, { nodeName: 'here', podRanges: [] });
  const { mismatches } = await compareWithKernel(lab, {
    sets: 60,
    flowsPerSet: 50,
    seed: 7,
    newCompiler,
    numbers: new Numbers(undefined),
  });
  expect(mismatches).toEqual([]);
});
