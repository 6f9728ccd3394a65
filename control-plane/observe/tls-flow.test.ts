import { expect, test } from 'vitest';
import { parseAddress } from '../model/address.ts';
import type { RuleRef } from '../model/policy.ts';
import type { Admission } from '../model/snapshot.ts';
import type { TlsEvent } from '../model/tls-event.ts';
import { RESOLVER } from './sample.ts';
import { tlsFlow } from './tls-flow.ts';

const rule = (name: string): RuleRef => ({ kind: 'CiliumNetworkPolicy', namespace: 'shop', name, rule: 'egress[0]' });
const names = (name: string, ...list: string[]): Admission => ({
  rules: [],
  serverNames: [{ ref: rule(name), names: list }],
});
const ADMISSIONS = new Map<number, { enforced: Admission; shadow: Admission | undefined }>([
  [20, { enforced: names('mirrors', '*.example.org'), shadow: undefined }],
  [21, { enforced: { rules: [{ ref: rule('open'), match: undefined }] }, shadow: names('trial', 'a.org') }],
]);
const resolver = { ...RESOLVER, admission: (id: number) => ADMISSIONS.get(id) };
const event = (changes: Partial<TlsEvent>): TlsEvent => ({
  time: 1_700_000_000_000,
  source: parseAddress('10.0.0.1'),
  destination: parseAddress('192.0.2.1'),
  sourcePort: 40000,
  destinationPort: 443,
  sourceIdentity: 300,
  destinationIdentity: 2,
  egress: 20,
  ingress: 1,
  serverName: 'deb.example.org',
  refused: false,
  durationMs: 12.4,
  ...changes,
});
const MIRRORS = 'CiliumNetworkPolicy/shop/mirrors#egress[0]';

test('a connection that a rule passes on by its name', () => {
  expect(tlsFlow(event({}), resolver)).toMatchObject({
    verdict: 'FORWARDED',
    traffic_direction: 'EGRESS',
    egress_allowed_by: [{ name: 'mirrors' }],
    Summary: `TLS name deb.example.org; egress allowed by ${MIRRORS}; passed on for 12ms`,
  });
});

test.each([
  ['another name', 'example.com', 'TLS name example.com'],
  ['none', '', 'TLS without a name'],
])('one that no rule takes: %s', (_, serverName, told) => {
  expect(tlsFlow(event({ serverName, refused: true }), resolver)).toMatchObject({
    verdict: 'DROPPED',
    drop_reason_desc: 'POLICY_DENIED',
    traffic_direction: 'EGRESS',
    egress_denied_by: [{ name: 'mirrors' }],
    Summary: `${told}; egress denied: not admitted by ${MIRRORS}`,
  });
});

test('one that rules on trial would refuse', () => {
  expect(tlsFlow(event({ egress: 21 }), resolver)).toMatchObject({
    verdict: 'AUDIT',
    egress_denied_by: [{ name: 'trial' }],
    Summary: expect.stringContaining(
      'egress would be denied: not admitted by CiliumNetworkPolicy/shop/trial#egress[0]',
    ),
  });
});

test('one of rules that nobody knows any more', () => {
  expect(tlsFlow(event({ egress: 99, refused: true }), resolver).Summary).toBe(
    'TLS name deb.example.org; egress denied',
  );
});
