import { describe, expect, it } from 'vitest';
import { atTime } from './at-time.ts';
import { backoffMs } from './backoff.ts';
import { FakeClock } from './fakes.ts';
import { HOUR } from './samples.ts';

describe('a moment', () => {
  it('is looked at every few seconds: timers know nothing of a clock that is set', async () => {
    const waits: number[] = [];
    class Noting extends FakeClock {
      override after(ms: number, action: () => void): () => void {
        waits.push(ms);
        return super.after(ms, action);
      }
    }
    const clock = new Noting();
    let called = 0;
    atTime(clock, clock.now() + 100 * 24 * HOUR, () => {
      called++;
    });
    await clock.advance(HOUR);
    expect(Math.max(...waits)).toBe(10_000);
    clock.set(100 * 24 * HOUR);
    await clock.advance(10_000);
    expect(called).toBe(1);
  });

  it('may lie further ahead than is waited for at once', async () => {
    const clock = new FakeClock();
    let called = 0;
    atTime(clock, clock.now() + 24 * HOUR, () => {
      called++;
    });
    await clock.advance(24 * HOUR - 1);
    expect(called).toBe(0);
    await clock.advance(1);
    expect(called).toBe(1);
    expect(clock.waiting).toBe(0);
  });

  it('that has passed is now, but not at once; and it can be taken back', async () => {
    const clock = new FakeClock();
    let called = 0;
    const count = (): void => {
      called++;
    };
    atTime(clock, clock.now() - HOUR, count);
    expect(called).toBe(0);
    await clock.advance(0);
    expect(called).toBe(1);
    const takeBack = atTime(clock, clock.now() + 24 * HOUR, count);
    await clock.advance(12 * HOUR);
    takeBack();
    expect(clock.waiting).toBe(0);
  });
});

describe('backoff', () => {
  const waits = { firstMs: 1000, mostMs: 60_000 };
  it('doubles up to its most', () => {
    const all = [1, 2, 3, 6, 7, 1000].map((failures) => backoffMs(failures, waits, () => 0));
    expect(all).toEqual([1000, 2000, 4000, 32_000, 60_000, 60_000]);
  });

  it('leaves up to a half to chance', () => {
    expect(backoffMs(3, waits, () => 0.999_999)).toBeCloseTo(2000, 0);
    expect(backoffMs(3, waits, () => 0.5)).toBe(3000);
  });
});
