/** What unit tests take for the kernel has the programs and tables of the real one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KernelObject } from '../../control-plane/datapath/kernel.ts';
import { MemoryKernel } from '../../control-plane/datapath/memory.ts';
import { Lab } from './lab.ts';

let lab: Lab;
const memory: KernelObject = new MemoryKernel().loadObject(new Uint8Array());

beforeAll(() => {
  lab = new Lab();
});
afterAll(() => lab[Symbol.dispose]());

test('the programs', () => {
  expect([...memory.programNames].sort()).toEqual([...lab.object.programNames].sort());
  for (const name of memory.programNames) expect(memory.program(name).name).toBe(name);
  expect(() => memory.program('none')).toThrow('no program none');
});

test('the tables, and which of them are arrays', () => {
  expect([...memory.mapNames].sort()).toEqual([...lab.object.mapNames].sort());
  const arrays = (object: KernelObject): string[] =>
    object.mapNames.filter((name) => /^(percpu_)?array$/.test(object.map(name).type)).sort();
  expect(arrays(memory)).toEqual(arrays(lab.object));
});
