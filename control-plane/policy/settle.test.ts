import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TableEntry } from '../model/snapshot.ts';
import { keyNumber, settle } from './settle.ts';

const entry = (prefix: number, protocol: number, port: number, verdict: 'allow' | 'deny', rule = 16): TableEntry => ({
  identity: 300,
  prefix,
  protocol: prefix === 0 ? 0 : protocol,
  port: prefix === 32 ? port : 0,
  verdict,
  precedence: verdict === 'deny' ? 255 : 1,
  rule,
  ruleset: 0,
  auth: 'inherit',
});
const byKey = (entries: readonly TableEntry[]): Map<number, TableEntry> =>
  new Map(entries.map((each) => [keyNumber(each), each]));

test('an allow for one port does not pierce a denial that covers it, and names it', () => {
  const deny = entry(16, 6, 0, 'deny', 20);
  const [port] = settle(byKey([entry(32, 6, 80, 'allow', 21), deny]));
  expect(port).toMatchObject({ port: 80, prefix: 32, verdict: 'deny', precedence: 255, rule: 20 });
});

test('a denial that covers a redirect takes its place, ruleset and all', () => {
  const redirect = { ...entry(32, 6, 80, 'allow', 21), verdict: 'redirect', precedence: 154, ruleset: 16 } as const;
  expect(settle(byKey([redirect, entry(0, 0, 0, 'deny', 20)]))[0]).toMatchObject({ verdict: 'deny', ruleset: 0 });
  expect(settle(byKey([redirect, entry(0, 0, 0, 'allow', 20)]))[0]).toEqual(redirect);
});

test('a denial of one port leaves the wider allow as it is', () => {
  const allow = entry(0, 0, 0, 'allow', 20);
  expect(settle(byKey([allow, entry(32, 6, 80, 'deny', 21)]))).toContainEqual(allow);
});

test('among allows each keeps its own rule', () => {
  const entries = [entry(0, 0, 0, 'allow', 20), entry(16, 6, 0, 'allow', 21), entry(32, 6, 80, 'allow', 22)];
  expect(settle(byKey(entries))).toEqual(entries);
});

test('another identity does not matter', () => {
  const entries = [entry(32, 6, 80, 'allow'), { ...entry(0, 0, 0, 'deny'), identity: 301 }];
  expect(settle(byKey(entries))).toEqual(entries);
});

const withAuth = (each: TableEntry, auth: TableEntry['auth']): TableEntry => ({ ...each, auth });
const auths = (...entries: readonly TableEntry[]): TableEntry['auth'][] =>
  settle(byKey(entries)).map(({ auth }) => auth);
const [all, tcp, http] = [entry(0, 0, 0, 'allow', 20), entry(16, 6, 0, 'allow', 21), entry(32, 6, 80, 'allow', 22)];

test('an entry that says nothing of authentication takes it from the nearest cover that does', () => {
  expect(auths(withAuth(all, 'required'), tcp, http)).toEqual(['required', 'required', 'required']);
  expect(auths(withAuth(all, 'required'), withAuth(tcp, 'always-fail'), http)).toEqual([
    'required',
    'always-fail',
    'always-fail',
  ]);
  expect(auths(withAuth(all, 'required'), entry(16, 17, 0, 'allow'), http)).toEqual([
    'required',
    'required',
    'required',
  ]);
  expect(auths(withAuth(all, 'required'), tcp, withAuth(http, 'none'))).toEqual(['required', 'required', 'none']);
});

test('that a cover switches authentication off ends the search and is no more than the default', () => {
  expect(auths(withAuth(all, 'required'), withAuth(tcp, 'none'), http)).toEqual(['required', 'none', 'inherit']);
});

test('authentication is inherited among entries of equal precedence only, and a denial has its own', () => {
  const redirect = { ...http, verdict: 'redirect', precedence: 154, ruleset: 16 } as const;
  expect(auths(withAuth(all, 'required'), redirect)).toEqual(['required', 'inherit']);
  const deny = withAuth(entry(0, 0, 0, 'deny', 20), 'none');
  expect(settle(byKey([deny, withAuth(http, 'required')]))[1]).toMatchObject({ verdict: 'deny', auth: 'none' });
});

test('the longest prefix then says what the strongest of all that match says', () => {
  const any = fc
    .tuple(
      fc.constantFrom(0, 16, 32),
      fc.constantFrom(6, 17),
      fc.constantFrom(80, 81),
      fc.constantFrom('allow', 'deny'),
    )
    .map(([prefix, protocol, port, verdict]) => entry(prefix, protocol, port, verdict as 'allow' | 'deny'));
  fc.assert(
    fc.property(
      fc.array(any, { maxLength: 8 }),
      fc.constantFrom(6, 17),
      fc.constantFrom(80, 81),
      (list, protocol, port) => {
        const matching = (entries: Iterable<TableEntry>): TableEntry[] =>
          [...entries].filter((e) => (e.prefix < 16 || e.protocol === protocol) && (e.prefix < 32 || e.port === port));
        const entries = byKey(list);
        const longest = matching(settle(entries)).sort((a, b) => b.prefix - a.prefix)[0];
        const denied = matching(entries.values()).some(({ verdict }) => verdict === 'deny');
        const found = matching(entries.values()).length > 0;
        expect(longest?.verdict).toBe(found ? (denied ? 'deny' : 'allow') : undefined);
      },
    ),
  );
});

test('no two keys have one number', () => {
  const keys = fc.record({
    identity: fc.nat(65535),
    protocol: fc.nat(255),
    port: fc.nat(65535),
    prefix: fc.constantFrom(0, 16, 32),
  });
  fc.assert(
    fc.property(keys, keys, (a, b) => {
      expect(keyNumber(a) === keyNumber(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      expect(Number.isSafeInteger(keyNumber(a))).toBe(true);
    }),
  );
});
