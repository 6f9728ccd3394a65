/**
 * Which number stands for which text, where what is gone may still be remembered by its number in the kernel: connections
 * that Envoy holds carry their ruleset for their life, entries of authentication name nodes, and flows the identity outside. So a number is given to
 * another as late as can be: when every other has been given since.
 */
import { SidestepError } from '../model/error.ts';

export interface IdRange {
  readonly first: number;
  readonly last: number;
  /** For the error. */
  readonly what: string;
}

/** Decision points of HTTP rules: RULESET_FIRST in bpf/include/shared.h; the flow entry has 16 bits for it. */
export const RULESETS: IdRange = { first: 16, last: 65535, what: 'ruleset ids' };
/** Other nodes; 0 is this one, and the kernel has 16 bits for it. */
export const NODES: IdRange = { first: 1, last: 65535, what: 'node numbers' };

/** Identities that only this node has: of addresses outside. Cilium's scope of local identities. */
export const LOCAL_IDENTITIES: IdRange = { first: 1 << 24, last: (1 << 24) + (1 << 21) - 1, what: 'local identities' };

/** Above this share numbers of what is no more are given back. */
const CROWDED = 0.75;

export class LateIds {
  readonly #range: IdRange;
  readonly #ids = new Map<string, number>();
  readonly #owners = new Map<number, string>();
  #next: number;
  #dirty = false;

  constructor(range: IdRange) {
    this.#range = range;
    this.#next = range.first;
  }

  /** Something has changed since `saved`. */
  get dirty(): boolean {
    return this.#dirty;
  }

  get #count(): number {
    return this.#range.last - this.#range.first + 1;
  }

  /** @throws MAP_FULL */
  of(key: string): number {
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    if (this.#owners.size >= this.#count)
      throw new SidestepError('MAP_FULL', `all ${this.#count} ${this.#range.what} are taken`);
    let id = this.#next;
    while (this.#owners.has(id)) id = this.#after(id);
    this.#ids.set(key, id);
    this.#owners.set(id, key);
    this.#next = this.#after(id);
    this.#dirty = true;
    return id;
  }

  release(inUse: { has(id: number): boolean }): void {
    if (this.#owners.size < this.#count * CROWDED) return;
    for (const [id, key] of this.#owners) {
      if (inUse.has(id)) continue;
      this.#owners.delete(id);
      this.#ids.delete(key);
      this.#dirty = true;
    }
  }

  /** Where nothing has been given yet: begins here, or at the first where it is beyond the last. */
  beginAt(floor: number): void {
    const { first, last } = this.#range;
    if (this.#owners.size === 0 && this.#next < floor) this.#next = floor > last ? first : floor;
  }

  /** Each number with its text, and where the search for a free one goes on. */
  stored(): { readonly ids: readonly (readonly [number, string])[]; readonly next: number } {
    return { ids: [...this.#owners], next: this.#next };
  }

  saved(): void {
    this.#dirty = false;
  }

  /** @param next where the search for a free one goes on */
  take(ids: readonly (readonly [number, string])[], next: number): void {
    for (const [id, key] of ids) {
      this.#owners.set(id, key);
      this.#ids.set(key, id);
    }
    this.#next = next;
  }

  #after(id: number): number {
    return id === this.#range.last ? this.#range.first : id + 1;
  }
}
