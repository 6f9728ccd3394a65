import { beforeEach, describe, expect, it } from 'vitest';
import { SidestepError } from '../model/error.ts';
import { FakeClock } from './fakes.ts';
import { HOUR, NOW, newAuthority, newSvid } from './samples.ts';
import { Shelf } from './shelf.ts';

const ID = 'spiffe://cluster.local/ns/shop/sa/web';
const authority = newAuthority();
const away = new SidestepError('CA_UNREACHABLE', 'nobody listens', { hint: 'start it' });
let clock: FakeClock;
let shelf: Shelf;
let calls: number;

beforeEach(() => {
  clock = new FakeClock();
  shelf = new Shelf(clock);
  calls = 0;
  shelf.subscribe(() => {
    calls++;
  });
});

describe('the shelf', () => {
  it('tells of what is new, and not of what it has', () => {
    const svid = newSvid(ID, authority);
    shelf.put(svid);
    shelf.put({ ...svid });
    expect(calls).toBe(1);
    shelf.fail(ID, away);
    shelf.fail(ID, away);
    expect(calls).toBe(2);
    shelf.put(svid);
    expect(calls).toBe(3);
    expect(shelf.trouble.size).toBe(0);
    shelf.setBundle(authority.bundle);
    shelf.setBundle({ ...authority.bundle });
    expect(calls).toBe(4);
    shelf.forget(ID);
    shelf.forget(ID);
    expect(calls).toBe(5);
  });

  it('says until when the one in use is good, and after its end why there is none', async () => {
    shelf.put(newSvid(ID, authority));
    shelf.fail(ID, away);
    const until = new Date(NOW + HOUR).toISOString();
    expect(shelf.trouble.get(ID)).toMatchObject({
      code: 'CA_UNREACHABLE',
      message: `nobody listens; the one in use is valid until ${until}`,
      hint: 'start it',
    });
    await clock.advance(HOUR);
    expect(shelf.get(ID)).toBeUndefined();
    expect(shelf.trouble.get(ID)).toMatchObject({
      code: 'SVID_EXPIRED',
      hint: 'start it',
      cause: { code: 'CA_UNREACHABLE' },
    });
    expect(calls).toBe(3);
  });

  it('forgets the end of what has been replaced', async () => {
    shelf.put(newSvid(ID, authority));
    shelf.put(newSvid(ID, authority, { to: NOW + 2 * HOUR }));
    expect(clock.waiting).toBe(1);
    await clock.advance(HOUR);
    expect(shelf.get(ID)).toBeDefined();
  });

  it('takes off what a new bundle does not vouch for, and nothing else', () => {
    const other = newAuthority();
    const mine = newSvid('spiffe://cluster.local/ns/shop/sa/pay', other);
    shelf.setBundle({ ...authority.bundle, authorities: [authority.certificate, other.certificate] });
    shelf.put(newSvid(ID, authority));
    shelf.put(mine);
    shelf.setBundle(other.bundle);
    expect(shelf.get(ID)).toBeUndefined();
    expect(shelf.trouble.get(ID)?.code).toBe('SVID_AUTHORITY_UNKNOWN');
    expect(shelf.get(mine.spiffeId)).toBe(mine);
  });

  it('says nothing and waits for nothing once it is closed', async () => {
    shelf.put(newSvid(ID, authority));
    shelf.close();
    expect(clock.waiting).toBe(0);
    shelf.drop(ID, away);
    expect(calls).toBe(1);
  });
});
