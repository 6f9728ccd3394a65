/** May it go on? So many a second, and a number at once; what is taken above it has to be waited for. */
import type { Clock } from '../../model/clock.ts';

export class TokenBucket {
  readonly #rate: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #at: number;

  constructor(perSecond: number, burst: number, clock: Clock) {
    this.#rate = perSecond;
    this.#burst = burst;
    this.#clock = clock;
    this.#tokens = burst;
    this.#at = clock.now();
  }

  /** @returns milliseconds until there is something to take again; 0: there is */
  take(count: number): number {
    const now = this.#clock.now();
    // A clock that was set back must not take tokens away.
    const earned = (Math.max(0, now - this.#at) * this.#rate) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned) - count;
    this.#at = now;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens * 1000) / this.#rate);
  }
}
