/** One version after another on the same pinned tables. */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { findObject, type Loaded, loadDatapath } from '../../control-plane/datapath/load.ts';
import { pinsOf } from '../../control-plane/datapath/pins.ts';
import { encodePolicyTable, readPolicyTable } from '../../control-plane/generated/bpf.ts';
import { ROOT } from '../lib/tools.ts';
import { TEST_PREFIX } from '../lib/topology.ts';
import { compileProgram } from './compile.ts';

const kernel = openKernel();
const pins = pinsOf('/sys/fs/bpf', `${TEST_PREFIX}-${process.pid}-upgrade`);
const SIZES = {
  flows: 1024,
  policyEntries: 1024,
  ipcache: 1024,
  prefixes: 1024,
  endpoints: 16,
  flowQuota: 1024,
  ringBytes: 1 << 16,
};

beforeEach(() => void mkdirSync(pins.maps, { recursive: true }));
afterEach(() => rmSync(pins.root, { recursive: true, force: true }));

function load(): Loaded {
  return loadDatapath(kernel, findObject(join(ROOT, 'control-plane/datapath')), pins, SIZES, false);
}

it('a table that keeps nothing may be laid out another way by another version', async () => {
  const older = kernel.loadObject(await compileProgram('older'), { pinDirectory: pins.maps });
  expect(readdirSync(pins.maps)).toEqual(['scratch']);
  load().object.close();
  expect(existsSync(join(pins.maps, 'scratch'))).toBe(false);
  older.close();
});

it('tables that keep something are taken over with what is in them', () => {
  const id = Uint8Array.of(1, 0, 0, 0);
  const first = load();
  expect(first.adopted).toBe(false);
  first.object.map('policy_tables').update(id, encodePolicyTable({ revision: 7, defaultRule: 16, enforcing: 1 }));
  const second = load();
  expect(second.adopted).toBe(true);
  const value = second.object.map('policy_tables').lookup(id) ?? new Uint8Array();
  expect(readPolicyTable(new DataView(value.buffer, value.byteOffset)).revision).toBe(7);
  first.object.close();
  second.object.close();
});
