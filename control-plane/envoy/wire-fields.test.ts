import { describe, expect, test } from 'vitest';
import { Fields } from './wire-fields.ts';

/** A field of each kind: 1 varint 300, 2 eight bytes, 3 the text "äb", 4 four bytes, 5 a message with 1 varint 7. */
const ALL = Uint8Array.of(
  ...[0x08, 0xac, 0x02],
  ...[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
  ...[0x1a, 3, 0xc3, 0xa4, 0x62],
  ...[0x25, 1, 2, 3, 4],
  ...[0x2a, 2, 0x08, 7],
);

function read(bytes: Uint8Array, wanted: (wire: Fields, field: number) => unknown): unknown[] {
  const wire = new Fields(bytes);
  const found: unknown[] = [];
  for (let field = wire.next(); field !== 0; field = wire.next()) found.push([field, wanted(wire, field)]);
  return found;
}

const skipAll = (wire: Fields): void => wire.skip();

describe('the fields of a message', () => {
  test('are gone through by number, each read or skipped', () => {
    const found = read(ALL, (wire, field) => {
      if (field === 1) return wire.number();
      if (field === 3) return wire.text();
      if (field !== 5) return wire.skip();
      const outer = wire.enter();
      const inner = [wire.next(), wire.number(), wire.next()];
      wire.leave(outer);
      return inner;
    });
    expect(found).toEqual([
      [1, 300],
      [2, undefined],
      [3, 'äb'],
      [4, undefined],
      [5, [1, 7, 0]],
    ]);
  });

  test('are those of the bytes that were given, not of what stands around them', () => {
    const around = Uint8Array.of(0xff, ...ALL, 0xff).subarray(1, -1);
    expect(read(around, skipAll)).toEqual(read(ALL, skipAll));
  });

  test.each([
    ['äb', true],
    ['äc', false],
    ['ä', false],
    ['äbc', false],
  ])('a text is %j: %j, and what follows is read on', (text, same) => {
    const wire = new Fields(Uint8Array.of(0x0a, 3, 0xc3, 0xa4, 0x62, 0x10, 5));
    wire.next();
    expect(wire.isText(Buffer.from(text))).toBe(same);
    expect([wire.next(), wire.number()]).toEqual([2, 5]);
  });

  test('a number is exact beyond 32 bits', () => {
    const wire = new Fields(Uint8Array.of(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f));
    wire.next();
    expect(wire.number()).toBe(Number.MAX_SAFE_INTEGER);
  });

  test.each<readonly [string, readonly number[]]>([
    ['a number that is not one', [0x0a, 0]],
    ['a field of a kind that there is not', [0x0b]],
    ['a number of eleven bytes', [0x08, ...new Array<number>(10).fill(0x80), 1]],
    ['field 0', [0x00, 1]],
    ['a text longer than the message', [0x12, 5, 1]],
    ['a length that is none', [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]],
    ['eight bytes that are seven', [0x11, 1, 2, 3, 4, 5, 6, 7]],
    ['four bytes that are three', [0x15, 1, 2, 3]],
    ['a varint without its end', [0x10, 0x80]],
  ])('%s is refused', (_, bytes) => {
    expect(() => read(Uint8Array.from(bytes), (wire, field) => (field === 1 ? wire.number() : wire.skip()))).toThrow(
      RangeError,
    );
  });

  test('a message in a field does not reach beyond it', () => {
    // Field 1 is a message of two bytes, in which a text claims three.
    const wire = new Fields(Uint8Array.of(0x0a, 2, 0x0a, 3, 1, 2, 3));
    wire.next();
    wire.enter();
    wire.next();
    expect(() => wire.text()).toThrow(RangeError);
  });
});
