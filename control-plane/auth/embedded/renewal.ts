/** When is a certificate fetched? At once, again at about half of its life, and after a failure with growing waits. */

import type { Clock } from '../../model/clock.ts';
import { atTime } from '../at-time.ts';
import { backoffMs, type Random } from '../backoff.ts';
import type { Svid } from '../svid.ts';

const RETRY = { firstMs: 1000, mostMs: 60_000 };
/** Of the life, and this much more or less, so that what came together is not renewed together. */
const HALF = 0.5;
const JITTER = 0.05;
/** However short a life is. */
const LEAST_MS = 1000;

export interface RenewalOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly obtain: () => Promise<Svid>;
  readonly obtained: (svid: Svid) => void;
  readonly failed: (error: unknown) => void;
}

export class Renewal {
  readonly #options: RenewalOptions;
  #cancel = (): void => {};
  #running = false;
  #again = false;
  #stopped = false;
  #failures = 0;

  constructor(options: RenewalOptions) {
    this.#options = options;
  }

  /** Without waiting for what is planned. */
  now(): void {
    if (this.#stopped) return;
    this.#failures = 0;
    this.#again = this.#running;
    if (!this.#running) void this.#run();
  }

  /** This one is in use: plan for the next. */
  plan(svid: Svid): void {
    const { clock, random } = this.#options;
    const from = svid.chain[0]?.validFromDate.getTime() ?? clock.now();
    const part = HALF + JITTER * (2 * random() - 1);
    const at = Math.max(from + (svid.notAfter - from) * part, clock.now() + LEAST_MS);
    this.#wait(at);
  }

  /** Nothing is called any more, also for what is on its way. */
  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async #run(): Promise<void> {
    const { obtain, obtained, failed, clock, random } = this.#options;
    this.#cancel();
    this.#running = true;
    try {
      const svid = await obtain();
      if (this.#stopped) return;
      this.#failures = 0;
      this.plan(svid);
      obtained(svid);
    } catch (error) {
      if (this.#stopped) return;
      this.#failures++;
      // Not at a time: a wrong clock may be what it failed for, and is put right meanwhile.
      this.#cancel = clock.after(backoffMs(this.#failures, RETRY, random), () => void this.#run());
      failed(error);
    } finally {
      this.#running = false;
    }
    if (this.#again) this.now();
  }

  #wait(at: number): void {
    this.#cancel();
    this.#cancel = atTime(this.#options.clock, at, () => void this.#run());
  }
}
