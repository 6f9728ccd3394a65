import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ownerOf } from './namespaces.ts';
import { beforeAll, type DemoRecord, isRunning, readRecords, saveRecord, startTimeOf } from './record.ts';

function recordOf(root: string, pid: number, startTime: string): DemoRecord {
  const before = { bpffs: true, netnsFolder: true };
  return {
    pid,
    startTime,
    instances: [`demo-${pid}`],
    folder: join(root, String(pid)),
    namespaces: [],
    before,
    kept: false,
  };
}

test('what is saved is read back, and folders without a record are passed over', () => {
  const root = mkdtempSync(join(tmpdir(), 'records-'));
  const record = recordOf(root, 42, '7');
  saveRecord(record);
  expect(readRecords(root)).toEqual([record]);
  expect(readRecords(join(root, '42'))).toEqual([]);
  expect(readRecords(join(root, 'missing'))).toEqual([]);
  rmSync(root, { recursive: true });
});

test('what another demo has made was not there before', () => {
  const old = recordOf('/', 42, '7');
  const maker: DemoRecord = { ...old, before: { bpffs: true, netnsFolder: false } };
  const there = { bpffs: true, netnsFolder: true };
  expect(beforeAll(there, [])).toEqual(there);
  expect(beforeAll(there, [old])).toEqual(there);
  expect(beforeAll(there, [old, maker])).toEqual({ bpffs: true, netnsFolder: false });
  expect(beforeAll({ bpffs: false, netnsFolder: true }, [old])).toEqual({ bpffs: false, netnsFolder: true });
});

test('a process id that another process has now is not the demo', () => {
  expect(isRunning(recordOf('/', process.pid, startTimeOf(process.pid)))).toBe(true);
  expect(isRunning(recordOf('/', process.pid, '1'))).toBe(false);
});

test('the owner of a namespace is in its name', () => {
  expect(ownerOf('ssd', 'ssd-42-frontend-web-9a2b')).toBe(42);
  expect(ownerOf('ssd', 'sst-42-node')).toBeUndefined();
  expect(ownerOf('ssd', 'ssd-node')).toBeUndefined();
  expect(ownerOf('ssd', 'ssd-x-node')).toBeUndefined();
});
