/** How much may one address ask for? Token buckets, as many as there are addresses that asked lately. */
import { isIPv4 } from 'node:net';
import type { Clock } from '../../model/clock.ts';

const MAX_BUCKETS = 4096;

export interface Rate {
  /** How many at once. */
  readonly burst: number;
  readonly perSecond: number;
}

interface Bucket {
  left: number;
  at: number;
}

export class RateLimit {
  readonly #rate: Rate;
  readonly #clock: Clock;
  /** The one used last stands last. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate, clock: Clock) {
    this.#rate = rate;
    this.#clock = clock;
  }

  /** @returns whether there is one more for it */
  take(key: string): boolean {
    const now = this.#clock.now();
    const { burst, perSecond } = this.#rate;
    const before = this.#buckets.get(key) ?? { left: burst, at: now };
    // A clock that is set back gives nothing.
    const left = Math.min(burst, before.left + (Math.max(0, now - before.at) / 1000) * perSecond);
    this.#buckets.delete(key);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size >= MAX_BUCKETS && oldest !== undefined) this.#buckets.delete(oldest);
    this.#buckets.set(key, { left: left < 1 ? left : left - 1, at: now });
    return left >= 1;
  }
}

/** Whoever has one IPv6 address has its /64; IPv4 may come mapped into IPv6. */
export function limitKey(address: string): string {
  const v4 = address.replace(/^::ffff:/i, '');
  if (isIPv4(v4)) return v4;
  const [head = ''] = address.split('%');
  const [left = '', right] = head.split('::');
  const groups = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const zeros = right === undefined ? 0 : Math.max(0, 8 - groups.length - tail.length);
  return [...groups, ...Array<string>(zeros).fill('0'), ...tail].slice(0, 4).join(':');
}
