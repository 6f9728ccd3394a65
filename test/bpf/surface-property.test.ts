import { expect, it } from 'vitest';
import { Lab } from './lab.ts';
import { STEERING } from './property.ts';
import { compareSurface } from './surface-property.ts';

const SETS = 600;
const FLOWS = 80;

/** Kinds of answers that were really met. */
const WANTED = [
  'ALLOWED rule',
  'ALLOWED rule looks',
  'ALLOWED no-policy',
  'ALLOWED local-host',
  'DENIED default-deny',
  'DENIED deny-rule',
  'AUDIT default-deny',
  'AUDIT deny-rule',
];

it(`evaluator and kernel agree over all that policies can say, for ${SETS} random sets and ${FLOWS} flows each`, {
  timeout: 300_000,
}, async () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  using lab = new Lab({ steering: STEERING });
  const { counts, flows, mismatches } = await compareSurface(lab, { sets: SETS, flowsPerSet: FLOWS, seed });
  const rows = [...counts].sort().map(([key, count]) => `  ${key.padEnd(24)} ${count}`);
  process.stdout.write(`evaluator = kernel over the whole surface, seed ${seed}, ${flows} flows\n${rows.join('\n')}\n`);
  expect(mismatches).toEqual([]);
  expect(flows).toBe(SETS * FLOWS);
  for (const what of WANTED) expect([what, counts.get(what) ?? 0]).toEqual([what, expect.toSatisfy((n) => n > 100)]);
});
