/** For tests: time that passes when it is told, and patience with what takes real time. */
import { FakeClock as ManualClock } from '../model/fake-clock.ts';
import { NOW } from './samples.ts';

/** For vi.waitFor: the machine may be busy; the test's own timeout ends it. */
export const PATIENCE = { timeout: 60_000, interval: 10 };

/** Begins when the samples are valid. */
export class FakeClock extends ManualClock {
  constructor(now = NOW) {
    super(now);
  }
}
