import { expect, test } from 'vitest';
import type { HeaderMatch } from '../model/policy.ts';
import { admitsRequest, mendedBy } from './http-match.ts';

const admin: HeaderMatch = { name: 'x-role', value: 'admin' };
const some: HeaderMatch = { name: 'x-role' };

test.each<[string, readonly HeaderMatch[], Readonly<Record<string, string>>, boolean]>([
  ['the value', [admin], { 'x-role': 'admin' }, true],
  ['another value', [admin], { 'x-role': 'user' }, false],
  ['none', [admin], {}, false],
  ['any value', [some], { 'x-role': '' }, true],
  ['none at all', [some], { 'x-roles': 'admin' }, false],
  ['one of two', [admin, { name: 'x-token' }], { 'x-role': 'admin' }, false],
  ['one that is only logged', [{ ...admin, mismatch: 'LOG' }], {}, true],
  ['one that will be replaced', [{ ...admin, mismatch: 'REPLACE' }], { 'x-role': 'user' }, true],
  ['the host', [{ name: 'host', value: 'web' }], {}, true],
  ['one between the client and Envoy', [admin], { 'x-role': 'admin', connection: 'close, X-Role' }, false],
])('a header: %s', (_, headers, sent, admitted) => {
  const request = { method: 'GET', path: '/', host: 'web', headers: new Map(Object.entries(sent)) };
  expect(admitsRequest({ headers }, request)).toBe(admitted);
});

test.each<readonly [string, readonly HeaderMatch[], Record<string, string>, Record<string, string>]>([
  ['only logged', [{ ...admin, mismatch: 'LOG' }], { 'x-role': 'user' }, { 'x-role': 'user' }],
  ['added', [{ ...admin, mismatch: 'ADD' }], {}, { 'x-role': 'admin' }],
  ['added to another', [{ ...admin, mismatch: 'ADD' }], { 'x-role': 'user' }, { 'x-role': 'user,admin' }],
  ['as it should be', [{ ...admin, mismatch: 'ADD' }], { 'x-role': 'admin' }, { 'x-role': 'admin' }],
  ['deleted', [{ ...admin, mismatch: 'DELETE' }], { 'x-role': 'user', 'x-a': 'b' }, { 'x-a': 'b' }],
  ['replaced', [{ ...admin, mismatch: 'REPLACE' }], { 'x-role': 'user' }, { 'x-role': 'admin' }],
  ['without an action', [admin], { 'x-role': 'user' }, { 'x-role': 'user' }],
])('a header that goes on %s', (_, headers, sent, expected) => {
  const request = { method: 'GET', path: '/', host: 'web', headers: new Map(Object.entries(sent)) };
  expect(Object.fromEntries(mendedBy([{ headers }], request).headers ?? [])).toEqual(expected);
});
