import fc from 'fast-check';
import { expect, test } from 'vitest';
import { blocksOf, takesBlock } from './port-blocks.ts';

const texts = (port: number, endPort?: number, protocol = 6): string[] =>
  blocksOf({ protocol, port, ...(endPort === undefined ? {} : { endPort }) }).map((b) => `${b.port}/${b.prefix}`);

test('one port, every port, and ranges at the edges', () => {
  expect(texts(80)).toEqual(['80/32']);
  expect(texts(0)).toEqual(['0/16']);
  expect(texts(0, 65535)).toEqual(['0/16']);
  expect(texts(65535)).toEqual(['65535/32']);
  expect(texts(32768, 65535)).toEqual(['32768/17']);
  expect(texts(80, 80)).toEqual(['80/32']);
  expect(texts(80, 79)).toEqual(['80/32']);
  expect(texts(80, 83)).toEqual(['80/30']);
  expect(texts(1, 65535)).toHaveLength(16);
  expect(texts(1, 65535).slice(0, 2)).toEqual(['1/32', '2/31']);
  expect(texts(1, 65535).at(-1)).toBe('32768/17');
  expect(texts(1, 65534)).toHaveLength(30);
  expect(texts(0, 65534)).toHaveLength(16);
});

test('a type of ICMP is one number, and 0 is the type 0', () => {
  expect(texts(0, undefined, 1)).toEqual(['0/32']);
  expect(texts(128, undefined, 58)).toEqual(['128/32']);
});

test('a name that nobody resolved is no port', () => {
  expect(blocksOf({ protocol: 6, port: 0, name: 'http' })).toEqual([]);
  expect(takesBlock({ protocol: 6, port: 0, name: 'http' }, { protocol: 6, port: 80, prefix: 32 })).toBe(false);
});

test('the blocks of a range hold each of its ports once and no other', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 1, max: 65535 }), (a, b) => {
      const [port, endPort] = [Math.min(a, b), Math.max(a, b)];
      const blocks = blocksOf({ protocol: 6, port, endPort });
      expect(blocks.length).toBeLessThanOrEqual(30);
      let next = port;
      for (const block of blocks) {
        const size = 2 ** (32 - block.prefix);
        expect([block.port, block.port % size]).toEqual([next, 0]);
        expect(takesBlock({ protocol: 6, port, endPort }, block)).toBe(true);
        next += size;
      }
      expect(next).toBe(endPort + 1);
    }),
  );
});
