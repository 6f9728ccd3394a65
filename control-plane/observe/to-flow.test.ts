import { describe, expect, test } from 'vitest';
import type { DropReason } from '../generated/reasons.ts';
import { parseAddress } from '../model/address.ts';
import type { KernelEvent } from '../model/event.ts';
import type { PolicyRef } from '../model/policy.ts';
import {
  ADMITTED,
  AUDITED,
  ELSEWHERE,
  half,
  kernelEvent,
  OVER_IPV6,
  REFUSED,
  RESOLVER,
  RULE,
  sampleFlow,
  TO_WORLD,
} from './sample.ts';
import { timestamp, toFlow } from './to-flow.ts';

const GUARD = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard', revision: '5' };
const LIMIT = { ...GUARD, name: 'limit' };

const summary = (changes: Partial<KernelEvent>): string => sampleFlow(changes).Summary;

/** The fields that name policies, without those that are absent. */
function policies(changes: Partial<KernelEvent>): object {
  return Object.fromEntries(Object.entries(sampleFlow(changes)).filter(([name]) => /_(allowed|denied)_by$/.test(name)));
}

describe('a new flow', () => {
  test('that a rule admits is a policy verdict with both ends, the rule and the interface', () => {
    const { uuid, time, ...flow } = sampleFlow(ADMITTED);
    expect(uuid).toMatch(/^[0-9a-f-]{36}$/);
    expect(time).toBe(timestamp(new Date(2026, 0, 4, 10, 15, 2, 123).getTime() + 0.5));
    expect(flow).toEqual({
      verdict: 'FORWARDED',
      IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 45232, destination_port: 8080, flags: { SYN: true } } },
      source: {
        ID: 107,
        identity: 301,
        namespace: 'shop',
        labels: ['k8s:app=web', 'k8s:io.kubernetes.pod.namespace=shop'],
        pod_name: 'web-1',
      },
      destination: {
        ID: 108,
        identity: 302,
        namespace: 'shop',
        labels: ['k8s:app=api', 'k8s:io.kubernetes.pod.namespace=shop'],
        pod_name: 'api-1',
      },
      Type: 'L3_L4',
      node_name: 'node-1',
      event_type: { type: 5 },
      traffic_direction: 'INGRESS',
      policy_match_type: 2,
      is_reply: false,
      interface: { index: 7, name: 'veth7' },
      emitter: { name: 'sidestep', version: '1.2.3' },
      ingress_allowed_by: [{ ...GUARD, labels: ['sidestep:rule=ingress[0]'] }],
      Summary: 'TCP Flags: SYN; ingress allowed by CiliumNetworkPolicy/shop/guard#ingress[0]',
    });
  });

  test('that no policy has a say in is a trace to the endpoint, or to the stack when the peer is elsewhere', () => {
    expect(sampleFlow()).toMatchObject({
      event_type: { type: 4, sub_type: 0 },
      trace_observation_point: 'TO_ENDPOINT',
      trace_reason: 'NEW',
      traffic_direction: 'INGRESS',
      is_reply: false,
      Summary: 'TCP Flags: SYN',
    });
    expect(sampleFlow(TO_WORLD)).toMatchObject({
      event_type: { type: 4, sub_type: 3 },
      trace_observation_point: 'TO_STACK',
      traffic_direction: 'EGRESS',
      destination: { identity: 2, labels: ['reserved:world'] },
    });
    expect(policies({})).toEqual({});
  });

  test('that would be refused if everything were enforced is audited, and names what would refuse it', () => {
    expect(sampleFlow(AUDITED)).toMatchObject({
      verdict: 'AUDIT',
      event_type: { type: 5 },
      traffic_direction: 'INGRESS',
      policy_match_type: 0,
      is_reply: false,
      Summary: 'TCP Flags: SYN; ingress would be denied by default, which CiliumNetworkPolicy/shop/guard switched on',
    });
    expect(policies(AUDITED)).toEqual({ ingress_denied_by: [{ ...GUARD, labels: [] }] });
    const byRule = half('redirect', RULE.limitDenies, 2, true);
    expect(sampleFlow({ ingress: byRule })).toMatchObject({ verdict: 'AUDIT', policy_match_type: 2 });
    expect(summary({ ingress: byRule })).toContain(
      'ingress would be denied by CiliumNetworkPolicy/shop/limit#ingressDeny[0]',
    );
  });

  test('is told from the end that is audited, whatever the other one says', () => {
    const egress = half('allow', RULE.defaultDeny, 0, true);
    const both = { egress, ingress: half('allow', RULE.guardAllows, 2) };
    expect(sampleFlow(both)).toMatchObject({ verdict: 'AUDIT', traffic_direction: 'EGRESS', policy_match_type: 0 });
    expect(Object.keys(policies(both))).toEqual(['egress_denied_by', 'ingress_allowed_by']);
  });

  test('that lives already and would be revoked says so', () => {
    expect(summary({ ...AUDITED, revoked: true })).toMatch(/; a policy change would revoke it$/);
  });

  test('is told from the ingress when both ends have a rule, and names both', () => {
    const both = { egress: half('allow', RULE.limitAllows, 3), ingress: half('allow', RULE.twoAllow, 1) };
    expect(sampleFlow(both)).toMatchObject({ traffic_direction: 'INGRESS', policy_match_type: 1 });
    expect(policies(both)).toEqual({
      egress_allowed_by: [{ ...LIMIT, labels: ['sidestep:rule=egress[0]'] }],
      ingress_allowed_by: [
        { ...GUARD, labels: ['sidestep:rule=ingress[1]'] },
        { ...LIMIT, labels: ['sidestep:rule=ingress[0]'] },
      ],
    });
    expect(summary(both)).toBe(
      'TCP Flags: SYN; egress allowed by CiliumNetworkPolicy/shop/limit#egress[0]; ' +
        'ingress allowed by CiliumNetworkPolicy/shop/guard#ingress[1], CiliumNetworkPolicy/shop/limit#ingress[0]',
    );
  });

  test('that only the egress decided is told from there', () => {
    expect(sampleFlow({ ...TO_WORLD, egress: half('allow', RULE.limitAllows, 3) })).toMatchObject({
      event_type: { type: 5 },
      traffic_direction: 'EGRESS',
      policy_match_type: 3,
    });
  });

  test.each([
    ['adopted in its middle', { adopted: true }, 'TCP Flags: SYN; adopted mid-stream'],
    [
      'admitted by bypass',
      { bypassed: true, ingress: half('allow', RULE.bypass) },
      'TCP Flags: SYN; ingress allowed: bypass is on',
    ],
    [
      'of the node itself',
      { ingress: half('allow', RULE.localHost) },
      "TCP Flags: SYN; ingress allowed: this node's own traffic",
    ],
    [
      'admitted by a rule that only an earlier agent knew',
      { ingress: half('allow', RULE.forgotten) },
      'TCP Flags: SYN; ingress allowed by rule 99 of an earlier agent',
    ],
  ] as const)('%s says so and names no policy', (_, changes, text) => {
    expect(summary(changes)).toBe(text);
    expect(policies(changes)).toEqual({});
  });
});

describe('a dropped packet', () => {
  test('that a default deny refused names who switched it on, and nobody knows whether it is a reply', () => {
    const flow = sampleFlow(REFUSED);
    expect(flow).toMatchObject({
      verdict: 'DROPPED',
      drop_reason: 133,
      drop_reason_desc: 'POLICY_DENIED',
      event_type: { type: 1, sub_type: 133 },
      traffic_direction: 'INGRESS',
      interface: { index: 8, name: 'veth8' },
      ingress_denied_by: [{ ...GUARD, labels: [] }],
      Summary: 'TCP Flags: SYN; ingress denied by default, which CiliumNetworkPolicy/shop/guard switched on',
    });
    expect(flow).not.toHaveProperty('is_reply');
    expect(flow).not.toHaveProperty('trace_reason');
    expect(flow).not.toHaveProperty('policy_match_type');
  });

  test('that a deny rule refused names the rule', () => {
    const denied = { ...REFUSED, reason: 'POLICY_DENY', ingress: half('deny', RULE.limitDenies, 1) } as const;
    expect(sampleFlow(denied)).toMatchObject({ drop_reason: 181, drop_reason_desc: 'POLICY_DENY' });
    expect(policies(denied)).toEqual({ ingress_denied_by: [{ ...LIMIT, labels: ['sidestep:rule=ingressDeny[0]'] }] });
    expect(summary(denied)).toBe('TCP Flags: SYN; ingress denied by CiliumNetworkPolicy/shop/limit#ingressDeny[0]');
  });

  test('names the half that admitted it too', () => {
    expect(policies({ ...REFUSED, egress: half('allow', RULE.limitAllows) })).toEqual({
      egress_allowed_by: [{ ...LIMIT, labels: ['sidestep:rule=egress[0]'] }],
      ingress_denied_by: [{ ...GUARD, labels: [] }],
    });
  });

  test('has the direction of the half that refused, wherever it was seen', () => {
    const denied = { ...REFUSED, egress: half('deny', RULE.defaultDeny), ingress: ELSEWHERE };
    expect(sampleFlow({ ...denied, deniedBy: 'egress' }).traffic_direction).toBe('EGRESS');
  });

  test.each([
    ['from-workload', 'EGRESS'],
    ['to-workload', 'INGRESS'],
  ] as const)('that no policy refused has the direction of its hook: %s is %s', (hook, direction) => {
    const flow = sampleFlow({ kind: 'drop', reason: 'INVALID_SOURCE_IP', hook, egress: ELSEWHERE, ingress: ELSEWHERE });
    expect(flow).toMatchObject({ drop_reason_desc: 'INVALID_SOURCE_IP', traffic_direction: direction });
    expect(flow.Summary).toBe('TCP Flags: SYN');
  });

  test('of a flow that policy took back says so, also of its answer', () => {
    const text =
      'TCP Flags: ACK; ingress denied by default, which CiliumNetworkPolicy/shop/guard switched on; revoked by a policy change';
    expect(summary({ ...REFUSED, tcpFlags: 0x10, revoked: true })).toBe(text);
    const answer = sampleFlow({ ...REFUSED, tcpFlags: 0x10, revoked: true, reply: true });
    expect(answer.Summary).toBe(text);
    expect(answer).not.toHaveProperty('is_reply');
  });

  test('of an endpoint without a policy says that', () => {
    const reason: DropReason = 'DROP_EP_NOT_READY';
    expect(summary({ ...REFUSED, reason, ingress: half('deny', RULE.notSynced) })).toBe(
      'TCP Flags: SYN; ingress denied: the endpoint has no policy yet',
    );
  });

  test('that a rule of an earlier agent refused says its number', () => {
    expect(summary({ ...REFUSED, ingress: half('deny', RULE.forgotten) })).toBe(
      'TCP Flags: SYN; ingress denied by rule 99 of an earlier agent',
    );
  });
});

describe('a closed flow', () => {
  const closed = { kind: 'close', tcpFlags: 0x13, packets: [6, 5], bytes: [400, 330] } as const;

  test('says what it carried, and is a trace whoever admitted it', () => {
    expect(sampleFlow({ ...closed, ...ADMITTED, durationMs: 12.34 })).toMatchObject({
      verdict: 'FORWARDED',
      event_type: { type: 4, sub_type: 0 },
      trace_reason: 'ESTABLISHED',
      is_reply: false,
      ingress_allowed_by: [{ ...GUARD, labels: ['sidestep:rule=ingress[0]'] }],
      Summary:
        'TCP Flags: SYN, ACK, FIN; closed after 12.3ms, 6 packets out, 5 back, 730 bytes; ' +
        'ingress allowed by CiliumNetworkPolicy/shop/guard#ingress[0]',
    });
  });

  test('that took long is told in seconds', () => {
    expect(summary({ ...closed, durationMs: 61_234 })).toContain('closed after 61.234s,');
  });

  test('that was adopted said so when it was new', () => {
    expect(summary({ ...closed, adopted: true })).not.toContain('adopted');
  });
});

test('an address that nobody knows has no name, and a number that nobody knows no labels', () => {
  const { source } = sampleFlow({ source: parseAddress('10.0.0.77'), sourceIdentity: 777, sourceIfindex: 77 });
  expect(source).toEqual({ identity: 777, labels: [] });
});

test('IPv6 is told by its canonical text', () => {
  expect(sampleFlow(OVER_IPV6).IP).toEqual({ source: 'fd00::1', destination: 'fd00::2', ipVersion: 'IPv6' });
});

test.each([
  ['UDP', { protocol: 17 }, { UDP: { source_port: 45232, destination_port: 8080 } }, 'UDP'],
  ['SCTP', { protocol: 132 }, { SCTP: { source_port: 45232, destination_port: 8080 } }, 'SCTP'],
  ['ICMP', { protocol: 1, icmpType: 8 }, { ICMPv4: { type: 8, code: 0 } }, 'ICMPv4 EchoRequest'],
  ['ICMP of another type', { protocol: 1, icmpType: 13 }, { ICMPv4: { type: 13, code: 0 } }, 'ICMPv4 type 13'],
  [
    'ICMPv6',
    { ...OVER_IPV6, protocol: 58, icmpType: 1, icmpCode: 4 },
    { ICMPv6: { type: 1, code: 4 } },
    'ICMPv6 DestinationUnreachable',
  ],
  ['ICMPv6 of another type', { protocol: 58, icmpType: 200 }, { ICMPv6: { type: 200, code: 0 } }, 'ICMPv6 type 200'],
  ['TCP without flags', { tcpFlags: 0 }, { TCP: { source_port: 45232, destination_port: 8080, flags: {} } }, 'TCP'],
])('%s has its own layer 4', (_, changes, l4, text) => {
  expect(sampleFlow(changes)).toMatchObject({ l4, Summary: text });
  expect(Object.keys(sampleFlow(changes).l4 ?? {})).toEqual(Object.keys(l4));
});

test('all TCP flags are known, and stand in the order of Hubble', () => {
  const flow = sampleFlow({ tcpFlags: 0xff });
  expect(flow.l4).toMatchObject({
    TCP: { flags: { FIN: true, SYN: true, RST: true, PSH: true, ACK: true, URG: true, ECE: true, CWR: true } },
  });
  expect(flow.Summary).toBe('TCP Flags: SYN, ACK, RST, FIN, PSH, URG, ECE, CWR');
});

test('a protocol without ports has no layer 4, and its number is in the summary', () => {
  const flow = sampleFlow({ protocol: 47 });
  expect(flow).not.toHaveProperty('l4');
  expect(flow.Summary).toBe('IP protocol 47');
});

test('times have microseconds, rounded down', () => {
  expect(timestamp(Date.UTC(2026, 0, 24, 10, 15, 2, 7) + 0.5)).toBe('2026-01-24T10:15:02.007500Z');
  expect(timestamp(Date.UTC(2026, 0, 24, 10, 15, 2))).toBe('2026-01-24T10:15:02.000000Z');
  expect(timestamp(Date.UTC(2026, 0, 24, 10, 15, 2) + 0.9998)).toBe('2026-01-24T10:15:02.000999Z');
});

describe('authentication', () => {
  const proven = { authenticated: true, encrypted: true };

  test('says that both ends are proven and the packets encrypted', () => {
    const flow = sampleFlow({ ...ADMITTED, security: proven, destinationIfindex: 0 });
    expect(flow).toMatchObject({ auth_type: 'SPIRE', IP: { encrypted: true } });
    expect(flow.Summary).toContain('authenticated, encrypted: yes');
  });

  test('says that nothing is encrypted on one node', () => {
    const flow = sampleFlow({ ...ADMITTED, security: { authenticated: true, encrypted: false } });
    expect(flow.IP.encrypted).toBeUndefined();
    expect(flow.Summary).toContain('authenticated, encrypted: no (same node)');
  });

  test('says why a flow was refused', () => {
    const flow = sampleFlow({ kind: 'drop', reason: 'AUTH_REQUIRED' });
    expect(flow).toMatchObject({ verdict: 'DROPPED', drop_reason: 189 });
    expect(flow.auth_type).toBeUndefined();
    expect(flow.Summary).toContain('node-2: AUTH_NO_SESSION');
  });

  test('says nothing where nothing was asked for', () => {
    const flow = sampleFlow(ADMITTED);
    expect(flow.auth_type).toBeUndefined();
    expect(flow.Summary).not.toContain('encrypted');
  });
});

test('what the author of a policy wrote beside its rules goes along: labels, and the log value once', () => {
  const note = { logs: ['pci'], labels: ['unspec:team=data'] };
  const resolver = { ...RESOLVER, note: ({ name }: PolicyRef) => (name === 'limit' ? note : undefined) };
  const both = { egress: half('allow', RULE.limitAllows, 3), ingress: half('deny', RULE.limitDenies, 1) };
  const flow = toFlow(kernelEvent({ ...REFUSED, ...both }), resolver);
  expect(flow.policy_log).toEqual(['pci']);
  expect(flow.egress_allowed_by?.[0]?.labels).toEqual([expect.stringMatching(/^sidestep:rule=/), 'unspec:team=data']);
  expect(toFlow(kernelEvent(), resolver)).not.toHaveProperty('policy_log');
});
