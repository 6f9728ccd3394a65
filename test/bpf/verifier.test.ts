/** The kernel's verifier gives up at a million instructions, and each start of the agent waits for it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../lib/tools.ts';
import { Lab } from './lab.ts';
import { STEERING } from './property.ts';
import { deepestChain } from './stack.ts';

/** A quarter of that: 117,000 on 6.18 and 204,000 on 6.1; what every caller's every way multiplies is far more. */
const MOST = 250_000;

/** Instructions that were looked at, as the kernel says it of the program's descriptor, which is ours. */
function verifiedInstructions(id: number): number {
  for (const descriptor of readdirSync('/proc/self/fdinfo')) {
    const text = infoOf(descriptor);
    if (new RegExp(`^prog_id:\\s*${id}$`, 'm').test(text)) return Number(/^verified_insns:\s*(\d+)$/m.exec(text)?.[1]);
  }
  throw new Error(`no descriptor of program ${id}`);
}

function infoOf(descriptor: string): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8');
  } catch {
    // The one by which the folder was read.
    return '';
  }
}

test('no program is much work for the verifier', () => {
  using lab = new Lab({ steering: STEERING });
  const { programNames } = lab.object;
  const work = programNames.map((name) => [name, verifiedInstructions(lab.object.program(name).id)] as const);
  expect(programNames).toContain('from_workload');
  expect(work.filter(([, instructions]) => !(instructions > 0 && instructions < MOST))).toEqual([]);
});

/** Kernels that round less, as this one may, would not tell. */
test.each(['from_workload', 'to_workload'])('the functions of %s share the stack of every kernel', (name) => {
  const { bytes, functions } = deepestChain(join(ROOT, 'bpf/build', `${name}.o`), name);
  expect(functions.length).toBeGreaterThan(4);
  expect({ functions, fits: bytes <= 512 }).toEqual({ functions, fits: true });
});
