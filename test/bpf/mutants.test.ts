/** Could the property test fail at all? Seven mistakes are planted, one at a time; each must be found. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Lab } from './lab.ts';
import { compareWithKernel, STEERING } from './property.ts';

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
    right: 'ingress ? end->ingress_table : end->egress_table, peer',
    wrong: 'end->egress_table, peer',
  },
  {
    name: 'redirect',
    file: 'lib/flow.h',
    right: 'return d->egress.verdict == VERDICT_REDIRECT || d->ingress.verdict == VERDICT_REDIRECT;',
    wrong: 'return d->egress.verdict == VERDICT_REDIRECT;',
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
    using lab = new Lab({ object: join(folder, 'build/sidestep.bpf.o'), steering: STEERING });
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

const COMPILER_MUTANTS = [
  {
    name: 'the selectors',
    file: 'policy/peers.ts',
    right: 'return peers.selectors.some(',
    wrong: 'return peers.selectors.slice(1).some(',
  },
  {
    name: 'the sum of HTTP rules',
    file: 'policy/decision-points.ts',
    right: '[...new Set([...ours, ...everybodys])]',
    wrong: '[...ours]',
  },
];

it.each(COMPILER_MUTANTS)('a mistake in $name is found in the compiler', { timeout: 60_000 }, async (mistake) => {
  const folder = join(WORK, mistake.name.replaceAll(' ', '-'));
  for (const part of ['model', 'policy', 'identity', 'generated'])
    cpSync(join(ROOT, 'control-plane', part), join(folder, part), { recursive: true });
  plant(join(folder, mistake.file), mistake.right, mistake.wrong);
  const mutant = (await import(join(folder, 'policy/compile.ts'))) as { Compiler: typeof Compiler };
  using lab = new Lab({ steering: STEERING });
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
  using lab = new Lab({ steering: STEERING });
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
