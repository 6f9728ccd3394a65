/**
 * What would a flow get, and why? Reads rules and labels, never compiled entries: property tests hold it against the
 * kernel's own answer, so a mistake in either shows.
 */
import { type Labels, selects } from '../model/labels.ts';
import {
  concerns,
  type Direction,
  formatPolicyRef,
  formatRuleRef,
  type Policy,
  type PolicyRef,
  type PortMatch,
  type RuleRef,
} from '../model/policy.ts';
import { isWildcard, names } from './peers.ts';

export interface FlowQuestion {
  /** Labels of the two ends; reserved identities have `reserved:…`. */
  readonly source: Labels;
  readonly destination: Labels;
  readonly protocol: number;
  /** Destination port; for ICMP the type. */
  readonly port: number;
}

export interface HalfAnswer {
  readonly verdict: 'ALLOWED' | 'DENIED';
  /**
   * no-policy: nothing selects the endpoint here. rule: these rules admit. local-host: this node's own processes may.
   * default-deny: these policies ask for it and none admits.
   */
  readonly reason: 'no-policy' | 'rule' | 'local-host' | 'default-deny';
  readonly rules: readonly RuleRef[];
  readonly policies: readonly PolicyRef[];
  /** Hubble's policy_match_type. */
  readonly match: number;
}

/** One way in which a rule admits the flow: how much of the port it fixes, and whether it names the peer. */
interface Candidate {
  readonly prefix: number;
  readonly exact: boolean;
  readonly rule: RuleRef | undefined;
}

/** Decides the half of one endpoint: egress of the source or ingress of the destination. */
export function evaluateHalf(direction: Direction, question: FlowQuestion, policies: readonly Policy[]): HalfAnswer {
  const [subject, peer] =
    direction === 'egress' ? [question.source, question.destination] : [question.destination, question.source];
  const selecting = policies.filter((policy) => selects(policy.subject, subject) && concerns(policy, direction));
  const closing = selecting.filter((policy) => policy.defaultDeny[direction]);
  const candidates = selecting.flatMap((policy) =>
    policy.rules
      .filter((rule) => rule.direction === direction)
      .flatMap((rule) => admits(rule.ports, question).flatMap((prefix) => ways(rule, peer, prefix))),
  );
  if (direction === 'ingress' && closing.length > 0 && peer.has('reserved:host'))
    candidates.push({ prefix: 0, exact: true, rule: undefined });
  const best = candidates.reduce<Candidate | undefined>((a, b) => (a && !stronger(b, a) ? a : b), undefined);
  if (best) {
    const winners = candidates.filter(
      (candidate) => candidate.prefix === best.prefix && candidate.exact === best.exact,
    );
    const rules = [...new Map(winners.flatMap(({ rule }) => (rule ? [[formatRuleRef(rule), rule] as const] : [])))];
    const sorted = rules.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, ref]) => ref);
    return {
      verdict: 'ALLOWED',
      reason: sorted.length > 0 ? 'rule' : 'local-host',
      rules: sorted,
      policies: [],
      match: matchOf(best),
    };
  }
  if (closing.length === 0) return { verdict: 'ALLOWED', reason: 'no-policy', rules: [], policies: [], match: 0 };
  const refs = [...new Map(closing.map((policy) => [formatPolicyRef(policy.ref), policy.ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
  return { verdict: 'DENIED', reason: 'default-deny', rules: [], policies: refs, match: 0 };
}

function ways(
  rule: { readonly peers: Parameters<typeof isWildcard>[0]; readonly ref: RuleRef },
  peer: Labels,
  prefix: number,
): Candidate[] {
  const found: Candidate[] = [];
  if (isWildcard(rule.peers)) found.push({ prefix, exact: false, rule: rule.ref });
  if (names(rule.peers, peer)) found.push({ prefix, exact: true, rule: rule.ref });
  return found;
}

/** How narrowly a rule's ports admit the flow: 0 without ports, 16 by protocol, 32 by port; several ways may. */
function admits(ports: readonly PortMatch[], { protocol, port }: FlowQuestion): number[] {
  if (ports.length === 0) return [0];
  const found = new Set<number>();
  for (const match of ports) {
    if (match.protocol !== protocol) continue;
    if (match.port === 0) found.add(16);
    else if (match.port === port) found.add(32);
  }
  return [...found];
}

/** The narrower port first, then the one that names the peer. */
function stronger(a: Candidate, b: Candidate): boolean {
  return a.prefix !== b.prefix ? a.prefix > b.prefix : a.exact && !b.exact;
}

function matchOf({ prefix, exact }: Candidate): number {
  if (prefix === 0) return exact ? 1 : 4;
  if (prefix === 16) return exact ? 5 : 6;
  return exact ? 2 : 3;
}
