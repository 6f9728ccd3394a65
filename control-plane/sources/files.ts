/** A watched folder of manifests: the source that needs no cluster. */
import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs';
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

interface Options {
  readonly rescanMs?: number;
}

export class FilesSource implements ResourceSource {
  readonly #folder: string;
  readonly #rescanMs: number;
  readonly #inventory = new Inventory();
  /** File name -> what tells one content from another without reading it. */
  readonly #marks = new Map<string, string>();
  readonly #dirty = new Set<string>();
  #problem: Issue | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #scheduled = false;
  #listener: ((objects: ObjectSet) => void) | undefined;

  constructor(folder: string, options: Options = {}) {
    this.#folder = folder;
    this.#rescanMs = options.rescanMs ?? RESCAN_MS;
  }

  start(listener: (objects: ObjectSet) => void): void {
    this.#listener = listener;
    // Watch first, then list: what changes in between is seen twice rather than never.
    this.#watch();
    try {
      this.#rescan();
    } catch (cause) {
      this.close();
      throw unreadable(this.#folder, cause);
    }
    this.#timer = setInterval(() => this.#look(), this.#rescanMs);
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
    try {
      this.#watcher = watch(this.#folder, { persistent: true }, (_event, file) => {
        if (file === null || MANIFEST.test(file)) this.#changed(file);
      });
    } catch (cause) {
      throw unreadable(this.#folder, cause);
    }
    // A watched folder that is deleted: the next look says so.
    this.#watcher.on('error', () => this.#changed(null));
  }

  /** @param file null: anything may have changed */
  #changed(file: string | null): void {
    if (file === null) this.#marks.clear();
    else this.#dirty.add(file);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // One turn of the loop joins the events of one rename; no timer, because edits are waited for.
    setImmediate(() => {
      this.#scheduled = false;
      const files = [...this.#dirty];
      this.#dirty.clear();
      if (file === null) this.#look();
      else if (files.map((name) => this.#read(name)).some(Boolean)) this.#publish();
    });
  }

  /** Compares the folder with what is known; publishes when it differs. */
  #look(): void {
    const before = this.#problem;
    try {
      const changed = this.#rescan();
      this.#problem = undefined;
      if (before !== undefined) this.#watch(); // the folder is another one now
      if (changed || before !== undefined) this.#publish();
    } catch (cause) {
      const error = unreadable(this.#folder, cause);
      this.#problem = {
        code: error.code,
        path: '',
        message: `${error.message}; the last state stays in force`,
        hint: ERRORS.SOURCE_UNREADABLE.hint,
        origin: this.#folder,
        object: '',
      };
      if (before === undefined) this.#publish();
    }
  }

  #rescan(): boolean {
    const names = readdirSync(this.#folder).filter((name) => MANIFEST.test(name));
    const gone = [...this.#marks.keys()].filter((name) => !names.includes(name));
    return [...names, ...gone].map((name) => this.#read(name)).some(Boolean);
  }

  /** @returns whether it was another content than before */
  #read(name: string): boolean {
    const path = join(this.#folder, name);
    let mark: string;
    try {
      const { mtimeNs, size, ino } = statSync(path, { bigint: true });
      mark = `${ino} ${size} ${mtimeNs}`;
      if (this.#marks.get(name) === mark) return false;
      if (size > MAX_BYTES) throw new SidestepError('SOURCE_UNREADABLE', `${path} has more than ${MAX_BYTES} bytes`);
      this.#inventory.set(path, parseManifests(readFileSync(path, 'utf8'), path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        const known = this.#marks.delete(name);
        this.#inventory.set(path, undefined);
        return known;
      }
      // There and unreadable (a permission, a folder of that name): keep what it held and say so.
      mark = 'unreadable';
      if (this.#marks.get(name) === mark) return false;
      const message = error instanceof Error ? error.message : String(error);
      this.#inventory.set(path, {
        file: path,
        readable: false,
        objects: [],
        issues: [
          {
            code: 'SOURCE_UNREADABLE',
            path: '',
            message,
            hint: ERRORS.SOURCE_UNREADABLE.hint,
            origin: path,
            object: '',
          },
        ],
      });
    }
    this.#marks.set(name, mark);
    return true;
  }

  #publish(): void {
    this.#listener?.(this.#inventory.objects(this.#problem ? [this.#problem] : []));
  }
}

function unreadable(folder: string, cause: unknown): SidestepError {
  return new SidestepError('SOURCE_UNREADABLE', `${folder}: ${cause instanceof Error ? cause.message : cause}`, {
    cause,
    path: folder,
  });
}

/** The folder read once, for offline commands. @throws SOURCE_UNREADABLE */
export function readFolder(folder: string): ObjectSet {
  const inventory = new Inventory();
  try {
    const files = statSync(folder).isDirectory()
      ? readdirSync(folder)
          .filter((name) => MANIFEST.test(name))
          .map((name) => join(folder, name))
      : [folder];
    for (const file of files) inventory.set(file, parseManifests(readFileSync(file, 'utf8'), file));
  } catch (cause) {
    throw unreadable(folder, cause);
  }
  return inventory.objects();
}
