import { expect, test } from 'vitest';
import { nameRow } from './list.ts';

test('a name with many addresses: a few of them, the number of the rest, and the first time that one ends', () => {
  const addresses = [5, 3, 4, 1, 2].map((n) => ({ address: `10.0.0.${n}`, until: `2026-01-01T00:00:0${n}.000Z` }));
  expect(nameRow({ name: 'www.example.com', taken: ['*.example.com', 'www.example.com'], addresses })).toEqual([
    'www.example.com',
    '10.0.0.5,10.0.0.3,10.0.0.4 and 2 more',
    '2026-01-01T00:00:01.000Z',
    '*.example.com,www.example.com',
  ]);
});

test('a name that no policy takes', () => {
  expect(nameRow({ name: 'a', taken: [], addresses: [{ address: '::1', until: 'then' }] })).toEqual([
    'a',
    '::1',
    'then',
    '-',
  ]);
});
