/** Random policies over everything that policies can say, about a cast of pods, nodes and addresses outside; for properties. */
import fc from 'fast-check';
import { formatAddress, parseAddress, parsePrefix } from '../model/address.ts';
import { type Labels, NAMESPACE_KEY, reservedLabels } from '../model/labels.ts';
import type { NamedPort, ObjectSet } from '../model/objects.ts';
import {
  AUTHENTICATION_MODES,
  type CidrGroupMatch,
  type CidrMatch,
  DIRECTIONS,
  type Direction,
  type Entity,
  type NameMatch,
  OPERATORS,
  type Peers,
  type Policy,
  type PortMatch,
  type Rule,
  type RuleRef,
  type Selector,
  type ServiceMatch,
} from '../model/policy.ts';
import { objectsOf, PODS, REQUESTS } from './arbitrary.ts';
import type { FlowQuestion } from './evaluate.ts';
import type { Carried } from './evaluate-layer7.ts';
import { podLabels } from './identities.ts';
import { unionOfPorts } from './named-ports.ts';
import type { LearnedAddress } from './outside.ts';
import { ENFORCEMENT_MODES, type Enforcement } from './stages.ts';

/** Inside and outside of the ranges that policies name, and at their edges. */
const OUTSIDE = ['192.0.2.1', '192.0.2.77', '192.0.2.130', '198.51.100.7', '203.0.113.9', '2001:db8::1', '2001:db9::1'];
/** In the pod range, and nobody's. */
const STRAY = '10.0.0.200';
const NODE = '172.16.0.2';
const API_SERVER_NODE = '172.16.0.3';
const API_SERVER_OUTSIDE = '198.51.100.10';
export const LEARNED: readonly LearnedAddress[] = [
  { address: parseAddress('203.0.113.9'), names: ['a.example.com'] },
  { address: parseAddress('192.0.2.77'), names: ['b.example.com', 'www.example.org'] },
  { address: parseAddress('2001:db9::1'), names: ['www.example.org'] },
  { address: parseAddress(NODE), names: ['a.example.com'] },
  { address: parseAddress(STRAY), names: ['a.example.com'] },
];

/** Ports and types on the boundaries of what rules name. */
export const FLOWS: readonly (readonly [protocol: number, port: number])[] = [
  ...[1, 53, 80, 81, 84, 85, 95, 96, 443, 65535].map((port) => [6, port] as const),
  ...[53, 80, 96].map((port) => [17, port] as const),
  [132, 80],
  [1, 0],
  [1, 8],
  [58, 128],
  [47, 0],
];
export const CARRIED: readonly Carried[] = [
  ...REQUESTS.slice(0, 3).map((http) => ({ http })),
  { serverName: 'a.example.com' },
  { serverName: 'www.example.org' },
  { query: 'a.example.com' },
  { query: 'example.org' },
];

export interface SurfacePeer {
  readonly name: string;
  readonly address: Uint8Array;
  readonly labels: Labels;
  /** This node's own. */
  readonly host: boolean;
  readonly ports: NonNullable<FlowQuestion['namedPorts']>;
  readonly names: readonly string[];
}

const NO_PORTS = { own: [], shared: [] };

export function isAuditedNamespace({ namespaces }: ObjectSet, name: string): boolean {
  return namespaces.find((each) => each.name === name)?.audit === true;
}

/** Everybody that a workload of the node `here` can talk with. */
export function peersOf(objects: ObjectSet): readonly SurfacePeer[] {
  const key = ({ namespace, labels }: (typeof PODS)[number]): string => `${namespace} ${[...labels].join(' ')}`;
  const pods = objects.pods.flatMap((pod): SurfacePeer[] => {
    const shared = unionOfPorts(objects.pods.filter((each) => key(each) === key(pod)).map((each) => each.namedPorts));
    const namespace = objects.namespaces.find(({ name }) => name === pod.namespace);
    const labels = podLabels(pod, namespace);
    const ports = { own: pod.namedPorts, shared };
    return pod.addresses.map((address) => ({ name: pod.name, address, labels, host: false, ports, names: [] }));
  });
  const other = (text: string, labels: Labels, host = false): SurfacePeer => ({
    name: text,
    address: parseAddress(text),
    labels,
    host,
    ports: NO_PORTS,
    names: LEARNED.find(({ address }) => formatAddress(address) === text)?.names ?? [],
  });
  const both = (...names: string[]): Labels => new Map(names.flatMap((name) => [...reservedLabels(name)]));
  return [
    ...pods,
    ...OUTSIDE.map((text) => other(text, both('world'))),
    other(STRAY, both('unmanaged')),
    other(NODE, both('remote-node')),
    other(API_SERVER_NODE, both('remote-node', 'kube-apiserver')),
    other(API_SERVER_OUTSIDE, both('world', 'kube-apiserver')),
    other('172.16.0.1', both('host'), true),
  ];
}

export function questionOf(
  direction: Direction,
  own: Labels,
  ownPorts: readonly NamedPort[],
  peer: SurfacePeer,
  protocol: number,
  port: number,
): FlowQuestion {
  const flow = { protocol, port };
  return direction === 'egress'
    ? {
        ...flow,
        source: own,
        destination: peer.labels,
        destinationAddress: peer.address,
        destinationNames: peer.names,
        namedPorts: peer.ports,
      }
    : {
        ...flow,
        source: peer.labels,
        sourceAddress: peer.address,
        destination: own,
        namedPorts: { own: ownPorts, shared: [] },
      };
}

const APPS = ['web', 'api', 'db'];
const namespaces = fc.constantFrom('shop', 'lab');
const selector = (namespace: fc.Arbitrary<string | undefined>): fc.Arbitrary<Selector> =>
  fc
    .record({
      app: fc.option(fc.constantFrom(...APPS)),
      namespace,
      operator: fc.option(fc.constantFrom(...OPERATORS), { freq: 3 }),
      values: fc.subarray(APPS, { minLength: 1 }),
    })
    .map(({ app, namespace: name, operator, values }) => ({
      matchLabels: new Map([
        ...(app === null ? [] : [['any:app', app] as const]),
        ...(name === undefined ? [] : [[`k8s:${NAMESPACE_KEY}`, name] as const]),
      ]),
      ...(operator === null
        ? {}
        : { matchExpressions: [{ key: 'k8s:app', operator, values: operator.endsWith('In') ? values : [] }] }),
    }));

const cidr = (prefix: string, ...except: string[]): CidrMatch => ({
  prefix: parsePrefix(prefix),
  except: except.map(parsePrefix),
});
const CIDRS = [
  cidr('192.0.2.0/24'),
  cidr('192.0.2.0/24', '192.0.2.64/26'),
  cidr('192.0.2.128/25'),
  cidr('192.0.2.1/32'),
  cidr('0.0.0.0/0'),
  cidr('0.0.0.0/0', '192.0.2.0/24', '203.0.113.9/32'),
  cidr('::/0'),
  cidr('2001:db8::/32'),
  // Of pods and nodes, whom no range takes.
  cidr('10.0.0.0/8'),
  cidr('10.0.0.0/25'),
  cidr('172.16.0.2/32'),
  cidr('198.51.100.0/24', '198.51.100.10/32'),
];
const NAMES: readonly NameMatch[] = [
  { matchName: 'a.example.com' },
  { matchPattern: '*.example.com' },
  { matchPattern: '**.org' },
  { matchName: 'nobody.example' },
];
const GROUPS: readonly CidrGroupMatch[] = [
  { group: { name: 'partners' }, except: [] },
  { group: { name: 'partners' }, except: [parsePrefix('198.51.100.0/28')] },
  { group: { selector: { matchLabels: new Map([['any:kind', 'partner']]) } }, except: [] },
  { group: { name: 'missing' }, except: [] },
];
const SERVICES: readonly ServiceMatch[] = [
  { namespace: 'shop', service: { name: 'api' } },
  { namespace: '', service: { name: 'external' } },
  { namespace: '', service: { selector: { matchLabels: new Map([['any:tier', 'back']]) } } },
];
const ENTITY_LISTS: readonly Entity[] = [
  'all',
  'cluster',
  'host',
  'remote-node',
  'kube-apiserver',
  'world',
  'unmanaged',
];

const selected = (parts: Partial<Exclude<Peers, { kind: 'any' }>>): Peers => ({
  kind: 'selected',
  selectors: [],
  entities: [],
  ...parts,
});
const peers = (direction: Direction): fc.Arbitrary<Peers> =>
  fc.oneof(
    { weight: 2, arbitrary: fc.constant<Peers>({ kind: 'any' }) },
    fc
      .array(selector(fc.option(namespaces, { nil: undefined })), { maxLength: 2 })
      .map((selectors) => selected({ selectors })),
    fc.subarray([...ENTITY_LISTS], { maxLength: 2 }).map((entities) => selected({ entities })),
    fc.subarray(CIDRS, { maxLength: 3 }).map((cidrs) => selected({ cidrs })),
    fc.subarray([...GROUPS], { maxLength: 2 }).map((cidrGroups) => selected({ cidrGroups })),
    ...(direction === 'ingress'
      ? []
      : [
          fc.subarray([...NAMES], { minLength: 1, maxLength: 2 }).map((names) => selected({ names })),
          fc.subarray([...SERVICES], { minLength: 1, maxLength: 2 }).map((services) => selected({ services })),
        ]),
  );

/** Ports of rules; what looks into them is a list of matches that gets names later. */
const plainPort: fc.Arbitrary<PortMatch> = fc.oneof(
  fc.record({ protocol: fc.constantFrom(6, 17, 132), port: fc.constantFrom(0, 0, 0, 53, 80, 81, 443) }),
  fc.record({
    protocol: fc.constantFrom(6, 17),
    port: fc.constantFrom(1, 80, 84, 1024),
    endPort: fc.constantFrom(83, 95, 65534, 65535),
  }),
  fc.record({ protocol: fc.constantFrom(1, 58), port: fc.constantFrom(0, 8, 128) }),
  fc.record({
    protocol: fc.constantFrom(6, 17),
    port: fc.constant(0),
    name: fc.constantFrom('http', 'dns', 'unknown'),
  }),
);
type Looking = (port: PortMatch, ref: RuleRef) => PortMatch;
const LOOKING: readonly Looking[] = [
  (port, ref) => ({ ...port, http: [{ ref: { ...ref, rule: `${ref.rule}.http[0]` }, match: { path: '/a.*' } }] }),
  (port, ref) => ({ ...port, http: [{ ref: { ...ref, rule: `${ref.rule}.http[0]` }, match: { method: 'POST' } }] }),
  (port) => ({ ...port, serverNames: ['*.example.com'] }),
];
const onTcp = fc.oneof(
  fc.record({ protocol: fc.constant(6), port: fc.constantFrom(53, 80, 81, 443) }),
  fc.record({ protocol: fc.constant(6), port: fc.constantFrom(80, 84), endPort: fc.constantFrom(83, 95, 65535) }),
  fc.constant<PortMatch>({ protocol: 6, port: 0, name: 'http' }),
);
const dnsPort = fc.record({ protocol: fc.constantFrom(6, 17), port: fc.constant(53) });
const portDraft = (direction: Direction): fc.Arbitrary<(ref: RuleRef) => PortMatch> =>
  fc.oneof(
    { weight: 3, arbitrary: plainPort.map((port) => () => port) },
    {
      weight: 2,
      arbitrary: fc.tuple(onTcp, fc.constantFrom(...LOOKING)).map(
        ([port, look]) =>
          (ref: RuleRef) =>
            look(port, ref),
      ),
    },
    ...(direction === 'ingress'
      ? []
      : [
          {
            weight: 1,
            arbitrary: fc.tuple(dnsPort, fc.constantFrom(...NAMES)).map(
              ([port, match]) =>
                (ref: RuleRef): PortMatch => ({
                  ...port,
                  dns: [{ ref: { ...ref, rule: `${ref.rule}.dns[0]` }, match }],
                }),
            ),
          },
        ]),
  );

const MODES = ['required', 'required', ...AUTHENTICATION_MODES] as const;
const rule = (direction: Direction): fc.Arbitrary<(ref: RuleRef) => Rule> =>
  fc
    .record({
      peers: peers(direction),
      ports: fc.array(portDraft(direction), { maxLength: 2 }),
      plain: fc.array(plainPort, { maxLength: 2 }),
      deny: fc.nat(3).map((n) => n === 0),
      mode: fc.option(fc.constantFrom(...MODES), { freq: 3 }),
    })
    .map(({ deny, mode, plain, ports, ...rest }) => (ref: RuleRef): Rule => {
      const named = { ...ref, rule: `${direction}${deny ? 'Deny' : ''}${ref.rule}` };
      if (deny) return { ...rest, ref: named, direction, deny, ports: plain };
      const written = ports.map((port, i) => port({ ...named, rule: `${named.rule}.toPorts[${i}]` }));
      return { ...rest, ref: named, direction, ports: written, ...(mode === null ? {} : { authentication: mode }) };
    });

const policies = fc.array(
  fc.record({
    namespace: namespaces,
    subject: selector(namespaces),
    egress: fc.array(rule('egress'), { maxLength: 3 }),
    ingress: fc.array(rule('ingress'), { maxLength: 3 }),
    closes: fc.record({ egress: fc.boolean(), ingress: fc.boolean() }),
    audit: fc.nat(4).map((n) => n === 0),
  }),
  { maxLength: 4 },
);

function named(drafts: typeof policies extends fc.Arbitrary<infer T> ? T : never): Policy[] {
  return drafts.map(({ namespace, subject, closes, audit, ...sections }, i): Policy => {
    const ref = { kind: 'CiliumNetworkPolicy', namespace, name: `policy-${i}` };
    const rules = DIRECTIONS.flatMap((direction) =>
      sections[direction].map((make, j) => make({ ...ref, rule: `[${j}]` })),
    );
    return { ref, subject, defaultDeny: closes, rules, ...(audit ? { audit } : {}), refused: false };
  });
}

const BASE: ObjectSet = {
  ...objectsOf(PODS, []),
  nodes: [
    { name: 'here', podRanges: [parsePrefix('10.0.0.0/24')], addresses: [parseAddress('172.16.0.1')] },
    { name: 'there', podRanges: [], addresses: [parseAddress(NODE)] },
    { name: 'far', podRanges: [], addresses: [parseAddress(API_SERVER_NODE)] },
  ],
  endpointSlices: [
    {
      namespace: 'default',
      name: 'kubernetes-1',
      service: 'kubernetes',
      addresses: [parseAddress(API_SERVER_NODE), parseAddress(API_SERVER_OUTSIDE)],
    },
    {
      namespace: 'lab',
      name: 'external-1',
      service: 'external',
      addresses: [parseAddress('203.0.113.9'), parseAddress(NODE)],
    },
  ],
  services: [
    {
      namespace: 'shop',
      name: 'api',
      labels: new Map([['tier', 'back']]),
      selector: { matchLabels: new Map([['k8s:app', 'api']]) },
      addresses: [],
    },
    { namespace: 'lab', name: 'external', labels: new Map(), selector: undefined, addresses: [] },
  ],
  cidrGroups: [
    {
      name: 'partners',
      labels: new Map([['kind', 'partner']]),
      prefixes: [parsePrefix('198.51.100.0/24'), parsePrefix('192.0.2.128/26')],
    },
  ],
};

export interface Surface {
  readonly objects: ObjectSet;
  readonly enforcement: Enforcement;
}

export const surfaces: fc.Arbitrary<Surface> = fc
  .record({
    drafts: policies,
    auditedNamespace: fc.nat(3).map((n) => n === 0),
    mode: fc.oneof({ weight: 4, arbitrary: fc.constant('default' as const) }, fc.constantFrom(...ENFORCEMENT_MODES)),
    audit: fc.nat(9).map((n) => n === 0),
  })
  .map(({ drafts, auditedNamespace, mode, audit }) => ({
    objects: {
      ...BASE,
      namespaces: [{ name: 'lab', labels: new Map(), audit: auditedNamespace }],
      policies: objectsOf([], named(drafts)).policies,
    },
    enforcement: { mode, audit },
  }));
