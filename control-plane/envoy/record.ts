/** The note <run folder>/envoy.pid, by which the next agent finds the Envoy that runs. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import * as z from 'zod/mini';
import type { EnvoyRecord, RecordStore } from './ports.ts';

const Note = z.object({
  /** Start times are counted from it. */
  boot: z.string(),
  process: z.object({ pid: z.int().check(z.gt(1)), startTime: z.int() }),
  identity: z.object({ binary: z.string(), version: z.string(), module: z.string(), configuration: z.string() }),
  startedAt: z.number(),
});

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export class RecordFile implements RecordStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** @returns undefined also for one of before the last boot, or of another version */
  read(): EnvoyRecord | undefined {
    try {
      const { boot, ...record } = Note.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
      return boot === bootId() ? record : undefined;
    } catch {
      return undefined;
    }
  }

  write(record: EnvoyRecord): void {
    // In one step: an agent that dies here leaves the old note or the new one.
    const unfinished = `${this.#path}.new`;
    writeFileSync(unfinished, `${JSON.stringify({ boot: bootId(), ...record })}\n`);
    renameSync(unfinished, this.#path);
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }
}
