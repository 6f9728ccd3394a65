/** Events and flows for tests: web, api and db of a shop on one node, and the world. */
import { parseAddress } from '../model/address.ts';
import type { DnsEvent } from '../model/dns-event.ts';
import type { HalfVerdict, KernelEvent } from '../model/event.ts';
import type { HttpEvent } from '../model/http-event.ts';
import type { Origin, RuleRef } from '../model/policy.ts';
import { dnsFlow } from './dns-flow.ts';
import type { Flow } from './flow.ts';
import { httpFlows } from './http-flow.ts';
import { type Resolver, toFlow } from './to-flow.ts';

interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly identity: number;
  readonly ifindex: number;
}

const PODS: readonly Pod[] = [
  { name: 'web-1', namespace: 'shop', addresses: ['10.0.0.1', 'fd00::1'], identity: 301, ifindex: 7 },
  { name: 'api-1', namespace: 'shop', addresses: ['10.0.0.2', 'fd00::2'], identity: 302, ifindex: 8 },
  { name: 'web-9', namespace: 'other', addresses: ['10.0.0.9', 'fd00::9'], identity: 309, ifindex: 9 },
];

const GUARD = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard' } as const;
const LIMIT = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'limit' } as const;

const ORIGINS: ReadonlyMap<number, Origin> = new Map<number, Origin>([
  [0, { kind: 'reserved', name: 'none' }],
  [1, { kind: 'reserved', name: 'local-host' }],
  [2, { kind: 'reserved', name: 'bypass' }],
  [3, { kind: 'reserved', name: 'not-synced' }],
  [16, { kind: 'rules', rules: [{ ...GUARD, rule: 'ingress[0]' }] }],
  [
    17,
    {
      kind: 'rules',
      rules: [
        { ...GUARD, rule: 'ingress[1]' },
        { ...LIMIT, rule: 'ingress[0]' },
      ],
    },
  ],
  [18, { kind: 'rules', rules: [{ ...LIMIT, rule: 'egress[0]' }] }],
  [19, { kind: 'rules', rules: [{ ...LIMIT, rule: 'ingressDeny[0]' }] }],
  [20, { kind: 'default-deny', policies: [GUARD] }],
]);

/** Rules of ORIGINS by what they say. */
export const RULE = {
  none: 0,
  localHost: 1,
  bypass: 2,
  notSynced: 3,
  guardAllows: 16,
  twoAllow: 17,
  limitAllows: 18,
  limitDenies: 19,
  defaultDeny: 20,
  forgotten: 99,
} as const;

/** api-1's decision point for HTTP, and the first of its two rules. */
export const RULESET = 16;
export const HTTP_RULE: RuleRef = { ...GUARD, rule: 'ingress[0].toPorts[0].rules.http[0]' };

function podAt(address: Uint8Array): Pod | undefined {
  return PODS.find(({ addresses }) => addresses.some((each) => Buffer.compare(parseAddress(each), address) === 0));
}

export const RESOLVER: Resolver = {
  nodeName: 'node-1',
  version: '1.2.3',
  labels: (identity) => {
    if (identity === 2) return ['reserved:world'];
    const pod = PODS.find((each) => each.identity === identity);
    return pod && [`k8s:app=${pod.name.split('-')[0]}`, `k8s:io.kubernetes.pod.namespace=${pod.namespace}`];
  },
  pod: podAt,
  origin: (rule) => ORIGINS.get(rule),
  note: () => undefined,
  ruleset: (id) =>
    id === RULESET ? [HTTP_RULE, { ...LIMIT, rule: 'ingress[0].toPorts[0].rules.http[0]' }] : undefined,
  admission: () => undefined,
  shadow: () => undefined,
  endpoint: (ifindex) =>
    PODS.some((pod) => pod.ifindex === ifindex) ? { id: ifindex + 100, interface: `veth${ifindex}` } : undefined,
  unproven: () => 'node-2: AUTH_NO_SESSION, connect ECONNREFUSED',
  endpointAt: (address) => {
    const pod = podAt(address);
    return pod && pod.ifindex + 100;
  },
  revisionAt: () => 5,
};

export function half(verdict: HalfVerdict['verdict'], rule: number, match = 0, audited = false): HalfVerdict {
  return { verdict, rule, revision: rule === RULE.none ? 0 : 5, match, audited };
}

export const OPEN = half('allow', RULE.none);
export const ELSEWHERE: HalfVerdict = half('none', RULE.none);

/** web-1 opens a TCP connection to api-1, which nobody objects to: unless changed. */
export function kernelEvent(changes: Partial<KernelEvent> = {}): KernelEvent {
  return {
    kind: 'new',
    hook: 'from-workload',
    // Local time, so that lines are the same in every zone.
    time: new Date(2026, 0, 4, 10, 15, 2, 123).getTime() + 0.5,
    reason: undefined,
    protocol: 6,
    tcpFlags: 0x02,
    icmpType: 0,
    icmpCode: 0,
    source: parseAddress('10.0.0.1'),
    destination: parseAddress('10.0.0.2'),
    sourcePort: 45_232,
    destinationPort: 8080,
    sourceIdentity: 301,
    destinationIdentity: 302,
    sourceIfindex: 7,
    destinationIfindex: 8,
    ifindex: 7,
    length: 74,
    egress: OPEN,
    ingress: OPEN,
    adopted: false,
    bypassed: false,
    reply: false,
    revoked: false,
    related: false,
    deniedBy: undefined,
    security: { authenticated: false, encrypted: false },
    durationMs: 0,
    packets: [0, 0],
    bytes: [0, 0],
    ...changes,
  };
}

/** What makes it an event between web-1 and the world. */
export const TO_WORLD: Partial<KernelEvent> = {
  destination: parseAddress('192.0.2.1'),
  destinationIdentity: 2,
  destinationIfindex: 0,
  ingress: ELSEWHERE,
};

/** What makes it one of IPv6. */
export const OVER_IPV6: Partial<KernelEvent> = {
  source: parseAddress('fd00::1'),
  destination: parseAddress('fd00::2'),
};

/** What makes it an admitted one: the guard of api-1 lets web-1 in. */
export const ADMITTED: Partial<KernelEvent> = { ingress: half('allow', RULE.guardAllows, 2) };

/** What makes it one that passes only because what would refuse it is audited. */
export const AUDITED: Partial<KernelEvent> = { ingress: half('allow', RULE.defaultDeny, 0, true) };

/** What makes it a refused one: nothing at api-1 lets it in. */
export const REFUSED: Partial<KernelEvent> = {
  kind: 'drop',
  hook: 'to-workload',
  ifindex: 8,
  reason: 'POLICY_DENIED',
  ingress: half('deny', RULE.defaultDeny),
  deniedBy: 'ingress',
};

/** web-1 asks api-1 for something, which the guard's rule allows: unless changed. */
export function sampleHttpEvent(changes: Partial<HttpEvent> = {}): HttpEvent {
  return {
    time: new Date(2026, 0, 4, 10, 15, 2, 123).getTime() + 0.5,
    source: parseAddress('10.0.0.1'),
    destination: parseAddress('10.0.0.2'),
    sourcePort: 45_232,
    destinationPort: 8080,
    sourceIdentity: 301,
    destinationIdentity: 302,
    method: 'GET',
    url: 'http://api:8080/v1/data?x=1',
    protocol: 'HTTP/1.1',
    code: 200,
    durationMs: 4.6,
    verdict: 'allowed',
    deniedBy: undefined,
    egress: { ruleset: 1, verdict: 'layer4', rule: undefined },
    ingress: { ruleset: RULESET, verdict: 'allow', rule: HTTP_RULE },
    details: 'via_upstream',
    ...changes,
  };
}

/** What makes it one that no rule admits. */
export const FORBIDDEN: Partial<HttpEvent> = {
  method: 'POST',
  code: 403,
  verdict: 'denied',
  deniedBy: 'ingress',
  ingress: { ruleset: RULESET, verdict: 'deny', rule: undefined },
  details: 'rbac_access_denied_matched_policy[none]',
};

export function sampleHttpFlows(changes: Partial<HttpEvent> = {}): readonly Flow[] {
  return httpFlows(sampleHttpEvent(changes), RESOLVER);
}

/** What api-1 may ask for. */
export const DNS_RULE: RuleRef = { ...LIMIT, rule: 'egress[0].toPorts[0].rules.dns[0]' };

/** api-1 asks a server outside for a name, which a rule allows: unless changed. */
export function sampleDnsFlow(changes: Partial<DnsEvent> = {}): Flow {
  const event: DnsEvent = {
    time: new Date(2026, 0, 4, 10, 15, 2, 123).getTime() + 0.5,
    client: parseAddress('10.0.0.2'),
    server: parseAddress('192.0.2.53'),
    clientPort: 40_000,
    serverPort: 53,
    clientIdentity: 302,
    serverIdentity: 2,
    protocol: 'UDP',
    name: 'api.example.com',
    type: 'A',
    verdict: 'allowed',
    rules: [DNS_RULE],
    ...changes,
  };
  return dnsFlow(event, RESOLVER);
}

/** What makes it the answer. */
export const DNS_ANSWER: Partial<DnsEvent> = {
  rules: [],
  answer: {
    code: 0,
    addresses: [parseAddress('192.0.2.80'), parseAddress('192.0.2.81')],
    aliases: ['edge.example.net'],
    ttl: 30,
  },
};

export function sampleFlow(changes: Partial<KernelEvent> = {}): Flow {
  return toFlow(kernelEvent(changes), RESOLVER);
}
