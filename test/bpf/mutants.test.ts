/** Could the property tests fail at all? Mistakes are planted, one at a time, in the kernel's programs and in the compiler; each must be found. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import type { Surface } from '../../control-plane/policy/arbitrary-surface.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Lab } from './lab.ts';
import { compareWithKernel, STEERING } from './property.ts';
import { compareSurface } from './surface-property.ts';

const ROOT = join(import.meta.dirname, '../..');
const WORK = join(ROOT, 'build', `mutants-${process.pid}`);
afterAll(() => rmSync(WORK, { recursive: true, force: true }));

/** @throws when the text is not there exactly once: a mutant that changes nothing proves nothing */
function plant(file: string, right: string, wrong: string): void {
  const text = readFileSync(file, 'utf8');
  if (text.split(right).length !== 2) throw new Error(`${file} has not exactly one: ${right}`);
  writeFileSync(file, text.replace(right, wrong));
}

/** As little as finds all of them. */
const SMALL = { sets: 60, flowsPerSet: 50, seed: 7 };
const SURFACE = { sets: 200, flowsPerSet: 80, seed: 7 };
const newCompiler = (numbers: Numbers): Compiler => new Compiler(numbers, { nodeName: 'here', podRanges: [] });

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

/** Found over all that policies can say. */
const KERNEL_SURFACE_MUTANTS = [
  {
    name: 'precedence of verdicts',
    file: 'lib/policy.h',
    right: 'return exact->precedence > any->precedence;',
    wrong: 'return exact->precedence < any->precedence;',
  },
  {
    name: 'ranges of addresses',
    file: 'lib/ends.h',
    right: '.prefix_length = 160,',
    wrong: '.prefix_length = 144,',
  },
  {
    name: 'the direction of what is audited',
    file: 'lib/flow.h',
    right: 'ingress ? end->audit_ingress_table : end->audit_egress_table;',
    wrong: 'end->audit_egress_table;',
  },
];

it.each([...KERNEL_MUTANTS, ...KERNEL_SURFACE_MUTANTS])(
  'a mistake in $name is found in the kernel program',
  { timeout: 60_000 },
  async ({ name, file, right, wrong }) => {
    const folder = join(WORK, name.replace(' ', '-'));
    mkdirSync(folder, { recursive: true });
    cpSync(join(ROOT, 'bpf'), folder, { recursive: true, filter: (path) => !path.endsWith('/build') });
    plant(join(folder, file), right, wrong);
    execFileSync('make', ['-s', '-C', folder], { stdio: 'pipe' });
    using lab = new Lab({ object: join(folder, 'build/sidestep.bpf.o'), steering: STEERING });
    const isOfSurface = KERNEL_SURFACE_MUTANTS.some((mutant) => mutant.name === name);
    const { mismatches } = isOfSurface
      ? await compareSurface(lab, { ...SURFACE, stopAt: 1 })
      : await compareWithKernel(lab, { ...SMALL, stopAt: 1, newCompiler, numbers: new Numbers(undefined) });
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

/** Found over all that policies can say. */
const COMPILER_SURFACE_MUTANTS = [
  {
    name: 'what is denied more widely',
    file: 'policy/sides.ts',
    right: '[number, ...coversOf(number)].some((at)',
    wrong: '[number].some((at)',
  },
  {
    name: 'the strength of a denial',
    file: 'policy/columns.ts',
    right: 'const PRECEDENCE_DENY = 255;',
    wrong: 'const PRECEDENCE_DENY = 0;',
  },
  {
    name: 'exceptions of ranges',
    file: 'policy/cidr-set.ts',
    right: 'excepts.some((without) => !without.covers(prefix))',
    wrong: 'excepts.length > 0',
  },
  {
    name: 'identities of exceptions',
    file: 'policy/outside.ts',
    right: '.flatMap(({ prefix, except }) => [prefix, ...except])',
    wrong: '.flatMap(({ prefix }) => [prefix])',
  },
  {
    name: 'the range of a name',
    file: 'policy/outside.ts',
    right: 'this.#identity([...range, ...names])',
    wrong: "this.#identity(['reserved:world', ...names])",
  },
  {
    name: 'API servers',
    file: 'policy/outside.ts',
    right: 'servers.has(key) ? KUBE_APISERVER : REMOTE_NODE',
    wrong: 'REMOTE_NODE',
  },
  {
    name: 'the end of a range of ports',
    file: 'policy/port-blocks.ts',
    right: 'Math.max(port, endPort)',
    wrong: 'Math.max(port, endPort - 1)',
  },
  {
    name: 'types of ICMP',
    file: 'policy/port-blocks.ts',
    right: 'if (hasTypes(protocol)) return [port, port];',
    wrong: 'if (hasTypes(protocol)) return [port + 1, port + 1];',
  },
  {
    name: 'names of ports',
    file: 'policy/named-ports.ts',
    right: '{ ...rest, port: each.port }',
    wrong: '{ ...rest, port: each.port + 1 }',
  },
  {
    name: 'the namespace of a Service',
    file: 'policy/resolve.ts',
    right: 'NAMESPACE_KEY}`, namespace]',
    wrong: "NAMESPACE_KEY}`, 'lab']",
  },
  {
    name: 'what is enforced beside what is audited',
    file: 'policy/stages.ts',
    right: 'policy.audit !== true',
    wrong: 'policy.audit === true',
  },
];

/** The compiler of a tree with a mistake. */
async function mutantCompiler(mistake: (typeof COMPILER_MUTANTS)[number]): Promise<typeof Compiler> {
  const folder = join(WORK, mistake.name.replaceAll(' ', '-'));
  for (const part of ['model', 'policy', 'identity', 'generated'])
    cpSync(join(ROOT, 'control-plane', part), join(folder, part), { recursive: true });
  plant(join(folder, mistake.file), mistake.right, mistake.wrong);
  return ((await import(join(folder, 'policy/compile.ts'))) as { Compiler: typeof Compiler }).Compiler;
}

it.each(COMPILER_MUTANTS)('a mistake in $name is found in the compiler', { timeout: 60_000 }, async (mistake) => {
  const Mutant = await mutantCompiler(mistake);
  using lab = new Lab({ steering: STEERING });
  const { mismatches } = await compareWithKernel(lab, {
    ...SMALL,
    stopAt: 1,
    newCompiler: (numbers) => new Mutant(numbers, { nodeName: 'here', podRanges: [] }),
    numbers: new Numbers(undefined),
  });
  expect(mismatches.length).toBeGreaterThan(0);
});

it.each(COMPILER_SURFACE_MUTANTS)(
  'a mistake in $name is found in the compiler, over the whole surface',
  { timeout: 60_000 },
  async (mistake) => {
    const Mutant = await mutantCompiler(mistake);
    using lab = new Lab({ steering: STEERING });
    const compilerOf = ({ enforcement }: Pick<Surface, 'enforcement'>): Compiler =>
      new Mutant(new Numbers(undefined), { nodeName: 'here', podRanges: [], enforcement });
    const { mismatches } = await compareSurface(lab, { ...SURFACE, stopAt: 1, compilerOf });
    expect(mismatches.length).toBeGreaterThan(0);
  },
);

it('without a mistake the same seeds find nothing', { timeout: 60_000 }, async () => {
  using lab = new Lab({ steering: STEERING });
  const known = await compareWithKernel(lab, { ...SMALL, newCompiler, numbers: new Numbers(undefined) });
  using other = new Lab({ steering: STEERING });
  const surface = await compareSurface(other, SURFACE);
  expect([...known.mismatches, ...surface.mismatches]).toEqual([]);
});
