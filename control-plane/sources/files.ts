/** A watched folder of manifests: the source that needs no cluster. */
import { type BigIntStats, type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { parseManifests } from '../api/manifests.ts';
import { SidestepError } from '../model/error.ts';
import { ERRORS } from '../model/error-codes.ts';
import type { ObjectSet } from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';
import { Inventory } from './inventory.ts';
import type { ResourceSource } from './source.ts';

const MANIFEST = /^[^.].*\.(ya?ml|json)$/;
/** inotify can overflow without telling; a slow look at sizes and times finds what it missed. */
const RESCAN_MS = 5000;
/** Larger files are refused: a manifest is written by people or tools, not by accident. */
const MAX_BYTES = 64 << 20;

/** Tells one content of a file from another without reading it. */
interface Mark {
  readonly inode: bigint;
  readonly text: string;
}

export class FilesSource implements ResourceSource {
  readonly #folder: string;
  readonly #inventory = new Inventory();
  /** By file name: what was read last. */
  readonly #marks = new Map<string, Mark>();
  readonly #dirty = new Set<string>();
  #everything = false;
  #scheduled = false;
  #problem: Issue | undefined;
  #watcher: FSWatcher | undefined;
  /** Inode of the folder that is watched; another folder may come to stand at its path. */
  #watched: bigint | undefined;
  #timer: NodeJS.Timeout | undefined;
  #listener: ((objects: ObjectSet) => void) | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  start(listener: (objects: ObjectSet) => void): void {
    this.#listener = listener;
    try {
      // Watch first, then list: what changes in between is seen twice rather than never.
      this.#watch();
      this.#rescan();
    } catch (cause) {
      this.close();
      throw unreadable(this.#folder, cause);
    }
    this.#timer = setInterval(() => this.#look(), RESCAN_MS);
    this.#timer.unref();
    this.#publish();
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    clearInterval(this.#timer);
    this.#listener = undefined;
  }

  #watch(): void {
    this.#watcher?.close();
    this.#watched = statSync(this.#folder, { bigint: true }).ino;
    this.#watcher = watch(this.#folder, (_event, file) => {
      if (file === null || MANIFEST.test(file)) this.#changed(file);
    });
    this.#watcher.on('error', () => this.#changed(null));
  }

  /** @param file null: anything may have changed */
  #changed(file: string | null): void {
    if (file === null) this.#everything = true;
    else this.#dirty.add(file);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // One turn of the loop joins the events of one rename; no timer, because edits are waited for.
    setImmediate(() => {
      this.#scheduled = false;
      const files = [...this.#dirty];
      const everything = this.#everything;
      this.#dirty.clear();
      this.#everything = false;
      if (this.#watcher === undefined) return; // closed meanwhile
      if (everything || !this.#isThere()) this.#look();
      else if (files.map((name) => this.#read(name)).some(Boolean)) this.#publish();
    });
  }

  /** When the folder goes, its files go first; they must not look deleted one by one. */
  #isThere(): boolean {
    return statSync(this.#folder, { throwIfNoEntry: false }) !== undefined;
  }

  /** Compares the folder with what is known; publishes when it differs. */
  #look(): void {
    const before = this.#problem;
    try {
      if (statSync(this.#folder, { bigint: true }).ino !== this.#watched) this.#watch();
      const changed = this.#rescan();
      this.#problem = undefined;
      if (changed || before !== undefined) this.#publish();
    } catch (cause) {
      const error = unreadable(this.#folder, cause);
      this.#problem = {
        code: error.code,
        path: '',
        message: `${error.message}; the last state stays in force`,
        hint: error.hint,
        origin: this.#folder,
        object: '',
      };
      // A folder that comes back with the same inode number is another one for inotify.
      this.#watched = undefined;
      if (before === undefined) this.#publish();
    }
  }

  #rescan(): boolean {
    const names = new Set(manifestsIn(this.#folder));
    const gone = [...this.#marks.keys()].filter((name) => !names.has(name));
    return [...names, ...gone].map((name) => this.#read(name, true)).some(Boolean);
  }

  /** @returns whether it was another content than before */
  #read(name: string, rescan = false): boolean {
    const path = join(this.#folder, name);
    const before = this.#marks.get(name);
    let mark: Mark = { inode: 0n, text: 'unreadable' };
    try {
      const stats = statSync(path, { bigint: true });
      mark = { inode: stats.ino, text: `${stats.size} ${stats.mtimeNs}` };
      if (before?.inode === mark.inode && before.text === mark.text) return false;
      if (!rescan && isBeingWritten(stats, before)) return false;
      this.#inventory.set(path, parseManifests(readManifest(path, stats), path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        this.#inventory.set(path, undefined);
        return this.#marks.delete(name);
      }
      // There and unreadable (a permission, a folder of that name): keep what it held and say so.
      if (before?.text === mark.text) return false;
      this.#inventory.set(path, { readable: false, objects: [], issues: [unreadableFile(path, error)] });
    }
    this.#marks.set(name, mark);
    return true;
  }

  #publish(): void {
    this.#listener?.(this.#inventory.objects(this.#problem ? [this.#problem] : []));
  }
}

/**
 * A file that is written in place is empty for a moment. Taken at its word it would switch its policies off, so a file
 * that had content counts as empty only when the next rescan still finds it so.
 */
function isBeingWritten(stats: BigIntStats, before: Mark | undefined): boolean {
  return stats.size === 0n && before?.inode === stats.ino;
}

function manifestsIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => MANIFEST.test(name));
}

function readManifest(path: string, { size }: BigIntStats): string {
  if (size > MAX_BYTES) throw new SidestepError('SOURCE_UNREADABLE', `${path} has more than ${MAX_BYTES} bytes`);
  return readFileSync(path, 'utf8');
}

function unreadable(path: string, cause: unknown): SidestepError {
  return new SidestepError('SOURCE_UNREADABLE', `${path}: ${cause instanceof Error ? cause.message : cause}`, {
    cause,
    path,
  });
}

function unreadableFile(path: string, cause: unknown): Issue {
  return {
    code: 'SOURCE_UNREADABLE',
    path: '',
    message: cause instanceof Error ? cause.message : String(cause),
    hint: ERRORS.SOURCE_UNREADABLE.hint,
    origin: path,
    object: '',
  };
}

/**
 * Files and folders read once, for offline commands.
 * @throws SOURCE_UNREADABLE
 */
export function readOnce(paths: readonly string[]): ObjectSet {
  const inventory = new Inventory();
  for (const path of paths)
    try {
      const isFolder = statSync(path).isDirectory();
      for (const file of isFolder ? manifestsIn(path).map((name) => join(path, name)) : [path])
        inventory.set(file, parseManifests(readManifest(file, statSync(file, { bigint: true })), file));
    } catch (cause) {
      throw cause instanceof SidestepError ? cause : unreadable(path, cause);
    }
  return inventory.objects();
}
