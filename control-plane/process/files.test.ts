/** What a process that outlives the agent has beside it: a note, a control group, a log. */
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { processCgroup } from './cgroup.ts';
import { cutWhenLarge, lastLines, newLog } from './log-file.ts';
import { Note, PROCESS } from './note.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-process-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

describe('the note', () => {
  const shape = z.object({ process: PROCESS, startedAt: z.number() });
  const record = { process: { pid: 4711, startTime: 815 }, startedAt: 1_700_000_000_000 };
  const path = (): string => join(folder, 'process.pid');

  test('is what was written, in one step, until it is removed', () => {
    const store = new Note(path(), shape);
    expect(store.read()).toBeUndefined();
    store.write(record);
    expect(store.read()).toEqual(record);
    expect(readdirSync(folder)).toEqual(['process.pid']);
    store.remove();
    store.remove();
    expect(store.read()).toBeUndefined();
  });

  test('of an earlier boot is of nobody who lives', () => {
    const store = new Note(path(), shape);
    store.write(record);
    writeFileSync(path(), readFileSync(path(), 'utf8').replace(/"boot":"[^"]+"/, '"boot":"before"'));
    expect(store.read()).toBeUndefined();
  });

  test.each(['', '{', '4711', '{"boot":"x"}'])('%j is none', (text) => {
    writeFileSync(path(), text);
    expect(new Note(path(), shape).read()).toBeUndefined();
  });
});

describe('the cgroup', () => {
  test('is in the one hierarchy there is', () => {
    const mounts = 'proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n';
    expect(processCgroup('blue', 'envoy', mounts)).toEqual({
      path: '/sys/fs/cgroup/sidestep-blue/envoy',
      systemd: undefined,
    });
  });

  test('is in both where old ones stand beside it', () => {
    const mounts =
      'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n';
    expect(processCgroup('default', 'tunnel', mounts)).toEqual({
      path: '/sys/fs/cgroup/unified/sidestep-default/tunnel',
      systemd: '/sys/fs/cgroup/systemd/sidestep-default/tunnel',
    });
  });

  test('may be mounted at a place with a blank', () => {
    expect(processCgroup('x', 'envoy', 'none /mnt/c\\040g cgroup2 rw 0 0').path).toBe('/mnt/c g/sidestep-x/envoy');
  });

  test('needs cgroup2', () => {
    expect(() => processCgroup('x', 'envoy', 'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0')).toThrow(
      expect.objectContaining({ code: 'KERNEL_FEATURE_MISSING', hint: expect.stringContaining('mount -t cgroup2') }),
    );
  });
});

describe('the log', () => {
  const path = (): string => join(folder, 'process.log');

  test('begins empty, is appended to, and its last lines are told', () => {
    writeFileSync(path(), 'of the one before\n');
    newLog(path(), process.getuid?.() ?? 0, process.getgid?.() ?? 0);
    expect(statSync(path())).toMatchObject({ size: 0 });
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    appendFileSync(path(), 'one\n\ntwo\nthree\n');
    expect(lastLines(path(), 2)).toEqual(['two', 'three']);
  });

  test('of which only the end is read has no half lines', () => {
    writeFileSync(path(), `${'x'.repeat(100)}\nshort\n`);
    expect(lastLines(path(), 10, 50)).toEqual(['short']);
  });

  test('that is not there has no lines', () => {
    expect(lastLines(path(), 10)).toEqual([]);
    cutWhenLarge(path(), 1);
  });

  test('is cut when it is large', () => {
    writeFileSync(path(), 'x'.repeat(10));
    cutWhenLarge(path(), 10);
    expect(statSync(path()).size).toBe(10);
    cutWhenLarge(path(), 9);
    expect(statSync(path()).size).toBe(0);
  });

  test('is not followed where a link was laid for it', () => {
    const secret = join(folder, 'secret');
    writeFileSync(secret, 'secret\n');
    symlinkSync(secret, path());
    expect(lastLines(path(), 10)).toEqual([]);
    cutWhenLarge(path(), 0);
    newLog(path(), process.getuid?.() ?? 0, process.getgid?.() ?? 0);
    expect(readFileSync(secret, 'utf8')).toBe('secret\n');
    rmSync(path());
    mkdirSync(path());
    expect(lastLines(path(), 10)).toEqual([]);
  });
});
