/** Policies of one direction -> the entries of one table. */
import type { IdentityLabels, Origin, Policy, PortMatch, Rule, RuleRef } from '../model/policy.ts';
import { type Direction, formatPolicyRef, formatRuleRef } from '../model/policy.ts';
import type { PolicyTable, TableEntry } from '../model/snapshot.ts';
import { HOST } from './identities.ts';
import { isWildcard, names } from './peers.ts';

/** Low byte of Cilium's precedence for a plain allow. */
const PRECEDENCE_ALLOW = 1;
/** Rule id of "this node's own processes may reach its workloads". */
export const LOCAL_HOST_RULE = 1;
const ANY_IDENTITY = 0;

interface Key {
  readonly identity: number;
  readonly protocol: number;
  readonly port: number;
  readonly prefix: number;
}

/** Bits of {protocol, pad, port} that a port match fixes. */
export function prefixOf(match: PortMatch | undefined): number {
  if (match === undefined) return 0;
  return match.port === 0 ? 16 : 32;
}

/** Key of the table for these policies: endpoints with the same key share it. */
export function tableKey(direction: Direction, policies: readonly Policy[]): string {
  return `${direction} ${policies
    .map((policy) => `${formatPolicyRef(policy.ref)}@${[...policy.subject.matchLabels].flat().join(',')}`)
    .sort()
    .join(' ')}`;
}

/** Policies that have a say for an endpoint in a direction. */
export function concerns(policy: Policy, direction: Direction): boolean {
  return policy.defaultDeny[direction] || policy.rules.some((rule) => rule.direction === direction);
}

/**
 * @param policies that select the endpoints and concern the direction
 * @param identities all there are
 * @param number rule id of an origin
 */
export function compileTable(
  direction: Direction,
  policies: readonly Policy[],
  identities: readonly IdentityLabels[],
  number: (origin: Origin) => number,
): PolicyTable {
  const enforcing = policies.some((policy) => policy.defaultDeny[direction]);
  const entries = new Map<string, { key: Key; rules: Map<string, RuleRef> }>();
  for (const policy of policies)
    for (const rule of policy.rules)
      if (rule.direction === direction)
        for (const identity of peersOf(rule, identities)) addRule(entries, rule, identity);
  const compiled = [...entries.values()].map(({ key, rules }): TableEntry => {
    const sorted = [...rules].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, ref]) => ref);
    return { ...key, verdict: 'allow', precedence: PRECEDENCE_ALLOW, rule: number({ kind: 'rules', rules: sorted }) };
  });
  const hostKey = { identity: HOST, protocol: 0, port: 0, prefix: 0 };
  if (direction === 'ingress' && enforcing && !entries.has(textOf(hostKey)))
    compiled.push({ ...hostKey, verdict: 'allow', precedence: PRECEDENCE_ALLOW, rule: LOCAL_HOST_RULE });
  const closing = policies.filter((policy) => policy.defaultDeny[direction]).map((policy) => policy.ref);
  const unique = [...new Map(closing.map((ref) => [formatPolicyRef(ref), ref])).values()];
  unique.sort((a, b) => (formatPolicyRef(a) < formatPolicyRef(b) ? -1 : 1));
  return {
    key: tableKey(direction, policies),
    direction,
    enforcing,
    defaultRule: enforcing ? number({ kind: 'default-deny', policies: unique }) : 0,
    entries: compiled,
  };
}

function peersOf(rule: Rule, identities: readonly IdentityLabels[]): number[] {
  const named = identities.filter(({ labels }) => names(rule.peers, labels)).map(({ id }) => id);
  return isWildcard(rule.peers) ? [ANY_IDENTITY, ...named] : named;
}

const textOf = (key: Key): string => `${key.identity} ${key.prefix} ${key.protocol} ${key.port}`;

function addRule(entries: Map<string, { key: Key; rules: Map<string, RuleRef> }>, rule: Rule, identity: number): void {
  const matches: readonly (PortMatch | undefined)[] = rule.ports.length === 0 ? [undefined] : rule.ports;
  for (const match of matches) {
    const key = { identity, protocol: match?.protocol ?? 0, port: match?.port ?? 0, prefix: prefixOf(match) };
    const text = textOf(key);
    const entry = entries.get(text) ?? { key, rules: new Map<string, RuleRef>() };
    entry.rules.set(formatRuleRef(rule.ref), rule.ref);
    entries.set(text, entry);
  }
}
