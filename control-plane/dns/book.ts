/** Which addresses do names stand for, as pods were told? What policy admits by name is admitted for as long as it stands here. */
import { addressKey } from '../model/address.ts';
import type { Clock } from '../model/clock.ts';
import type { Answer } from './message.ts';

export interface NamedAddress {
  /** 16 bytes. */
  readonly address: Uint8Array;
  /** Sorted. */
  readonly names: readonly string[];
}

export interface BookLimits {
  /** Of one name, as Cilium's tofqdns-endpoint-max-ip-per-hostname; beyond them those go that end first. */
  readonly addressesPerName: number;
  readonly names: number;
  /** An answer's own time and this long after it: who was told connects a little later. */
  readonly graceMs: number;
}

export const BOOK_LIMITS: BookLimits = { addressesPerName: 1000, names: 20_000, graceMs: 60_000 };

/** For a file. Addresses as 32 hex digits with the time that they end, in milliseconds since the epoch. */
export type BookContent = readonly (readonly [name: string, addresses: readonly (readonly [string, number])[]])[];

export class NameBook {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #limits: BookLimits;
  /** Name -> address -> until when. The name that was asked for longest ago comes first. */
  readonly #names = new Map<string, Map<string, number>>();
  #evicted = 0;

  constructor(clock: Pick<Clock, 'now'>, limits: Partial<BookLimits> = {}) {
    this.#clock = clock;
    this.#limits = { ...BOOK_LIMITS, ...limits };
  }

  get size(): number {
    return this.#names.size;
  }

  /** Names and addresses that were forgotten for want of room. */
  get evicted(): number {
    return this.#evicted;
  }

  /** @returns whether one of the addresses is new to the name */
  learn({ name, addresses }: Pick<Answer, 'name' | 'addresses'>): boolean {
    if (addresses.length === 0) return false;
    const known = this.#names.get(name) ?? new Map<string, number>();
    let isNew = false;
    for (const { address, ttl } of addresses) {
      const key = addressKey(address);
      const until = this.#clock.now() + ttl * 1000 + this.#limits.graceMs;
      isNew ||= !known.has(key);
      known.set(key, Math.max(until, known.get(key) ?? 0));
    }
    this.#trim(known);
    this.#names.delete(name);
    this.#names.set(name, known);
    if (this.#names.size > this.#limits.names) {
      const [oldest = ''] = this.#names.keys();
      this.#names.delete(oldest);
      this.#evicted++;
    }
    return isNew;
  }

  /** Whether something has ended: worth asking what is in use. */
  get hasEnded(): boolean {
    const now = this.#clock.now();
    for (const addresses of this.#names.values()) for (const until of addresses.values()) if (until <= now) return true;
    return false;
  }

  /**
   * Forgets what has ended, but not what a live flow has: a connection outlives the answer it began with.
   * @param inUse keys of addresses, see addressKey
   * @returns whether anything was forgotten
   */
  expire(inUse: ReadonlySet<string>): boolean {
    const now = this.#clock.now();
    let changed = false;
    for (const [name, addresses] of this.#names) {
      for (const [key, until] of addresses) {
        if (until > now || inUse.has(key)) continue;
        addresses.delete(key);
        changed = true;
      }
      if (addresses.size === 0) this.#names.delete(name);
    }
    return changed;
  }

  /** In order of the addresses. */
  addresses(): NamedAddress[] {
    const names = new Map<string, string[]>();
    for (const [name, addresses] of this.#names)
      for (const key of addresses.keys()) {
        const list = names.get(key);
        if (list) list.push(name);
        else names.set(key, [name]);
      }
    return [...names.keys()]
      .sort()
      .map((key) => ({ address: Uint8Array.from(Buffer.from(key, 'hex')), names: names.get(key)?.sort() ?? [] }));
  }

  /** One name, as it stands. */
  entry(name: string): BookContent[number] {
    return [name, [...(this.#names.get(name) ?? [])]];
  }

  content(): BookContent {
    return [...this.#names].map(([name, addresses]) => [name, [...addresses]]);
  }

  /** What an earlier agent knew. Only before anything else. */
  restore(content: BookContent): void {
    for (const [name, addresses] of content) this.#names.set(name, new Map(addresses));
  }

  #trim(addresses: Map<string, number>): void {
    const over = addresses.size - this.#limits.addressesPerName;
    if (over <= 0) return;
    const byEnd = [...addresses].sort(([, a], [, b]) => a - b);
    for (const [key] of byEnd.slice(0, over)) addresses.delete(key);
    this.#evicted += over;
  }
}
