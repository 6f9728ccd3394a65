import { describe, expect, it } from 'vitest';
import { FakeClock } from '../fakes.ts';
import { limitKey, RateLimit } from './limits.ts';

describe('a rate limit', () => {
  it('lets a burst pass, and then as many as come back in time', async () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ burst: 3, perSecond: 2 }, clock);
    const taken = (): number => [...Array(10)].filter(() => limit.take('a')).length;
    expect(taken()).toBe(3);
    expect(taken()).toBe(0);
    await clock.advance(1000);
    expect(taken()).toBe(2);
    await clock.advance(60_000);
    expect(taken()).toBe(3);
  });

  it('counts each address for itself', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1 }, new FakeClock());
    expect([limit.take('a'), limit.take('b'), limit.take('a')]).toEqual([true, true, false]);
  });

  it('forgets whom it has not seen for longest', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 0 }, new FakeClock());
    for (const i of Array(4097).keys()) limit.take(String(i));
    expect(limit.take('1')).toBe(false);
    expect(limit.take('0')).toBe(true);
  });
});

describe('what counts as one address', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['2001:db8:1:2:aaaa::1', '2001:db8:1:2'],
    ['2001:db8:1:2:bbbb:1:2:3', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['::1', '0:0:0:0'],
  ])('%s', (address, key) => {
    expect(limitKey(address)).toBe(key);
  });
});
