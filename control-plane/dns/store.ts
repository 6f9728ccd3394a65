/**
 * Where names survive a restart: a file of lines in the state folder, each a name with all that it stands for; the last line of a
 * name counts. Written before an answer goes on, so that no agent forgets what a pod was told. What cannot be read is forgotten.
 */
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as z from 'zod/mini';
import type { BookContent } from './book.ts';

type Entry = BookContent[number];

const Line = z.tuple([z.string(), z.array(z.tuple([z.string().check(z.regex(/^[0-9a-f]{32}$/)), z.number()]))]);
/** Lines that say nothing any more, after which the file is written anew. */
const MOST_STALE = 10_000;

export class NameFile {
  readonly #path: string;
  #stale = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Empty where there is none. A line that was cut off by the end of its agent is none. */
  read(): BookContent {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch {
      return [];
    }
    const found = new Map<string, Entry[1]>();
    for (const line of text.split('\n')) {
      const entry = parse(line);
      if (entry === undefined) continue;
      found.delete(entry[0]);
      found.set(entry[0], entry[1]);
    }
    return [...found].filter(([, addresses]) => addresses.length > 0);
  }

  /** One name as it is now. @returns whether the file should be written anew. @throws what the file system says */
  append(entry: Entry): boolean {
    appendFileSync(this.#path, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
    return ++this.#stale > MOST_STALE;
  }

  /** In one step. @throws what the file system says */
  write(names: BookContent): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    const text = names.map((entry) => `${JSON.stringify(entry)}\n`).join('');
    writeFileSync(`${this.#path}.new`, text, { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
    this.#stale = 0;
  }
}

function parse(line: string): Entry | undefined {
  try {
    return Line.parse(JSON.parse(line)) as Entry;
  } catch {
    return undefined;
  }
}
