/** Time, as everything here that waits or judges by it is given it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** @returns takes it back */
  after(ms: number, action: () => void): () => void;
}

/** The machine's. Its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, action) => {
    const timer = setTimeout(action, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
