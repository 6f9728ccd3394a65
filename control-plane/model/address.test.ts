import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressKey, contains, formatAddress, MAPPED_BITS, parseAddress, parsePrefix } from './address.ts';

test('an IPv4 address is kept in its mapped form and written dotted', () => {
  expect(addressKey(parseAddress('10.1.2.255'))).toBe('00000000000000000000ffff0a0102ff');
  expect(formatAddress(parseAddress('::ffff:10.1.2.255'))).toBe('10.1.2.255');
});

test('every IPv4 address is read back as it was written', () => {
  fc.assert(fc.property(fc.ipV4(), (text) => formatAddress(parseAddress(text)) === text));
});

test('every IPv6 address is read back as the same address', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const address = parseAddress(text);
      const again = formatAddress(address);
      expect(addressKey(parseAddress(again))).toBe(addressKey(address));
    }),
  );
});

test.each([
  ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:DB8::', '2001:db8::'],
  ['::', '::'],
  ['::1', '::1'],
])('%s is written %s, as RFC 5952 has it', (text, canonical) => {
  expect(formatAddress(parseAddress(text))).toBe(canonical);
});

test.each(['', '10.0.0', '10.0.0.256', '10.0.0.1/8', 'fe80::1%eth0', 'web', '1::2::3'])(
  '%j is not an address',
  (text) => {
    expect(() => parseAddress(text)).toThrow('is not an IP address');
  },
);

test('a prefix loses its host bits and counts in 16 bytes', () => {
  const { address, bits } = parsePrefix('10.1.2.3/20');
  expect([formatAddress(address), bits]).toEqual(['10.1.0.0', MAPPED_BITS + 20]);
});

test('the bits of a prefix are kept and all others are zero', () => {
  fc.assert(
    fc.property(fc.ipV6().filter(isIPv6), fc.nat(128), (text, bits) => {
      const binary = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(2).padStart(8, '0')).join('');
      const { address } = parsePrefix(`${text}/${bits}`);
      expect(binary(address)).toBe(binary(parseAddress(text)).slice(0, bits).padEnd(128, '0'));
    }),
  );
});

test.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/8/8', 'fd00::/129', 'x/8', '10.0.0.0/'])(
  '%j is not a prefix',
  (text) => {
    expect(() => parsePrefix(text)).toThrow(/is not (a prefix|an IP address)/);
  },
);

test('a range holds what begins as it does, and no range of IPv6 an address of IPv4', () => {
  const holds = (prefix: string, address: string): boolean => contains(parsePrefix(prefix), parseAddress(address));
  expect([holds('10.0.0.0/8', '10.255.0.1'), holds('10.0.0.0/8', '11.0.0.1')]).toEqual([true, false]);
  expect([holds('10.0.0.128/25', '10.0.0.127'), holds('10.0.0.128/25', '10.0.0.128')]).toEqual([false, true]);
  expect([holds('0.0.0.0/0', '192.0.2.1'), holds('0.0.0.0/0', '2001:db8::1')]).toEqual([true, false]);
  expect([holds('::/0', '192.0.2.1'), holds('::/0', '2001:db8::1')]).toEqual([false, true]);
});
