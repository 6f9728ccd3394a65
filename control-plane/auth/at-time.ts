/** Timers for moments that may lie years ahead. */
import type { Clock } from '../model/clock.ts';

/** setTimeout takes 24.8 days; a day also catches a clock that was set. */
const LONGEST_MS = 86_400_000;

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
