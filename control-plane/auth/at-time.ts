/** Timers for moments that may lie years ahead. */
import type { Clock } from '../model/clock.ts';

/**
 * Timers do not know that the clock was set, or that the machine slept: it is looked at this often. What waits for longer than
 * 24.8 days, which is what setTimeout takes, needs it anyway.
 */
const LONGEST_MS = 10_000;

/** Calls once, when the clock shows `at` or later; never at once. @returns takes it back */
export function atTime(clock: Clock, at: number, action: () => void): () => void {
  let cancel = (): void => {};
  const wait = (): void => {
    const left = at - clock.now();
    cancel = left > 0 ? clock.after(Math.min(left, LONGEST_MS), wait) : clock.after(0, action);
  };
  wait();
  return () => cancel();
}
