import { describe, expect, it } from 'vitest';
import { addressKey, formatAddress, parseAddress } from '../model/address.ts';
import { FakeClock } from '../model/fake-clock.ts';
import { type BookLimits, NameBook } from './book.ts';

const clock = new FakeClock();
const answer = (name: string, ttl: number, ...addresses: string[]) => ({
  name,
  addresses: addresses.map((address) => ({ address: parseAddress(address), ttl })),
});
const shown = (book: NameBook): string[] =>
  book.addresses().map(({ address, names }) => `${formatAddress(address)} ${names}`);
const open = (limits: Partial<BookLimits> = {}): NameBook => new NameBook(clock, { graceMs: 10_000, ...limits });
const NONE = new Set<string>();

describe('the book of names', () => {
  it('says what is new', () => {
    const book = open();
    expect(book.learn(answer('a.example', 60, '192.0.2.1', '192.0.2.2'))).toBe(true);
    expect(book.learn(answer('a.example', 60, '192.0.2.2'))).toBe(false);
    expect(book.learn(answer('b.example', 60, '192.0.2.2'))).toBe(true);
    expect(book.learn(answer('c.example', 60))).toBe(false);
    expect(shown(book)).toEqual(['192.0.2.1 a.example', '192.0.2.2 a.example,b.example']);
  });

  it('forgets an address when its time and the grace are over, unless a flow has it', async () => {
    const book = open();
    book.learn(answer('a.example', 5, '192.0.2.1', '192.0.2.2'));
    await clock.advance(14_999);
    expect([book.hasEnded, book.expire(NONE)]).toEqual([false, false]);
    await clock.advance(1);
    expect(book.hasEnded).toBe(true);
    expect(book.expire(new Set([addressKey(parseAddress('192.0.2.2'))]))).toBe(true);
    expect(shown(book)).toEqual(['192.0.2.2 a.example']);
    expect(book.expire(NONE)).toBe(true);
    expect([shown(book), book.size]).toEqual([[], 0]);
  });

  it('a shorter answer does not shorten what was promised', async () => {
    const book = open();
    book.learn(answer('a.example', 100, '192.0.2.1'));
    book.learn(answer('a.example', 0, '192.0.2.1'));
    await clock.advance(100_000);
    expect(book.expire(NONE)).toBe(false);
  });

  it('has room for so many addresses of a name and so many names: those go that end first, or were asked for longest ago', () => {
    const book = open({ addressesPerName: 2, names: 2 });
    book.learn(answer('a.example', 50, '192.0.2.1'));
    book.learn(answer('a.example', 10, '192.0.2.2'));
    book.learn(answer('a.example', 90, '192.0.2.3'));
    expect(shown(book)).toEqual(['192.0.2.1 a.example', '192.0.2.3 a.example']);
    book.learn(answer('b.example', 10, '192.0.2.4'));
    book.learn(answer('a.example', 10, '192.0.2.1'));
    book.learn(answer('c.example', 10, '192.0.2.5'));
    expect(shown(book)).toEqual(['192.0.2.1 a.example', '192.0.2.3 a.example', '192.0.2.5 c.example']);
    expect(book.evicted).toBe(2);
  });

  it('is the same after a restart', () => {
    const book = open();
    book.learn(answer('a.example', 60, '192.0.2.1', '2001:db8::1'));
    const next = open();
    next.restore(JSON.parse(JSON.stringify(book.content())));
    expect(shown(next)).toEqual(shown(book));
    expect(next.learn(answer('a.example', 60, '192.0.2.1'))).toBe(false);
  });
});
