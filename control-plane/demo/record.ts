/** What a demo must clean up, written down before it makes anything: a later run can clean up after one that was killed. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Root's own, so nobody can plant a folder there. */
export const DEMO_FOLDER = '/run/sidestep-demo';
/** First part of the names of the demo's network namespaces. */
export const DEMO_PREFIX = 'ssd';

export interface DemoRecord {
  readonly pid: number;
  /** Start time of that process: process ids are used again. */
  readonly startTime: string;
  /** Of each node; the node's own network namespace stands at the same place in `namespaces`. */
  readonly instances: readonly string[];
  readonly folder: string;
  readonly namespaces: readonly string[];
  /** What was there before the demo, and so stays. */
  readonly before: { readonly bpffs: boolean; readonly netnsFolder: boolean };
  readonly kept: boolean;
}

const FILE = 'record.json';

/** Replaced in one step: a demo killed while it writes leaves the old record. */
export function saveRecord(record: DemoRecord): void {
  mkdirSync(record.folder, { recursive: true, mode: 0o700 });
  const file = join(record.folder, FILE);
  writeFileSync(`${file}.tmp`, JSON.stringify(record));
  renameSync(`${file}.tmp`, file);
}

/** Every demo that has not been cleaned up. */
export function readRecords(root = DEMO_FOLDER): readonly DemoRecord[] {
  if (!existsSync(root)) return [];
  return readdirSync(root).flatMap((name) => {
    const file = join(root, name, FILE);
    return existsSync(file) ? [JSON.parse(readFileSync(file, 'utf8')) as DemoRecord] : [];
  });
}

/**
 * What was there before the first of several demos: what one of them made, the last of them takes away.
 * @param now what is there when another one begins
 * @param records of those that have not been cleaned up
 */
export function beforeAll(now: DemoRecord['before'], records: readonly DemoRecord[]): DemoRecord['before'] {
  return {
    bpffs: now.bpffs && records.every(({ before }) => before.bpffs),
    netnsFolder: now.netnsFolder && records.every(({ before }) => before.netnsFolder),
  };
}

export function isRunning(record: DemoRecord): boolean {
  return startTimeOf(record.pid) === record.startTime;
}

/** Ticks since boot at which a process began, or '' when there is none. */
export function startTimeOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22; the second one, the name, may hold spaces, so counting starts behind its bracket.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
