import fc from 'fast-check';
import { expect, test } from 'vitest';
import { contains, formatPrefix, parseAddress, parsePrefix } from '../model/address.ts';
import { CidrSet, PrefixMap } from './cidr-set.ts';

const match = (prefix: string, ...except: string[]) => ({
  prefix: parsePrefix(prefix),
  except: except.map(parsePrefix),
});
const takes = (set: CidrSet, prefix: string): boolean => set.takes(parsePrefix(prefix));

test('a range is taken by what holds all of it, and not by what excepts it', () => {
  const set = new CidrSet([match('10.0.0.0/8', '10.1.0.0/16', '10.2.2.2/32'), match('fd00::/8')]);
  expect(takes(set, '10.0.0.0/8')).toBe(true);
  expect(takes(set, '10.9.0.0/16')).toBe(true);
  expect(takes(set, '10.1.0.0/16')).toBe(false);
  expect(takes(set, '10.1.5.0/24')).toBe(false);
  expect(takes(set, '10.2.2.2/32')).toBe(false);
  expect(takes(set, '10.2.2.3/32')).toBe(true);
  expect(takes(set, '0.0.0.0/0')).toBe(false);
  expect(takes(set, 'fd12::/16')).toBe(true);
  expect(takes(set, '::/0')).toBe(false);
});

test('what one match excepts another may take', () => {
  const set = new CidrSet([
    match('10.0.0.0/8', '10.1.0.0/16'),
    match('10.1.1.0/24'),
    match('10.0.0.0/8', '10.3.0.0/16'),
  ]);
  expect(takes(set, '10.1.0.0/16')).toBe(true);
  expect(takes(new CidrSet([match('10.0.0.0/8', '10.1.0.0/16'), match('10.1.1.0/24')]), '10.1.1.1/32')).toBe(true);
  expect(takes(new CidrSet([match('10.0.0.0/8', '10.1.0.0/16'), match('10.1.1.0/24')]), '10.1.2.1/32')).toBe(false);
});

test('IPv4 and IPv6 do not meet', () => {
  expect(takes(new CidrSet([match('0.0.0.0/0')]), '2001:db8::/32')).toBe(false);
  expect(takes(new CidrSet([match('::/0')]), '2001:db8::/32')).toBe(true);
  expect(takes(new CidrSet([match('::/0')]), '192.0.2.1/32')).toBe(false);
});

test('covering prefixes are those that hold the address, the longest first', () => {
  const bits = fc.integer({ min: 0, max: 8 });
  const prefix = fc.tuple(fc.nat(255), bits).map(([byte, length]) => parsePrefix(`${byte}.0.0.0/${length}`));
  fc.assert(
    fc.property(fc.array(prefix), fc.nat(255), (prefixes, byte) => {
      const map = new PrefixMap<string>();
      for (const each of prefixes) map.set(each, formatPrefix(each));
      const address = parseAddress(`${byte}.1.2.3`);
      const expected = [...new Map(prefixes.filter((each) => contains(each, address)).map((p) => [formatPrefix(p), p]))]
        .sort(([, a], [, b]) => b.bits - a.bits)
        .map(([text]) => text);
      expect([...map.covering({ address, bits: 128 })]).toEqual(expected);
    }),
  );
});
