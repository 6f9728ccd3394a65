import { expect, test } from 'vitest';
import { parsePrefix } from '../model/address.ts';
import type { PolicyTable, PrefixIdentity, TableEntry } from '../model/snapshot.ts';
import { movesBetween, tellsApart } from './prefix-changes.ts';

const WORLD = range('::/0', 2);

function range(text: string, identity: number): PrefixIdentity {
  return { ...parsePrefix(text), identity };
}

test('the addresses of a range that comes leave the longest one around it, and go back when it goes', () => {
  const before = [WORLD, range('10.0.0.0/8', 100)];
  const after = [...before, range('10.1.0.0/16', 101), range('192.0.2.0/25', 102)];
  expect(movesBetween(before, after)).toEqual([
    [100, 101],
    [2, 102],
  ]);
  expect(movesBetween(after, before)).toEqual([
    [101, 100],
    [102, 2],
  ]);
});

test('a range that only has another number moves from it, and nothing moves otherwise', () => {
  const before = [WORLD, range('10.0.0.0/8', 100), range('fd00::/17', 103)];
  expect(movesBetween(before, [WORLD, range('10.0.0.0/8', 101), range('fd00::/17', 103)])).toEqual([[100, 101]]);
  expect(movesBetween(before, [...before].reverse())).toEqual([]);
});

test('each move is told once, and one from or to nowhere is from or to 0', () => {
  const after = [range('10.0.0.1/32', 100), range('10.0.0.2/32', 100)];
  expect(movesBetween([], after)).toEqual([[0, 100]]);
  expect(movesBetween(after, [])).toEqual([[100, 0]]);
});

function entry(identity: number, changes: Partial<TableEntry> = {}): TableEntry {
  return {
    identity,
    protocol: 6,
    port: 80,
    prefix: 32,
    verdict: 'allow',
    precedence: 1,
    rule: 16,
    ruleset: 0,
    auth: 'inherit',
    ...changes,
  };
}

test('a table tells identities apart where it says something else to them', () => {
  const entries = [entry(2), entry(100), entry(101, { rule: 17 }), entry(102), entry(102, { port: 81 })];
  const table: PolicyTable = { key: 'a', direction: 'egress', enforcing: true, defaultRule: 16, entries };
  expect(tellsApart(table, [])).toBe(false);
  expect(tellsApart(table, [[2, 100]])).toBe(false);
  expect(tellsApart(table, [[7, 8]])).toBe(false);
  for (const other of [101, 102, 103]) expect(tellsApart(table, [[100, other]])).toBe(true);
});
