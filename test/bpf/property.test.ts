import { expect, it } from 'vitest';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Lab } from './lab.ts';
import { compareWithKernel, STEERING } from './property.ts';

const SETS = 2000;
const FLOWS = 50;

it(`evaluator and kernel agree on verdict, rule and match for ${SETS} random policy sets and ${FLOWS} flows each`, {
  timeout: 300_000,
}, async () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  using lab = new Lab({ steering: STEERING });
  const tally = await compareWithKernel(lab, {
    sets: SETS,
    flowsPerSet: FLOWS,
    seed,
    numbers: new Numbers(undefined),
    newCompiler: (numbers) => new Compiler(numbers, { nodeName: 'here', podRanges: [] }),
  });
  const rows = [...tally.counts].sort().map(([key, count]) => `  ${key.padEnd(24)} ${count}`);
  process.stdout.write(`evaluator = kernel, seed ${seed}, ${tally.flows} flows\n${rows.join('\n')}\n`);
  expect(tally.mismatches).toEqual([]);
  expect(tally.flows).toBe(SETS * FLOWS);
  // Every family, protocol and verdict was really met; only TCP is proxied.
  expect(tally.counts.size).toBe(18);
  for (const count of tally.counts.values()) expect(count).toBeGreaterThan(200);
});
