import { describe, expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import { type Allowed, AllowedAddresses, type Claim } from './allowed.ts';
import { prefixText } from './prefixes.ts';

const claim = (node: string, address: string): Claim => ({ node, address: parseAddress(address) });
const shown = ({ byNode }: Allowed): Record<string, string[]> =>
  Object.fromEntries([...byNode].map(([node, list]) => [node, list.map(prefixText)]));
const messages = ({ conflicts }: Allowed): string[] => conflicts.map(({ message }) => message);

describe('addresses', () => {
  test('go to the node that our source has them at, and this node’s to no peer', () => {
    const allowed = new AllowedAddresses().update([
      claim('a', '10.0.0.1'),
      claim('a', 'fd00::1'),
      claim('b', '10.0.0.2'),
      claim('', '10.0.0.3'),
    ]);
    expect(shown(allowed)).toEqual({ a: ['10.0.0.1/32', 'fd00::1/128'], b: ['10.0.0.2/32'] });
    expect(allowed.conflicts).toEqual([]);
  });

  test('claimed twice by one node are claimed once', () => {
    const allowed = new AllowedAddresses().update([claim('a', '10.0.0.1'), claim('a', '10.0.0.1')]);
    expect(shown(allowed)).toEqual({ a: ['10.0.0.1/32'] });
    expect(allowed.conflicts).toEqual([]);
  });

  test('that two new nodes claim go to neither, and both are named', () => {
    const allowed = new AllowedAddresses().update([
      claim('b', '10.0.0.1'),
      claim('a', '10.0.0.1'),
      claim('b', '10.0.0.2'),
    ]);
    expect(shown(allowed)).toEqual({ b: ['10.0.0.2/32'] });
    expect(messages(allowed)).toEqual(['10.0.0.1 is claimed by a, b: none of them gets it']);
    expect(allowed.conflicts[0]?.code).toBe('TUNNEL_PREFIX_CONFLICT');
  });

  test('are not moved to another node that claims them, too', () => {
    const addresses = new AllowedAddresses();
    addresses.update([claim('a', '10.0.0.1')]);
    const contested = [claim('b', '10.0.0.1'), claim('a', '10.0.0.1')];
    for (const _ of [1, 2]) {
      const allowed = addresses.update(contested);
      expect(shown(allowed)).toEqual({ a: ['10.0.0.1/32'] });
      expect(messages(allowed)).toEqual(['10.0.0.1 is claimed by a, b: a had it first and keeps it']);
    }
  });

  test('of this node are not another’s', () => {
    const addresses = new AllowedAddresses();
    addresses.update([claim('', '10.0.0.1')]);
    const allowed = addresses.update([claim('', '10.0.0.1'), claim('a', '10.0.0.1')]);
    expect(shown(allowed)).toEqual({});
    expect(messages(allowed)).toEqual(['10.0.0.1 is claimed by a, this node: this node had it first and keeps it']);
  });

  test('that are free again go to the one that is left', () => {
    const addresses = new AllowedAddresses();
    addresses.update([claim('a', '10.0.0.1')]);
    addresses.update([claim('a', '10.0.0.1'), claim('b', '10.0.0.1')]);
    expect(shown(addresses.update([claim('b', '10.0.0.1')]))).toEqual({ b: ['10.0.0.1/32'] });
    // The first has lost it for good, and is now the new one.
    expect(shown(addresses.update([claim('a', '10.0.0.1'), claim('b', '10.0.0.1')]))).toEqual({ b: ['10.0.0.1/32'] });
    addresses.update([]);
    expect(shown(addresses.update([claim('a', '10.0.0.1'), claim('b', '10.0.0.1')]))).toEqual({});
  });

  test('in conflict are named up to a bound', () => {
    const claims = Array.from({ length: 100 }, (_, i) => ['a', 'b'].map((node) => claim(node, `10.0.1.${i}`))).flat();
    const allowed = new AllowedAddresses().update(claims);
    expect(allowed.conflicts).toHaveLength(64);
    expect(shown(allowed)).toEqual({});
  });
});
