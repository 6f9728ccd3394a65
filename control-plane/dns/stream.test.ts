import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MessageStream, withLength } from './stream.ts';

const text = (message: Uint8Array): string => Buffer.from(message).toString();
const bytesOf = (...messages: string[]): Uint8Array =>
  Buffer.concat(messages.map((message) => withLength(Buffer.from(message))));

describe('messages out of segments', () => {
  it('one in one segment, and several', () => {
    const stream = new MessageStream<string>(100);
    const bytes = bytesOf('one', 'two');
    const { messages, complete } = stream.take({ sequence: 100, payload: bytes, item: 'a' });
    expect([messages.map(text), complete]).toEqual([['one', 'two'], ['a']]);
  });

  it('a segment waits until the last message that it holds a part of is whole', () => {
    const stream = new MessageStream<string>(0);
    const bytes = bytesOf('one', 'two');
    expect(stream.take({ sequence: 0, payload: bytes.subarray(0, 7), item: 'a' })).toMatchObject({ complete: [] });
    expect(stream.take({ sequence: 7, payload: bytes.subarray(7), item: 'b' })).toMatchObject({ complete: ['a', 'b'] });
  });

  it('however they are cut and whatever order they come in, around the end of the sequence numbers too', () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 29 }), { maxLength: 8 });
    fc.assert(
      fc.property(cuts, fc.infiniteStream(fc.nat()), fc.nat(0xffffffff), (at, order, first) => {
        const bytes = bytesOf('first', 'second message', 'third');
        const ends = [...at.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
        const parts = ends.map((end, i) => ({
          sequence: (first + (ends[i - 1] ?? 0)) >>> 0,
          payload: bytes.subarray(ends[i - 1] ?? 0, end),
          item: i,
        }));
        const shuffled = parts
          .map((part) => ({ part, by: order.next().value ?? 0 }))
          .sort((a, b) => a.by - b.by)
          .map(({ part }) => part);
        const stream = new MessageStream<number>(first);
        const progress = shuffled.map((part) => stream.take(part));
        expect(progress.flatMap(({ messages }) => messages.map(text))).toEqual(['first', 'second message', 'third']);
        expect(progress.flatMap(({ complete }) => [...complete]).sort((a, b) => a - b)).toEqual(parts.map((_, i) => i));
      }),
    );
  });

  it('what is sent again must be the same', () => {
    const stream = new MessageStream<string>(5);
    const bytes = bytesOf('allowed');
    stream.take({ sequence: 5, payload: bytes, item: 'a' });
    expect(stream.take({ sequence: 5, payload: bytes, item: 'again' })).toMatchObject({ complete: ['again'] });
    expect(stream.take({ sequence: 5, payload: bytesOf('refused'), item: 'other' })).toMatchObject({ broken: true });
    expect(stream.take({ sequence: 4, payload: bytes, item: 'before' })).toMatchObject({ broken: true });
  });

  it('has an end', () => {
    const stream = new MessageStream<string>(0);
    expect(stream.take({ sequence: 65_000, payload: new Uint8Array(1000), item: 'far' })).toMatchObject({
      broken: true,
    });
    const scattered = new MessageStream<string>(0);
    const all = Array.from({ length: 80 }, (_, i) =>
      scattered.take({ sequence: 2 * i + 1, payload: new Uint8Array(1), item: '' }),
    );
    expect(all.some(({ broken }) => broken)).toBe(true);
  });
});
