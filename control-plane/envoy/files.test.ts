/** What the manager finds in /proc, and in its note. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { EnvoyRecord } from './ports.ts';
import { lookAt, processOf } from './process.ts';
import { RecordFile } from './record.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-envoy-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

describe('a process', () => {
  test('is one by pid and start time', () => {
    const self = processOf(process.pid);
    if (self === undefined) throw new Error('we are not there');
    expect(lookAt(self)).toMatchObject({ state: expect.stringMatching(/^[RS]$/) });
    expect(lookAt({ ...self, startTime: self.startTime + 1 })).toBeUndefined();
    expect(processOf(2 ** 22 + 1)).toBeUndefined();
  });

  test('that works has used more of a processor', () => {
    const self = processOf(process.pid) ?? { pid: 0, startTime: 0 };
    const before = lookAt(self)?.mainThreadTicks ?? 0;
    const end = Date.now() + 100;
    while (Date.now() < end);
    expect(lookAt(self)?.mainThreadTicks).toBeGreaterThan(before);
  });

  test('that is stopped is seen, and one that ended is gone', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    const found = processOf(child.pid ?? 0) ?? { pid: 0, startTime: 0 };
    child.kill('SIGSTOP');
    await expect.poll(() => lookAt(found)?.state).toBe('T');
    child.kill('SIGKILL');
    await expect.poll(() => lookAt(found)).toBeUndefined();
  });
});

describe('the note', () => {
  const record: EnvoyRecord = {
    process: { pid: 4711, startTime: 815 },
    identity: { binary: '/opt/envoy', version: '1.40.0', module: '/opt/m.so 12', configuration: 'ab' },
    startedAt: 1_700_000_000_000,
  };

  test('is what was written', () => {
    const store = new RecordFile(join(folder, 'envoy.pid'));
    expect(store.read()).toBeUndefined();
    store.write(record);
    expect(store.read()).toEqual(record);
  });
});
