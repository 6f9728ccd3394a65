import fc from 'fast-check';
import { expect, test } from 'vitest';
import { coversOf, type Key, keyNumber, type PortKey, portNumber, shadowed } from './keys.ts';

/** Keys as they stand in tables: the bits behind the prefix are 0. */
const portKey: fc.Arbitrary<PortKey> = fc.oneof(
  fc.constant({ protocol: 0, port: 0, prefix: 0 }),
  fc
    .record({ protocol: fc.nat(255), port: fc.nat(65535), prefix: fc.integer({ min: 16, max: 32 }) })
    .map(({ protocol, port, prefix }) => ({ protocol, prefix, port: port & (0xffff << (32 - prefix)) & 0xffff })),
);
const key: fc.Arbitrary<Key> = fc
  .tuple(fc.oneof(fc.nat(65535), fc.integer({ min: 1 << 24, max: (1 << 24) + (1 << 21) })), portKey)
  .map(([identity, rest]) => ({ identity, ...rest }));

test('no two keys have one number, and all are exact', () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      expect(keyNumber(a) === keyNumber(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      expect(Number.isSafeInteger(keyNumber(a))).toBe(true);
    }),
  );
});

test('what covers a key is what its bits lie in', () => {
  const covers = (wide: PortKey, narrow: PortKey): boolean =>
    wide.prefix === 0 ||
    (wide.protocol === narrow.protocol &&
      wide.prefix <= narrow.prefix &&
      (wide.port ^ narrow.port) >> (32 - wide.prefix) === 0);
  fc.assert(
    fc.property(portKey, portKey, fc.boolean(), fc.integer({ min: 16, max: 32 }), (a, b, related, prefix) => {
      // Half of the pairs are related.
      const wide = related && a.prefix > 0 ? { ...a, prefix, port: a.port & (0xffff << (32 - prefix)) & 0xffff } : b;
      const same = portNumber(wide) === portNumber(a);
      expect(coversOf(portNumber(a)).includes(portNumber(wide))).toBe(!same && covers(wide, a));
    }),
  );
});

test('the nearest comes first', () => {
  const numbers = [28, 24, 16].map((prefix) => portNumber({ protocol: 6, port: 0, prefix }));
  const covers = coversOf(portNumber({ protocol: 6, port: 3, prefix: 32 }));
  expect(numbers.map((number) => covers.indexOf(number))).toEqual([3, 7, 15]);
  expect(covers.at(-1)).toBe(0);
});

test('a block of ports is shadowed when narrower ones cover all of it, however deep', () => {
  const at = (port: number, prefix: number): number => portNumber({ protocol: 6, port, prefix });
  expect(shadowed([at(80, 31), at(80, 32), at(81, 32)])).toEqual(new Set([at(80, 31)]));
  expect(shadowed([at(80, 30), at(80, 31), at(82, 32), at(83, 32)])).toEqual(new Set([at(82, 31), at(80, 30)]));
  expect(shadowed([at(80, 31), at(80, 32)])).toEqual(new Set());
  expect(shadowed([at(81, 32), at(82, 32), 0])).toEqual(new Set());
});
