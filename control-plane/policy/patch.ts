/**
 * The smallest change that admits a flow at one end: a policy beside the others, for exactly these two ends and this port. Where
 * a deny rule refuses, no policy beside it helps: then that rule has to go.
 */
import { formatAddress, isMappedIpv4 } from '../model/address.ts';
import {
  bareKey,
  CLUSTER_KEY,
  type Labels,
  NAMESPACE_KEY,
  NAMESPACE_LABELS_PREFIX,
  SERVICE_ACCOUNT_KEY,
} from '../model/labels.ts';
import { type Direction, formatPolicyRef, type Policy, PROTOCOLS, type Rule, type RuleRef } from '../model/policy.ts';
import { type FlowQuestion, partsOf } from './evaluate.ts';

export interface Patch {
  /** Manifests of CiliumNetworkPolicies, to be applied beside the others. */
  readonly add: readonly object[];
  /** Deny rules to be taken out. */
  readonly remove: readonly RuleRef[];
  /** What it admits beside the flow that was asked about. */
  readonly alsoAdmits: readonly string[];
}

export interface Refused {
  readonly direction: Direction;
  /** Of the pod at this end. */
  readonly namespace: string;
  /** Those that select it and count, resolved. */
  readonly policies: readonly Policy[];
  readonly question: FlowQuestion;
  /** It would be refused if all were enforced: then the change is on trial, too, or it would close what is open. */
  readonly audited: boolean;
}

/** Deny rules that take the flow. */
export function denyingRules({ direction, policies, question }: Refused): readonly Rule[] {
  const rules = policies.flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction && rule.deny));
  return rules.filter((rule) => {
    const { peer, port } = partsOf(rule, question);
    return peer && port;
  });
}

/** @param isDenied whether it would still be refused with the deny rules out of the way */
export function patchFor(refused: Refused, isDenied: (without: readonly Rule[]) => boolean): Patch {
  const denying = denyingRules(refused);
  const remove = [...new Map(denying.map(({ ref }) => [`${formatPolicyRef(ref)}#${ref.rule}`, ref])).values()];
  const removed = remove.map((ref) => `whatever only ${formatPolicyRef(ref)}#${ref.rule} denies`);
  if (denying.length > 0 && !isDenied(denying)) return { add: [], remove, alsoAdmits: removed };
  const { direction, question, namespace, audited } = refused;
  const [own, peer] =
    direction === 'egress' ? [question.source, question.destination] : [question.destination, question.source];
  const rule = { ...peerField(refused, peer), ...portField(question) };
  const subject = identifying(own);
  const manifest = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: nameOf(direction, subject, question), namespace, ...(audited ? ON_TRIAL : {}) },
    spec: { endpointSelector: { matchLabels: subject }, [direction]: [rule] },
  };
  const who = `${direction === 'egress' ? 'from' : 'to'} every pod of namespace ${namespace} with ${labelsText(subject)}`;
  return { add: [manifest], remove, alsoAdmits: [...removed, `the same ${who}${othersLike(peer)}`] };
}

/** Who else is what the other end is. */
function othersLike(peer: Labels): string {
  if (isPod(peer)) return ', and every pod with the labels of the other end';
  const entity = entityOf(peer);
  return entity === undefined ? '' : `, and everybody who is ${entity}`;
}

/** By which policy can name it; what is outside goes by its name or address. */
function entityOf(peer: Labels): string | undefined {
  return ['host', 'kube-apiserver', 'remote-node', 'unmanaged'].find((name) => peer.has(`reserved:${name}`));
}

const ON_TRIAL = { annotations: { 'sidestep.dev/audit': 'true' } };
const isPod = (labels: Labels): boolean => labels.has(`k8s:${NAMESPACE_KEY}`);

/** Labels that a pod's manifest has, without those that come from its namespace or account. */
function identifying(labels: Labels): Readonly<Record<string, string>> {
  const own = [...labels].filter(([key]) => {
    const bare = bareKey(key);
    const given = bare === NAMESPACE_KEY || bare === SERVICE_ACCOUNT_KEY || bare === CLUSTER_KEY;
    return key.startsWith('k8s:') && !given && !bare.startsWith(NAMESPACE_LABELS_PREFIX);
  });
  // What sets a pod without labels apart is its account.
  const account = labels.get(`k8s:${SERVICE_ACCOUNT_KEY}`);
  if (own.length === 0 && account !== undefined) return { [SERVICE_ACCOUNT_KEY]: account };
  return Object.fromEntries(own.map(([key, value]) => [bareKey(key), value]));
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
}

function peerField({ direction, namespace, question }: Refused, peer: Labels): object {
  const word = direction === 'egress' ? 'to' : 'from';
  const home = peer.get(`k8s:${NAMESPACE_KEY}`);
  if (home !== undefined) {
    const elsewhere = home === namespace ? {} : { [`k8s:${NAMESPACE_KEY}`]: home };
    return { [`${word}Endpoints`]: [{ matchLabels: { ...identifying(peer), ...elsewhere } }] };
  }
  const entity = entityOf(peer);
  if (entity !== undefined) return { [`${word}Entities`]: [entity] };
  const [name] = direction === 'egress' ? (question.destinationNames ?? []) : [];
  if (name !== undefined) return { toFQDNs: [{ matchName: name }] };
  const address = direction === 'egress' ? question.destinationAddress : question.sourceAddress;
  if (address === undefined) return { [`${word}Entities`]: ['world'] };
  return { [`${word}CIDR`]: [`${formatAddress(address)}/${isMappedIpv4(address) ? 32 : 128}`] };
}

function portField({ protocol, port, http, serverName, query }: FlowQuestion): object {
  if (protocol === PROTOCOLS.ICMP || protocol === PROTOCOLS.ICMPv6)
    return { icmps: [{ fields: [{ family: protocol === PROTOCOLS.ICMP ? 'IPv4' : 'IPv6', type: port }] }] };
  const name = Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? 'ANY';
  const ports = { ports: [{ port: String(port), protocol: name }] };
  if (http) {
    const host = http.host === '' ? {} : { host: exactly(http.host) };
    return {
      toPorts: [{ ...ports, rules: { http: [{ method: exactly(http.method), path: exactly(http.path), ...host }] } }],
    };
  }
  if (serverName !== undefined) return { toPorts: [{ ...ports, serverNames: [serverName] }] };
  if (query !== undefined) return { toPorts: [{ ...ports, rules: { dns: [{ matchName: query }] } }] };
  return { toPorts: [ports] };
}

/** As RE2 has it. */
function exactly(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, '\\$&');
}

function nameOf(direction: Direction, subject: Readonly<Record<string, string>>, question: FlowQuestion): string {
  const [app = 'pods'] = Object.values(subject);
  const text = `${app}-${direction === 'egress' ? 'to' : 'from'}-${peerName(direction, question)}-${question.port}`;
  // RFC 1123: what an object may be called.
  return text
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 63)
    .replace(/-+$/, '');
}

function peerName(direction: Direction, question: FlowQuestion): string {
  const { source, destination, sourceAddress, destinationAddress, destinationNames = [] } = question;
  const [peer, address, names] =
    direction === 'egress' ? [destination, destinationAddress, destinationNames] : [source, sourceAddress, []];
  const entity = entityOf(peer);
  if (entity !== undefined) return entity;
  if (peer.has('reserved:world')) return names[0] ?? (address ? formatAddress(address) : 'world');
  return Object.values(identifying(peer))[0] ?? 'pods';
}
