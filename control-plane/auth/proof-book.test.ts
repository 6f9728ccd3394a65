import { describe, expect, test } from 'vitest';
import { type BookEntry, kernelProofs, type Numbering, ProofBook } from './proof-book.ts';

const WEB = 'spiffe://mesh.test/ns/shop/sa/web';
const API = 'spiffe://mesh.test/ns/shop/sa/api';
const NOW = 1_000;

const NUMBERING: Numbering = {
  // Two label sets share the service account `web`.
  identitiesOf: ({ serviceAccount }) => (serviceAccount === 'web' ? [300, 301] : [400]),
  nodeNumber: (name) => (name === 'node-2' ? 7 : undefined),
};

function entry(changes: Partial<BookEntry> = {}): BookEntry {
  return { node: 'node-2', spiffeId: WEB, side: 'theirs', serial: '01', expires: 2_000, epoch: 3, ...changes };
}

function book(...entries: readonly BookEntry[]): ProofBook {
  const made = new ProofBook();
  for (const each of entries) made.write(each);
  return made;
}

describe('for the kernel', () => {
  test('every identity of the service account is proven', () => {
    expect(book(entry()).forKernel(NUMBERING, NOW)).toEqual([
      { identity: 300, node: 7, side: 'theirs', expires: 2_000, epoch: 3 },
      { identity: 301, node: 7, side: 'theirs', expires: 2_000, epoch: 3 },
    ]);
  });

  test("this node's own certificates are of node 0", () => {
    const own = new ProofBook();
    own.own([{ spiffeId: API, serial: '02', expires: 5_000 }]);
    expect(own.forKernel(NUMBERING, NOW)).toEqual([{ identity: 400, node: 0, side: 'ours', expires: 5_000, epoch: 0 }]);
    own.own([]);
    expect(own.forKernel(NUMBERING, NOW)).toEqual([]);
  });

  test.each([
    ['expired', entry({ expires: NOW })],
    ['of a node that is gone', entry({ node: 'node-9' })],
    ['of a node itself', entry({ spiffeId: 'spiffe://mesh.test/node/node-2' })],
  ])('what is %s is left out', (_, each) => {
    expect(book(each).forKernel(NUMBERING, NOW)).toEqual([]);
    expect(kernelProofs(each, NUMBERING, NOW)).toEqual([]);
  });

  test('one alone is the same as among others', () => {
    expect(kernelProofs(entry(), NUMBERING, NOW)).toEqual(book(entry()).forKernel(NUMBERING, NOW));
  });
});

test('a newer proof takes the place of the older one, and the sides are told apart', () => {
  const made = book(entry(), entry({ serial: '09' }), entry({ side: 'ours' }));
  expect(made.list().map(({ side, serial }) => `${side} ${serial}`)).toEqual(['ours 01', 'theirs 09']);
  expect(made.strike(entry())).toBe(true);
  expect(made.strike(entry())).toBe(false);
  expect(made.has(entry(), NOW)).toBe(false);
  expect(made.has(entry({ side: 'ours' }), NOW)).toBe(true);
});

test('own certificates do not touch what others have proven', () => {
  const made = book(entry());
  made.own([]);
  expect(made.list()).toHaveLength(1);
});

test('what is over is forgotten', () => {
  const made = book(entry({ expires: NOW }), entry({ side: 'ours' }));
  made.sweep(NOW);
  expect(made.list()).toHaveLength(1);
});
