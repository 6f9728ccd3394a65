import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Origin } from '../model/policy.ts';
import { Numbers } from './numbers.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-numbers-'));
  path = join(folder, 'state', 'numbers.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard' };
const rule = (name: string): Origin => ({ kind: 'rules', rules: [{ ...ref, rule: name }] });
const closed: Origin = { kind: 'default-deny', policies: [ref] };

test('equal label sets have one identity, others another, all in the range for allocation', () => {
  const numbers = new Numbers(undefined);
  const web = numbers.identity(['k8s:app=web']);
  expect(numbers.identity(['k8s:app=web'])).toBe(web);
  expect(numbers.identity(['k8s:app=api'])).not.toBe(web);
  expect(web).toBeGreaterThanOrEqual(256);
  expect(web).toBeLessThanOrEqual(65535);
});

test('the same labels get the same identity in every agent', () => {
  const [one, other] = [new Numbers(undefined), new Numbers(undefined)];
  one.identity(['k8s:app=first']);
  expect(one.identity(['k8s:app=web'])).toBe(other.identity(['k8s:app=web']));
});

test('every identity can be given out, each once, and then it is an error', () => {
  const numbers = new Numbers(undefined);
  const given = new Set(Array.from({ length: 65280 }, (_, i) => numbers.identity([`k8s:n=${i}`])));
  expect(given.size).toBe(65280);
  expect(() => numbers.identity(['k8s:n=one-more'])).toThrow(expect.objectContaining({ code: 'MAP_FULL' }));
});

test('identities that nobody has are given back only when most are taken', () => {
  const numbers = new Numbers(undefined);
  const kept = numbers.identity(['k8s:n=0']);
  const gone = numbers.identity(['k8s:n=1']);
  numbers.release(new Set([kept]));
  expect(numbers.identity(['k8s:n=1'])).toBe(gone);
  for (let i = 2; i < 65280; i++) numbers.identity([`k8s:n=${i}`]);
  numbers.release(new Set([kept]));
  expect(numbers.identity(['k8s:n=0'])).toBe(kept);
  expect(() => numbers.identity(['k8s:n=one-more'])).not.toThrow();
});

test('rule ids begin behind the reserved ones and name their origin', () => {
  const numbers = new Numbers(undefined);
  const id = numbers.rule(rule('ingress[0]'));
  expect(id).toBe(16);
  expect(numbers.rule(rule('ingress[0]'))).toBe(id);
  expect(numbers.rule(closed)).toBe(17);
  expect(numbers.origins.get(17)).toEqual(closed);
  expect(numbers.origins.get(1)).toEqual({ kind: 'reserved', name: 'local-host' });
});

test('rule ids below the floor are not given out', () => {
  expect(new Numbers(undefined, 500).rule(closed)).toBe(500);
});

test('numbers survive a restart, and none is used again for something else', () => {
  const before = new Numbers(path);
  const identity = before.identity(['k8s:app=web']);
  const rules = [before.rule(rule('ingress[0]')), before.rule(closed)];
  before.save();
  const after = new Numbers(path);
  expect(after.problem).toBeUndefined();
  expect(after.rule(rule('egress[0]'))).toBe(18);
  expect(after.identity(['k8s:app=web'])).toBe(identity);
  expect([after.rule(rule('ingress[0]')), after.rule(closed)]).toEqual(rules);
  expect(after.origins.get(17)).toEqual(closed);
});

test('ruleset ids survive a restart, and what was given before is not given again', () => {
  const before = new Numbers(path);
  const ids = [before.ruleset('point a'), before.ruleset('point b')];
  expect(ids).toEqual([16, 17]);
  before.save();
  const after = new Numbers(path);
  expect(after.problem).toBeUndefined();
  expect(after.ruleset('point c')).toBe(18);
  expect([after.ruleset('point a'), after.ruleset('point b')]).toEqual(ids);
});

test('a file from before there were rulesets and node numbers is read', () => {
  const before = new Numbers(path);
  before.rule(closed);
  before.save();
  const { rulesets, nextRuleset, nodes, nextNode, ...old } = JSON.parse(readFileSync(path, 'utf8')) as Record<
    string,
    unknown
  >;
  expect([rulesets, nextRuleset, nodes, nextNode]).toEqual([[], 16, [], 1]);
  writeFileSync(path, JSON.stringify(old));
  const after = new Numbers(path);
  expect(after.problem).toBeUndefined();
  expect([after.rule(closed), after.ruleset('point a'), after.node('n1')]).toEqual([16, 16, 1]);
});

test('ruleset ids below the floor are not given out where nothing is stored', () => {
  expect(new Numbers(undefined, 0, 500).ruleset('point a')).toBe(500);
  const before = new Numbers(path, 0, 20);
  before.ruleset('point a');
  before.save();
  expect(new Numbers(path, 0, 500).ruleset('point b')).toBe(21);
});

test('node numbers begin at 1, survive a restart, and are not given to another node', () => {
  const before = new Numbers(path);
  expect([before.node('n1'), before.node('n2'), before.node('n1')]).toEqual([1, 2, 1]);
  before.releaseNodes(new Set());
  before.save();
  const after = new Numbers(path);
  expect(after.problem).toBeUndefined();
  expect([after.node('n3'), after.node('n2')]).toEqual([3, 2]);
});

test('a new node number alone is reason to write', () => {
  const numbers = new Numbers(path);
  numbers.save();
  expect(existsSync(path)).toBe(false);
  numbers.node('n1');
  numbers.save();
  expect(existsSync(path)).toBe(true);
});

test('node numbers below the floor are not given out where nothing is stored', () => {
  expect(new Numbers(undefined, 0, 0, 7).node('n1')).toBe(7);
});

test('there are 65535 node numbers, and then it is an error', () => {
  const numbers = new Numbers(undefined);
  const given = new Set(Array.from({ length: 65535 }, (_, i) => numbers.node(`n${i}`)));
  expect([given.size, given.has(0), given.has(65535)]).toEqual([65535, false, true]);
  expect(() => numbers.node('one-more')).toThrow(expect.objectContaining({ code: 'MAP_FULL' }));
});

test('what was not saved is not on disk, and saving nothing new writes nothing', () => {
  const numbers = new Numbers(path);
  numbers.identity(['k8s:app=web']);
  expect(existsSync(path)).toBe(false);
  numbers.save();
  rmSync(path);
  numbers.save();
  expect(existsSync(path)).toBe(false);
});

test.each([
  ['half a file', (text: string) => text.slice(0, -5)],
  ['another version', (text: string) => text.replace('"version":1', '"version":2')],
  ['a number that stands twice', (text: string) => text.replace('[17,', '[16,')],
  ['a ruleset id out of range', (text: string) => text.replace('"nextRuleset":16', '"nextRuleset":65536')],
  ['a node number out of range', (text: string) => text.replace('"nextNode":1', '"nextNode":0')],
  ['a number that is none', (text: string) => text.replace('[17,', '["17",')],
  ['an empty file', () => ''],
])('%s is set aside, named, and everything numbered anew above the floor', (_, damage) => {
  const before = new Numbers(path);
  before.rule(rule('ingress[0]'));
  before.rule(closed);
  before.save();
  writeFileSync(path, damage(readFileSync(path, 'utf8')));
  const after = new Numbers(path, 18);
  expect(after.problem).toMatchObject({ code: 'STATE_UNUSABLE', origin: path });
  expect(after.rule(closed)).toBe(18);
  after.save();
  expect(readdirSync(join(folder, 'state')).sort()).toEqual(['numbers.json', 'numbers.json.unusable']);
  expect(new Numbers(path).problem).toBeUndefined();
});

test('a state folder that cannot be written is an error with a code', () => {
  writeFileSync(join(folder, 'state'), 'a file where a folder should be');
  const numbers = new Numbers(undefined);
  expect(() => numbers.save()).not.toThrow();
  expect(() => new Numbers(join(folder, 'state', 'numbers.json'))).toThrow(
    expect.objectContaining({ code: 'STATE_UNUSABLE' }),
  );
});

test('identities of addresses outside begin at 1 << 24 and survive a restart', () => {
  const numbers = new Numbers(path);
  const world = numbers.localIdentity(['cidr:192.0.2.0/24', 'reserved:world']);
  const other = numbers.localIdentity(['cidr:10.0.0.0/8', 'reserved:world']);
  expect([world, other]).toEqual([1 << 24, (1 << 24) + 1]);
  numbers.save();
  const again = new Numbers(path);
  expect(again.localIdentity(['cidr:10.0.0.0/8', 'reserved:world'])).toBe(other);
  // Not given to another while there are others, also when nothing uses it.
  again.releaseLocal(new Set());
  expect(again.localIdentity(['cidr:203.0.113.0/24', 'reserved:world'])).toBe(other + 1);
});
