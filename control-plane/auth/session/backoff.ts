/** How long to wait after a failure: twice as long each time up to a bound, never quite the same for two nodes. */
export class Backoff {
  readonly #first: number;
  readonly #longest: number;
  readonly #random: () => number;
  #failures = 0;

  /** @param random from 0 to less than 1 */
  constructor(firstMs: number, longestMs: number, random: () => number) {
    this.#first = firstMs;
    this.#longest = longestMs;
    this.#random = random;
  }

  /** @returns milliseconds: between half of the pause and all of it */
  next(): number {
    // 2^31 times the first pause is above any bound.
    const pause = Math.min(this.#longest, this.#first * 2 ** Math.min(this.#failures++, 31));
    return pause * (0.5 + this.#random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
