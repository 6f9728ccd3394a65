import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ObjectSet } from '../model/objects.ts';
import { FilesSource, readOnce } from './files.ts';

const RESCAN_MS = 5000;

let root: string;
let folder: string;
const sources: FilesSource[] = [];

beforeEach(() => {
  // The test says when the rescan comes; everything else is seen by events.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  root = mkdtempSync(join(tmpdir(), 'sidestep-files-'));
  folder = join(root, 'manifests');
  mkdirSync(folder);
});
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
  rmSync(root, { recursive: true, force: true });
  vi.useRealTimers();
});

function rescan(): void {
  vi.advanceTimersByTime(RESCAN_MS);
}

/** What a source told, in order, and a way to wait for the next. */
class Told {
  readonly all: ObjectSet[] = [];
  #wake: (() => void) | undefined;

  readonly listen = (objects: ObjectSet): void => {
    this.all.push(objects);
    this.#wake?.();
  };

  get last(): ObjectSet {
    const last = this.all.at(-1);
    if (last === undefined) throw new Error('nothing was told');
    return last;
  }

  /** Resolves when the newest set is as wanted; the test's own timeout ends the wait. */
  async until(wanted: (objects: ObjectSet) => boolean): Promise<ObjectSet> {
    while (!wanted(this.last))
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    return this.last;
  }
}

function start(): Told {
  const told = new Told();
  const source = new FilesSource(folder);
  sources.push(source);
  source.start(told.listen);
  return told;
}

function namespace(name: string): string {
  return `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n`;
}

/** As editors and tools do it: a reader sees the old file or the new one. */
function put(name: string, text: string): void {
  writeFileSync(join(folder, `.${name}.tmp`), text);
  renameSync(join(folder, `.${name}.tmp`), join(folder, name));
}

function names({ namespaces }: ObjectSet): string {
  return namespaces.map(({ name }) => name).join();
}
const are =
  (expected: string) =>
  (objects: ObjectSet): boolean =>
    names(objects) === expected;

test('the first thing told is the complete list', () => {
  put('b.yaml', namespace('b'));
  put('a.yml', namespace('a'));
  put('c.json', JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'c' } }));
  expect(names(start().last)).toBe('a,b,c');
});

test('hidden files, other endings and folders inside are not read', () => {
  put('.a.yaml', namespace('a'));
  put('a.yaml~', namespace('b'));
  put('a.txt', namespace('c'));
  mkdirSync(join(folder, 'inner'));
  writeFileSync(join(folder, 'inner', 'd.yaml'), namespace('d'));
  expect(names(start().last)).toBe('');
});

test('a file renamed into place, replaced and removed is told each time', async () => {
  const told = start();
  put('a.yaml', namespace('a'));
  await told.until(are('a'));
  put('a.yaml', namespace('b'));
  await told.until(are('b'));
  rmSync(join(folder, 'a.yaml'));
  await told.until(are(''));
});

test('a file written in place is told', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  appendFileSync(join(folder, 'a.yaml'), `---\n${namespace('b')}`);
  await told.until(are('a,b'));
});

test('a file that is emptied to be written again does not lose its objects meanwhile', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  truncateSync(join(folder, 'a.yaml'), 0);
  put('b.yaml', namespace('b'));
  await told.until(are('a,b'));
  appendFileSync(join(folder, 'a.yaml'), namespace('c'));
  await told.until(are('c,b'));
  expect(told.all.map(names)).not.toContain('b');
});

test('a file that stays empty is empty at the next rescan', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  truncateSync(join(folder, 'a.yaml'), 0);
  rescan();
  expect(names(told.last)).toBe('');
});

test('many changes of one moment are told together', async () => {
  const told = start();
  for (let i = 0; i < 100; i++) put(`${i}.yaml`, namespace(`n${i}`));
  await told.until(({ namespaces }) => namespaces.length === 100);
  expect(told.all.length).toBeLessThan(20);
});

test('a file that did not change is not read again', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  const [before] = told.last.namespaces;
  put('b.yaml', namespace('b'));
  await told.until(are('a,b'));
  expect(told.last.namespaces[0]).toBe(before);
});

test('a file that cannot be read keeps what it held and is named', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  rmSync(join(folder, 'a.yaml'));
  mkdirSync(join(folder, 'a.yaml'));
  const { issues } = await told.until((objects) => objects.issues.length > 0);
  expect(issues).toMatchObject([{ code: 'SOURCE_UNREADABLE', origin: join(folder, 'a.yaml') }]);
  expect(names(told.last)).toBe('a');
});

test('a folder that is missing at start is an error', () => {
  const source = new FilesSource(join(root, 'nowhere'));
  expect(() => source.start(() => undefined)).toThrow(expect.objectContaining({ code: 'SOURCE_UNREADABLE' }));
});

test('a file instead of a folder is an error', () => {
  writeFileSync(join(root, 'file'), '');
  const source = new FilesSource(join(root, 'file'));
  expect(() => source.start(() => undefined)).toThrow(expect.objectContaining({ code: 'SOURCE_UNREADABLE' }));
});

test('when the folder goes, the last state stays and the issue says so; when one comes back, it counts', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  rmSync(folder, { recursive: true });
  const { issues } = await told.until((objects) => objects.issues.length > 0);
  expect(issues).toMatchObject([{ code: 'SOURCE_UNREADABLE', origin: folder }]);
  expect(told.all.map(names)).toEqual(told.all.map(() => 'a'));
  mkdirSync(folder);
  rescan();
  expect(told.last.issues).toEqual([]);
  put('b.yaml', namespace('b'));
  await told.until(are('b'));
});

test('a folder that another takes the place of is watched anew', async () => {
  put('a.yaml', namespace('a'));
  const told = start();
  const another = join(root, 'another');
  mkdirSync(another);
  writeFileSync(join(another, 'b.yaml'), namespace('b'));
  renameSync(folder, join(root, 'old'));
  renameSync(another, folder);
  rescan();
  expect(names(told.last)).toBe('b');
  put('c.yaml', namespace('c'));
  await told.until(are('b,c'));
});

test('a closed source tells nothing more', async () => {
  const told = start();
  sources[0]?.close();
  const second = start();
  put('a.yaml', namespace('a'));
  await second.until(are('a'));
  expect(told.all).toHaveLength(1);
});

test('files and folders are read once for offline commands', () => {
  put('a.yaml', namespace('a'));
  const other = join(root, 'other.txt');
  writeFileSync(other, namespace('b'));
  expect(names(readOnce([folder, other]))).toBe('a,b');
  expect(() => readOnce([join(root, 'nowhere')])).toThrow(expect.objectContaining({ code: 'SOURCE_UNREADABLE' }));
});

test('what no event told is found by the rescan', () => {
  put('a.yaml', namespace('a'));
  const told = start();
  // All in one turn: events have not come yet.
  put('a.yaml', namespace('b'));
  put('c.yaml', namespace('c'));
  rescan();
  expect(names(told.last)).toBe('b,c');
});
