/**
 * What would a flow get, and why? Reads rules, labels and addresses, never compiled entries: property tests hold it against
 * the kernel's own answer, so a mistake in either shows.
 */
import { contains } from '../model/address.ts';
import { nameFits } from '../model/dns-name.ts';
import { type Labels, selects } from '../model/labels.ts';
import type { NamedPort } from '../model/objects.ts';
import {
  type AuthenticationMode,
  concerns,
  type Direction,
  formatPolicyRef,
  looksInside,
  type Peers,
  type Policy,
  type PolicyRef,
  type PortMatch,
  PROTOCOLS,
  type Rule,
  type RuleRef,
  strictness,
} from '../model/policy.ts';
import type { Authentication } from '../model/snapshot.ts';
import { authenticationOf, layer7Mode, plainMode, type Say } from './evaluate-authentication.ts';
import { type Carried, evaluateLayer7, type Layer7Reason, type Opening, sortedRefs } from './evaluate-layer7.ts';
import { isWildcard, namesLabels } from './peers.ts';

export interface FlowQuestion extends Carried {
  /** Labels of the two ends; reserved identities have `reserved:…`. */
  readonly source: Labels;
  readonly destination: Labels;
  /** Of ends outside of the cluster: only they are in ranges. Without one no range has a say. */
  readonly sourceAddress?: Uint8Array | undefined;
  readonly destinationAddress?: Uint8Array | undefined;
  /** Names that answers of DNS gave for the destination. */
  readonly destinationNames?: readonly string[] | undefined;
  /** Named ports of the destination: its own (for its ingress), and of every pod with its labels (for egress to it). */
  readonly namedPorts?: { readonly own: readonly NamedPort[]; readonly shared: readonly NamedPort[] } | undefined;
  readonly protocol: number;
  /** Destination port; for ICMP the type. */
  readonly port: number;
}

export interface HalfAnswer {
  readonly verdict: 'ALLOWED' | 'DENIED';
  /** Rules that look into what passes have a say. Where the question carries nothing the answer is ALLOWED. */
  readonly l7: boolean;
  /**
   * no-policy: nothing selects the endpoint here. rule: these rules admit. local-host: this node's own processes may.
   * default-deny: these policies ask for it and none admits. deny-rule: these rules deny. no-http-rule, no-server-name,
   * no-dns-rule: these rules admit the connection, and none this request, name or query. bad-path, bad-host: under these
   * rules Envoy sees the request, and refuses it as malformed.
   */
  readonly reason: 'no-policy' | 'local-host' | 'default-deny' | 'deny-rule' | Layer7Reason;
  readonly rules: readonly RuleRef[];
  readonly policies: readonly PolicyRef[];
  /** What the connection needs before it passes; none where it is denied as such. */
  readonly authentication: Authentication;
  /** Hubble's policy_match_type. */
  readonly match: number;
}

/** One way in which a rule takes the flow: how much of the port it fixes, and whether it names the peer. */
interface Candidate extends Say, Opening {
  readonly deny: boolean;
}

/** The other end, as one end sees it. */
interface Peer {
  readonly labels: Labels;
  readonly address: Uint8Array | undefined;
  readonly names: readonly string[];
}

/**
 * Decides the half of one endpoint: egress of the source or ingress of the destination.
 * @param policies resolved, see resolve.ts
 * @param closed default deny is on, whatever policies say
 */
export function evaluateHalf(
  direction: Direction,
  question: FlowQuestion,
  policies: readonly Policy[],
  closed = false,
): HalfAnswer {
  const [subject, peer] = endsOf(direction, question);
  const selecting = policies.filter((policy) => selects(policy.subject, subject) && concerns(policy, direction));
  const closing = selecting.filter((policy) => policy.defaultDeny[direction]);
  const enforcing = closed || closing.length > 0;
  const rules = selecting.flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction));
  const candidates = rules.flatMap((rule) => ways(rule, peer, question));
  const denied = strongest(candidates.filter(({ deny }) => deny));
  if (denied.length > 0) return { ...plainAnswer('DENIED', 'deny-rule', denied), authentication: 'none' };
  const looked = rules.some(({ ports }) => ports.some((match) => looksInside(match) && isKnown(match, question)));
  const localHost = direction === 'ingress' && (enforcing || looked) && peer.labels.has('reserved:host');
  // Neither this node's own processes nor the world have anything to prove.
  const exempt = peer.labels.has('reserved:host') || peer.labels.has('reserved:world');
  const asked = (mode: AuthenticationMode | undefined): Authentication => (exempt ? 'none' : authenticationOf(mode));
  if (localHost)
    candidates.push({
      prefix: 0,
      exact: true,
      deny: false,
      rule: undefined,
      looks: undefined,
      authentication: undefined,
    });
  else if (candidates.some(({ looks }) => looks)) {
    const mode = layer7Mode(candidates, ({ looks }) => looks !== undefined);
    // A rule admits under the authentication that it asks for and not without.
    const counting = candidates.filter(({ authentication }) => strictness(authentication) <= strictness(mode));
    return {
      ...evaluateLayer7(counting, question, !enforcing),
      l7: true,
      policies: [],
      match: matchOf({ prefix: 32, exact: counting.some(({ exact }) => exact) }),
      authentication: asked(mode),
    };
  }
  // Beside such rules the node's own processes are admitted as such first: they must never end up at Envoy.
  const winners = strongest(candidates, localHost && looked ? namedFirst : narrowerFirst);
  const [best] = winners;
  if (best) {
    const reason = winners.some(({ rule }) => rule) ? 'rule' : 'local-host';
    return { ...plainAnswer('ALLOWED', reason, winners), authentication: asked(plainMode(candidates, best)) };
  }
  const decided = { l7: false, rules: [], authentication: 'none', match: 0 } as const;
  if (!enforcing) return { verdict: 'ALLOWED', reason: 'no-policy', policies: [], ...decided };
  const refs = [...new Map(closing.map((policy) => [formatPolicyRef(policy.ref), policy.ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
  return { verdict: 'DENIED', reason: 'default-deny', policies: refs, ...decided };
}

/** Whom and which ports a rule of this direction takes, each by itself: what `policy explain` tells apart. */
export function partsOf(rule: Rule, question: FlowQuestion): { readonly peer: boolean; readonly port: boolean } {
  const [, peer] = endsOf(rule.direction, question);
  const { own = [], shared = [] } = question.namedPorts ?? {};
  return {
    peer: isWildcard(rule.peers) || namesPeer(rule.peers, peer),
    port: admits(rule.ports, question, rule.direction === 'ingress' ? own : shared).length > 0,
  };
}

function endsOf(direction: Direction, question: FlowQuestion): readonly [subject: Labels, peer: Peer] {
  const { source, destination, sourceAddress, destinationAddress, destinationNames = [] } = question;
  if (direction === 'egress')
    return [source, { labels: destination, address: destinationAddress, names: destinationNames }];
  return [destination, { labels: source, address: sourceAddress, names: [] }];
}

function plainAnswer(
  verdict: HalfAnswer['verdict'],
  reason: HalfAnswer['reason'],
  winners: readonly Candidate[],
): Omit<HalfAnswer, 'authentication'> {
  const [best = { prefix: 0, exact: false }] = winners;
  const rules = sortedRefs(winners.flatMap(({ rule }) => rule ?? []));
  return { verdict, l7: false, reason, rules, policies: [], match: matchOf(best) };
}

/** Those that none is stronger than. */
function strongest(
  candidates: readonly Candidate[],
  stronger: (a: Candidate, b: Candidate) => boolean = narrowerFirst,
): readonly Candidate[] {
  const best = candidates.reduce<Candidate | undefined>((a, b) => (a && !stronger(b, a) ? a : b), undefined);
  return candidates.filter(({ prefix, exact }) => prefix === best?.prefix && exact === best.exact);
}

function ways(
  { ref, deny, direction, peers, ports, authentication }: Rule,
  peer: Peer,
  question: FlowQuestion,
): Candidate[] {
  const wildcard = isWildcard(peers);
  const named = namesPeer(peers, peer);
  const { own = [], shared = [] } = question.namedPorts ?? {};
  return admits(ports, question, direction === 'ingress' ? own : shared).flatMap(({ byName, ...way }): Candidate[] => {
    const rest = { ...way, deny: deny === true, rule: ref, authentication };
    // Egress by name goes by the ports of one peer, and so names it.
    if (byName && direction === 'egress') return wildcard || named ? [{ ...rest, exact: true }] : [];
    return [...(wildcard ? [{ ...rest, exact: false }] : []), ...(named ? [{ ...rest, exact: true }] : [])];
  });
}

/** Pods and nodes by their labels, what is outside by its address and the names that it goes by. */
function namesPeer(peers: Peers, { labels, address, names }: Peer): boolean {
  if (peers.kind === 'any') return false;
  if (namesLabels(peers, labels)) return true;
  if (!labels.has('reserved:world')) return false;
  if (peers.names?.some((match) => names.some((name) => nameFits(match, name)))) return true;
  return (
    address !== undefined &&
    (peers.cidrs ?? []).some(
      ({ prefix, except }) => contains(prefix, address) && !except.some((each) => contains(each, address)),
    )
  );
}

interface Way {
  readonly prefix: number;
  readonly looks: Candidate['looks'];
  readonly byName: boolean;
}

/** Whether a port of an ingress rule stands for any at all: a name may be nobody's. */
function isKnown({ name, protocol }: PortMatch, { namedPorts }: FlowQuestion): boolean {
  return (
    name === undefined || namedPorts?.own.some((each) => each.name === name && each.protocol === protocol) === true
  );
}

/** How narrowly a rule's ports take the flow: see widthOf; several ways may. */
function admits(
  ports: readonly PortMatch[],
  { protocol, port }: FlowQuestion,
  named: readonly NamedPort[],
): readonly Way[] {
  if (ports.length === 0) return [{ prefix: 0, looks: undefined, byName: false }];
  return ports.flatMap((match): readonly Way[] => {
    if (match.protocol !== protocol) return [];
    const looks = looksInside(match) ? match : undefined;
    if (match.name === undefined) return widthOf(match, port).map((prefix) => ({ prefix, looks, byName: false }));
    const known = named.some((each) => each.name === match.name && each.protocol === protocol && each.port === port);
    return known ? [{ prefix: 32, looks, byName: true }] : [];
  });
}

/** 16: by protocol alone; up to 32: by the largest block of ports, aligned to its size, that is all of the match. */
function widthOf({ protocol, port: first, endPort = first }: PortMatch, port: number): readonly number[] {
  const isType = protocol === PROTOCOLS.ICMP || protocol === PROTOCOLS.ICMPv6;
  if (isType) return first === port ? [32] : [];
  const last = first === 0 && endPort === 0 ? 65535 : Math.max(first, endPort);
  if (port < first || port > last) return [];
  let prefix = 32;
  while (prefix > 16) {
    const size = 2 ** (33 - prefix);
    const begin = Math.floor(port / size) * size;
    if (begin < first || begin + size - 1 > last) break;
    prefix--;
  }
  return [prefix];
}

/** The narrower port first, then the one that names the peer. */
function narrowerFirst(a: Candidate, b: Candidate): boolean {
  return a.prefix !== b.prefix ? a.prefix > b.prefix : a.exact && !b.exact;
}

/** The one that names the peer first, then the narrower port. */
function namedFirst(a: Candidate, b: Candidate): boolean {
  return a.exact !== b.exact ? a.exact : a.prefix > b.prefix;
}

function matchOf({ prefix, exact }: Pick<Candidate, 'prefix' | 'exact'>): number {
  if (prefix === 0) return exact ? 1 : 4;
  if (prefix === 16) return exact ? 5 : 6;
  return exact ? 2 : 3;
}
