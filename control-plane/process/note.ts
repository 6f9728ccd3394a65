/** A note by which the next agent finds a process that this one started. Start times are counted from the boot, and so is a note. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import * as z from 'zod/mini';

/** A pid alone may by now be anybody's; with the time it was started it is one process. */
export const PROCESS = z.object({ pid: z.int().check(z.gt(1)), startTime: z.int() });

const Boot = z.object({ boot: z.string() });

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export class Note<Shape extends z.ZodMiniType<object>> {
  readonly #path: string;
  readonly #shape: Shape;

  constructor(path: string, shape: Shape) {
    this.#path = path;
    this.#shape = shape;
  }

  /** @returns undefined also for one of before the last boot, or of another version */
  read(): z.output<Shape> | undefined {
    try {
      const content: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      return Boot.parse(content).boot === bootId() ? this.#shape.parse(content) : undefined;
    } catch {
      return undefined;
    }
  }

  write(content: z.output<Shape>): void {
    // In one step: an agent that dies here leaves the old note or the new one.
    const unfinished = `${this.#path}.new`;
    writeFileSync(unfinished, `${JSON.stringify({ boot: bootId(), ...content })}\n`);
    renameSync(unfinished, this.#path);
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }
}
