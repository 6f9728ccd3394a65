/**
 * Numbers that stand for texts: identities for label sets, rule ids for origins. They survive restarts, because flows
 * in the kernel carry them: the file is written before anybody sees a new number.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SidestepError } from '../model/error.ts';
import type { Origin } from '../model/policy.ts';

/** Cilium's range of allocated identities. */
const FIRST_IDENTITY = 256;
const LAST_IDENTITY = 65535;
/** RULE_FIRST in bpf/include/shared.h. */
const FIRST_RULE = 16;

const Stored = z.object({
  version: z.literal(1),
  identities: z.array(z.tuple([z.int(), z.string()])),
  rules: z.array(z.tuple([z.int(), z.string()])),
});

export const RESERVED_ORIGINS: ReadonlyMap<number, Origin> = new Map([
  [0, { kind: 'reserved', name: 'none' }],
  [1, { kind: 'reserved', name: 'local-host' }],
  [2, { kind: 'reserved', name: 'bypass' }],
  [3, { kind: 'reserved', name: 'not-synced' }],
]);

export class Numbers {
  readonly #path: string | undefined;
  readonly #identities = new Map<string, number>();
  readonly #identityOwners = new Map<number, string>();
  readonly #rules = new Map<string, number>();
  readonly #origins = new Map<number, Origin>(RESERVED_ORIGINS);
  #nextRule = FIRST_RULE;
  #dirty = false;

  /**
   * @param path where they are kept; undefined: nowhere (offline commands, tests)
   * @param ruleFloor rule ids below it may still be in the kernel and are not given out
   * @throws INPUT_INVALID when the file is there and cannot be read
   */
  constructor(path: string | undefined, ruleFloor = 0) {
    this.#path = path;
    if (path !== undefined) this.#load(path);
    this.#nextRule = Math.max(this.#nextRule, ruleFloor);
  }

  get origins(): ReadonlyMap<number, Origin> {
    return this.#origins;
  }

  /** The number of a label set; hashed from its text, so that the same labels mostly get the same number everywhere. */
  identity(labels: readonly string[]): number {
    const text = labels.join('\n');
    const known = this.#identities.get(text);
    if (known !== undefined) return known;
    const size = LAST_IDENTITY - FIRST_IDENTITY + 1;
    if (this.#identityOwners.size >= size) throw new SidestepError('MAP_FULL', `all ${size} identities are taken`);
    let number = FIRST_IDENTITY + (fnv1a(text) % size);
    while (this.#identityOwners.has(number)) number = number === LAST_IDENTITY ? FIRST_IDENTITY : number + 1;
    this.#identities.set(text, number);
    this.#identityOwners.set(number, text);
    this.#dirty = true;
    return number;
  }

  /** The number of an origin; never used again for another. */
  rule(origin: Origin): number {
    const text = JSON.stringify(origin);
    const known = this.#rules.get(text);
    if (known !== undefined) return known;
    const number = this.#nextRule++;
    this.#rules.set(text, number);
    this.#origins.set(number, origin);
    this.#dirty = true;
    return number;
  }

  /** Writes what is new to disk. Call before a new number leaves the process. */
  save(): void {
    if (!this.#dirty || this.#path === undefined) return;
    const text = JSON.stringify({
      version: 1,
      identities: [...this.#identityOwners],
      rules: [...this.#rules].map(([origin, number]) => [number, origin]),
    });
    mkdirSync(dirname(this.#path), { recursive: true });
    const temporary = `${this.#path}.new`;
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, this.#path);
    this.#dirty = false;
  }

  #load(path: string): void {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      const stored = Stored.parse(JSON.parse(text));
      for (const [number, labels] of stored.identities) {
        this.#identities.set(labels, number);
        this.#identityOwners.set(number, labels);
      }
      for (const [number, origin] of stored.rules) {
        this.#rules.set(origin, number);
        this.#origins.set(number, JSON.parse(origin) as Origin);
        this.#nextRule = Math.max(this.#nextRule, number + 1);
      }
    } catch (cause) {
      throw new SidestepError('INPUT_INVALID', `${path} does not hold the numbers of an agent`, {
        cause,
        path,
        hint: 'Move the file away; the agent then numbers anew, and flows of the past lose their names.',
      });
    }
  }
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
