import { expect, test } from 'vitest';
import { InheritedProofs } from './inherited-proofs.ts';
import type { KernelProof } from './proof-book.ts';

const NOW = 1_000_000;
const theirs: KernelProof = { identity: 300, node: 2, side: 'theirs', expires: NOW + 60_000, epoch: 4 };
const ours: KernelProof = { identity: 301, node: 2, side: 'ours', expires: NOW + 60_000, epoch: 4 };
const own: KernelProof = { identity: 301, node: 0, side: 'ours', expires: NOW + 60_000, epoch: 0 };
const everywhere = { runs: () => true, openSince: () => undefined };

test('they hold while there is no session, until they expire', () => {
  const inherited = new InheritedProofs([theirs, ours, own]);
  expect(inherited.beside([], everywhere, NOW)).toEqual([theirs, ours, own]);
  expect(inherited.beside([], everywhere, NOW + 60_000)).toEqual([]);
});

test('what is proven anew is not inherited any more, also when it is withdrawn later', () => {
  const inherited = new InheritedProofs([theirs, ours]);
  expect(inherited.beside([{ ...theirs, epoch: 5 }], everywhere, NOW)).toEqual([ours]);
  expect(inherited.beside([], everywhere, NOW)).toEqual([ours]);
});

test('what is forgotten is not inherited any more', () => {
  const inherited = new InheritedProofs([theirs, ours]);
  inherited.forget([{ ...theirs, epoch: 5 }]);
  expect(inherited.beside([], everywhere, NOW)).toEqual([ours]);
});

test('what an open session does not bring anew is over soon', () => {
  const inherited = new InheritedProofs([theirs, { ...theirs, node: 3 }]);
  const facts = { runs: () => true, openSince: (node: number) => (node === 2 ? NOW : undefined) };
  expect(inherited.beside([], facts, NOW + 4_999)).toHaveLength(2);
  expect(inherited.beside([], facts, NOW + 5_000)).toEqual([{ ...theirs, node: 3 }]);
  expect(inherited.beside([], everywhere, NOW + 5_000)).toEqual([{ ...theirs, node: 3 }]);
});

test('an identity that does not run there any more is over at once: theirs there, ours here', () => {
  const asked: string[] = [];
  const inherited = new InheritedProofs([theirs, ours, own]);
  const facts = {
    runs: (identity: number, node: number) => {
      asked.push(`${identity} at ${node}`);
      return false;
    },
    openSince: () => undefined,
  };
  expect(inherited.beside([], facts, NOW)).toEqual([]);
  expect(asked).toEqual(['300 at 2', '301 at 0', '301 at 0']);
});
