/** The timers of a state: named, each at most once, cleared together. */
import type { Clock } from '../model/clock.ts';
import type { Timer } from './state.ts';

interface Running {
  readonly at: number;
  readonly cancel: () => void;
}

export class Timers {
  readonly #clock: Clock;
  readonly #running = new Map<Timer, Running>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(timer: Timer, ms: number, action: () => void): void {
    this.clear(timer);
    const cancel = this.#clock.after(ms, () => {
      this.#running.delete(timer);
      action();
    });
    this.#running.set(timer, { at: this.#clock.now() + ms, cancel });
  }

  /** When it will be over, milliseconds since the epoch; undefined: it does not run. */
  at(timer: Timer): number | undefined {
    return this.#running.get(timer)?.at;
  }

  clear(timer: Timer): void {
    this.#running.get(timer)?.cancel();
    this.#running.delete(timer);
  }

  clearAll(): void {
    for (const timer of [...this.#running.keys()]) this.clear(timer);
  }
}
