/**
 * `policy recommend`: the smallest readable policies that admit what was recorded. One for each app and direction; each rule
 * says which flows it is for.
 */
import { formatAddress, formatPrefix, MAPPED_BITS } from '../model/address.ts';
import { CLUSTER_KEY, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT_KEY } from '../model/labels.ts';
import { DIRECTIONS, type Direction, PROTOCOLS } from '../model/policy.ts';
import type { RecordedEnd, RecordedFlow } from '../model/recorded-flow.ts';
import { remember } from './remember.ts';

/** A CiliumNetworkPolicy as it is written, with the words that go in front of its parts. */
export interface Recommendation {
  readonly namespace: string;
  readonly name: string;
  readonly subject: Readonly<Record<string, string>>;
  readonly sections: { readonly [direction in Direction]?: readonly RecommendedRule[] };
}

export interface RecommendedRule {
  /** The rule's fields, as they are written. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** What it is for, e.g. `12 flows, such as shop/web-1 -> shop/api-1 8080/TCP`. */
  readonly why: string;
}

export interface RecommendOptions {
  readonly directions: readonly Direction[];
  /** Absent: every one that has pods in the recording. */
  readonly namespace?: string | undefined;
}

/** Labels that name what runs, in the order in which they are asked. */
const APP_KEYS = ['app.kubernetes.io/name', 'app', 'k8s-app', 'name'].map((key) => `k8s:${key}`);
const ENTITIES = ['host', 'remote-node', 'kube-apiserver', 'unmanaged', 'ingress', 'health', 'init'];
/** More addresses outside than anybody would read one by one. */
const MOST_ADDRESSES = 32;
/** More paths of one method than anybody would read one by one. */
const MOST_PATHS = 16;

export interface Recommended {
  readonly policies: readonly Recommendation[];
  /** Recorded as allowed, and no policy can be written for it; why. */
  readonly left: readonly { readonly flow: RecordedFlow; readonly why: string }[];
}

export function recommend(flows: readonly RecordedFlow[], options: RecommendOptions): Recommended {
  const admitted = flows.filter(({ verdict }) => verdict !== 'DENIED');
  const groups = new Groups(flows.flatMap(({ source, destination }) => [source, destination]).filter(isPod));
  const sections = new Map<Group, Section>();
  const left: Recommended['left'][number][] = [];
  for (const flow of admitted)
    for (const direction of options.directions) {
      const [subject, peer] =
        direction === 'egress' ? [flow.source, flow.destination] : [flow.destination, flow.source];
      if (!isPod(subject) || (options.namespace !== undefined && subject.namespace !== options.namespace)) continue;
      // A node may always reach its own pods.
      if (direction === 'ingress' && peer.labels.has('reserved:host')) continue;
      const whom = peerOf(peer, subject, direction, groups);
      if (whom === undefined) {
        left.push({ flow, why: 'nothing is known of the other end' });
        continue;
      }
      const section = remember(sections, groups.of(subject), (): Section => ({}));
      section[direction] ??= new Map();
      remember(section[direction], whom.key, () => new Admission(whom)).add(flow);
    }
  const policies = [...sections]
    .map(([group, section]) => policyOf(group, section))
    .sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
  return { policies, left };
}

/** Who is admitted, by who it is. */
type Section = { [direction in Direction]?: Map<string, Admission> };

function isPod({ labels }: RecordedEnd): boolean {
  return labels.has(`k8s:${NAMESPACE_KEY}`);
}

function namespaceOf({ labels }: RecordedEnd): string {
  return labels.get(`k8s:${NAMESPACE_KEY}`) ?? '';
}

/** Pods that one selector takes. */
interface Group {
  readonly namespace: string;
  readonly name: string;
  /** Without the namespace; keys without their source. */
  readonly labels: Readonly<Record<string, string>>;
}

/** By the label that says what runs, where there is one; else by the fewest labels that tell it from the others. */
class Groups {
  readonly #groups = new Map<string, Group>();
  /** Label sets of each namespace, without what its namespace and account give it. */
  readonly #sets = new Map<string, Map<string, ReadonlyMap<string, string>>>();

  constructor(ends: readonly RecordedEnd[]) {
    for (const end of ends) {
      const own = ownLabels(end);
      remember(this.#sets, namespaceOf(end), () => new Map()).set(textOf(own), own);
    }
  }

  of(end: RecordedEnd): Group {
    const own = ownLabels(end);
    const namespace = namespaceOf(end);
    return remember(this.#groups, `${namespace} ${textOf(this.#telling(namespace, own))}`, () => {
      const labels = this.#telling(namespace, own);
      const plain = Object.fromEntries([...labels].map(([key, value]) => [key.replace(/^k8s:/, ''), value]));
      return { namespace, name: nameOf(Object.values(plain)), labels: plain };
    });
  }

  #telling(namespace: string, own: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
    const app = APP_KEYS.find((key) => own.has(key));
    if (app !== undefined) return new Map([[app, own.get(app) ?? '']]);
    const others = [...(this.#sets.get(namespace)?.values() ?? [])].filter((set) => textOf(set) !== textOf(own));
    for (const label of [...own].sort(([a], [b]) => (a < b ? -1 : 1)))
      if (others.every((set) => set.get(label[0]) !== label[1])) return new Map([label]);
    return own;
  }
}

function ownLabels({ labels }: RecordedEnd): ReadonlyMap<string, string> {
  const given = [NAMESPACE_KEY, SERVICE_ACCOUNT_KEY, CLUSTER_KEY].map((key) => `k8s:${key}`);
  return new Map(
    [...labels].filter(([key]) => !given.includes(key) && !key.startsWith(`k8s:${NAMESPACE_LABELS_PREFIX}`)),
  );
}

function textOf(labels: ReadonlyMap<string, string>): string {
  return [...labels]
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}

/** A name that Kubernetes takes. */
function nameOf(words: readonly string[]): string {
  const name = words
    .join('-')
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^-+|-+$/g, '');
  return name === '' ? 'pods' : name.slice(0, 50).replace(/-+$/, '');
}

/** The peer part of a rule. Those of one kind are listed together. */
interface Whom {
  readonly key: string;
  readonly field: 'Endpoints' | 'Entities' | 'CIDR' | 'FQDNs';
  readonly value: unknown;
}

function peerOf(peer: RecordedEnd, subject: RecordedEnd, direction: Direction, groups: Groups): Whom | undefined {
  if (isPod(peer)) {
    const group = groups.of(peer);
    const elsewhere = group.namespace !== namespaceOf(subject);
    const matchLabels = elsewhere ? { ...group.labels, [`k8s:${NAMESPACE_KEY}`]: group.namespace } : group.labels;
    return {
      key: `pods ${elsewhere ? group.namespace : ''} ${JSON.stringify(matchLabels)}`,
      field: 'Endpoints',
      value: { matchLabels },
    };
  }
  const entity = ENTITIES.find((name) => peer.labels.has(`reserved:${name}`));
  if (entity !== undefined) return { key: `entity ${entity}`, field: 'Entities', value: entity };
  if (!peer.labels.has('reserved:world')) return undefined;
  const [name] = peer.names;
  if (direction === 'egress' && name !== undefined)
    return { key: `name ${name}`, field: 'FQDNs', value: { matchName: name } };
  const prefix = formatPrefix({ address: peer.address, bits: MAPPED_BITS + 32 });
  return { key: `address ${prefix}`, field: 'CIDR', value: prefix };
}

/** What one peer may do. */
class Admission {
  readonly whom: Whom;
  /** protocol/port -> requests seen on it; undefined: connections, too. */
  readonly #ports = new Map<string, { readonly protocol: number; readonly port: number; requests: Requests }>();
  readonly #seen: RecordedFlow[] = [];

  constructor(whom: Whom) {
    this.whom = whom;
  }

  add(flow: RecordedFlow): void {
    const { protocol, port, http } = flow;
    const known = remember(this.#ports, `${protocol}/${port}`, () => ({ protocol, port, requests: new Requests() }));
    if (http) known.requests.add(http);
    this.#seen.push(flow);
  }

  /** The ports parts of rules, as they are written: one rule cannot have both (Cilium). */
  get parts(): readonly RulePart[] {
    const all = [...this.#ports.values()].sort((a, b) => a.protocol - b.protocol || a.port - b.port);
    const icmps = all.filter(({ protocol }) => isIcmp(protocol));
    const plain = all.filter(({ protocol, requests }) => !isIcmp(protocol) && requests.size === 0);
    const http = all.filter(({ requests }) => requests.size > 0);
    const port = (each: { protocol: number; port: number }): Record<string, string> => ({
      port: String(each.port),
      protocol: protocolName(each.protocol),
    });
    const toPorts = [
      ...(plain.length > 0 ? [{ ports: plain.map(port) }] : []),
      ...http.map((each) => ({ ports: [port(each)], rules: { http: each.requests.rules() } })),
    ];
    const fields = icmps.map(({ protocol, port: type }) => ({
      type,
      family: protocol === PROTOCOLS.ICMP ? 'IPv4' : 'IPv6',
    }));
    const [forIcmp, forPorts] = [true, false].map((icmp) =>
      this.#seen.filter(({ protocol }) => isIcmp(protocol) === icmp),
    );
    return [
      ...(toPorts.length > 0 ? [{ fields: { toPorts }, seen: forPorts ?? [] }] : []),
      ...(fields.length > 0 ? [{ fields: { icmps: [{ fields }] }, seen: forIcmp ?? [] }] : []),
    ];
  }
}

interface RulePart {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly seen: readonly RecordedFlow[];
}

function isIcmp(protocol: number): boolean {
  return protocol === PROTOCOLS.ICMP || protocol === PROTOCOLS.ICMPv6;
}

function protocolName(protocol: number): string {
  return Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? String(protocol);
}

/** Requests on one port, by method, with what differs from one to the next left open. */
class Requests {
  readonly #paths = new Map<string, Set<string>>();

  get size(): number {
    return this.#paths.size;
  }

  add({ method, path }: { readonly method: string; readonly path: string }): void {
    remember(this.#paths, method, () => new Set<string>()).add(pathPattern(path));
  }

  rules(): Record<string, string>[] {
    return [...this.#paths]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([method, paths]) =>
        paths.size > MOST_PATHS
          ? [{ method: quoted(method), path: '/.*' }]
          : [...paths].sort().map((path) => ({ method: quoted(method), path })),
      );
  }
}

const SEGMENTS: readonly (readonly [RegExp, string])[] = [
  [/^\d+$/, '[0-9]+'],
  [/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, '[0-9a-f-]{36}'],
  [/^[0-9a-f]{24,64}$/, '[0-9a-f]+'],
];

/** Numbers and ids in a path are anybody's; what is asked behind ? is left open where something was. */
function pathPattern(path: string): string {
  const [plain = '', query] = path.split(/\?(.*)/s);
  const segments = plain
    .split('/')
    .map((segment) => SEGMENTS.find(([shape]) => shape.test(segment))?.[1] ?? quoted(segment));
  return `${segments.join('/')}${query === undefined ? '' : '\\?.*'}`;
}

/** RE2: what has a meaning stands for itself. */
function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

function policyOf(group: Group, section: Section): Recommendation {
  const sections = Object.fromEntries(
    DIRECTIONS.flatMap((direction) => {
      const admissions = section[direction];
      return admissions ? [[direction, rulesOf(direction, [...admissions.values()])]] : [];
    }),
  );
  return { namespace: group.namespace, name: group.name, subject: group.labels, sections };
}

/** Peers of one kind with the same ports are one rule. */
function rulesOf(direction: Direction, admissions: readonly Admission[]): RecommendedRule[] {
  const prefix = direction === 'egress' ? 'to' : 'from';
  const rules = new Map<string, { readonly part: RulePart; readonly whom: Whom[]; readonly seen: RecordedFlow[] }>();
  for (const { whom, parts } of admissions)
    for (const part of parts) {
      const rule = remember(rules, `${whom.field} ${JSON.stringify(part.fields)}`, () => ({
        part,
        whom: [],
        seen: [],
      }));
      rule.whom.push(whom);
      rule.seen.push(...part.seen);
    }
  return [...rules]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { part, whom, seen }]) => {
      const field = whom[0]?.field ?? 'Endpoints';
      const values = whom.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ value }) => value);
      const many = field === 'CIDR' && values.length > MOST_ADDRESSES;
      const peers = many ? { [`${prefix}Entities`]: ['world'] } : { [`${prefix}${field}`]: values };
      return { fields: { ...peers, ...part.fields }, why: why(seen) };
    });
}

function why(flows: readonly RecordedFlow[]): string {
  const count = flows.reduce((sum, flow) => sum + flow.count, 0);
  const [first] = flows;
  return `${count} flow${count === 1 ? '' : 's'}${first ? `, such as ${flowText(first)}` : ''}`;
}

/** `shop/web-1 -> shop/api-1 8080/TCP GET /a` */
export function flowText({ source, destination, protocol, port, http }: RecordedFlow): string {
  const request = http ? ` ${http.method} ${http.path}` : '';
  return `${endText(source)} -> ${endText(destination)} ${port}/${protocolName(protocol)}${request}`;
}

function endText({ namespace, pod, address, names }: RecordedEnd): string {
  if (pod !== '') return `${namespace}/${pod}`;
  return names[0] ?? formatAddress(address);
}
