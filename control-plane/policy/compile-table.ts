/** Policies of one direction -> the entries of one table. */
import type { Direction, Origin, Policy, PolicyRef, PortMatch, Rule, RuleRef } from '../model/policy.ts';
import { formatPolicyRef, formatRuleRef } from '../model/policy.ts';
import type { PolicyTable, TableEntry } from '../model/snapshot.ts';
import { HOST } from './identities.ts';
import { isWildcard } from './peers.ts';
import type { SelectorCache } from './selector-cache.ts';
import { keyNumber, settle } from './settle.ts';

/** Low byte of Cilium's precedence for a plain allow. */
const PRECEDENCE_ALLOW = 1;
/** Rule id of "this node's own processes may reach its workloads". */
const LOCAL_HOST_RULE = 1;
const ANY_IDENTITY = 0;

/** One key, and which of the table's rules contribute to it, as indexes into them in rising order. */
interface Contribution {
  readonly key: Pick<TableEntry, 'identity' | 'protocol' | 'port' | 'prefix'>;
  readonly rules: number[];
}

/** Key of the table for these policies: endpoints with the same key share it. */
export function tableKey(direction: Direction, policies: readonly Policy[]): string {
  const parts = policies.map(
    ({ ref, subject }) => `${formatPolicyRef(ref)}@${[...subject.matchLabels].flat().join(',')}`,
  );
  return `${direction} ${parts.sort().join(' ')}`;
}

/**
 * @param key see tableKey
 * @param policies that select the endpoints and concern the direction
 * @param selectors knows every identity there is
 * @param number rule id of an origin
 */
export function compileTable(
  key: string,
  direction: Direction,
  policies: readonly Policy[],
  selectors: SelectorCache,
  number: (origin: Origin) => number,
): PolicyTable {
  const enforcing = policies.some((policy) => policy.defaultDeny[direction]);
  const rules = policies
    .flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction))
    .map((rule) => ({ rule, text: formatRuleRef(rule.ref) }))
    .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ rule }) => rule);
  const entries = new Map<number, TableEntry>();
  const origins = new Map<string, number>();
  for (const [at, { key: entryKey, rules: indexes }] of contributions(rules, selectors)) {
    const text = indexes.join(' ');
    const rule = origins.get(text) ?? number({ kind: 'rules', rules: refsOf(rules, indexes) });
    origins.set(text, rule);
    entries.set(at, { ...entryKey, verdict: 'allow', precedence: PRECEDENCE_ALLOW, rule });
  }
  const host = { identity: HOST, protocol: 0, port: 0, prefix: 0 };
  if (direction === 'ingress' && enforcing && !entries.has(keyNumber(host)))
    entries.set(keyNumber(host), {
      ...host,
      verdict: 'allow',
      precedence: PRECEDENCE_ALLOW,
      rule: LOCAL_HOST_RULE,
    });
  return {
    key,
    direction,
    enforcing,
    defaultRule: enforcing ? number({ kind: 'default-deny', policies: closing(direction, policies) }) : 0,
    entries: settle(entries).sort((a, b) => keyNumber(a) - keyNumber(b)),
  };
}

function contributions(rules: readonly Rule[], selectors: SelectorCache): ReadonlyMap<number, Contribution> {
  const found = new Map<number, Contribution>();
  const add = (index: number, identity: number, match: PortMatch | undefined): void => {
    const prefix = match === undefined ? 0 : match.port === 0 ? 16 : 32;
    const key = { identity, protocol: match?.protocol ?? 0, port: match?.port ?? 0, prefix };
    const known = found.get(keyNumber(key));
    if (known === undefined) found.set(keyNumber(key), { key, rules: [index] });
    else if (known.rules.at(-1) !== index) known.rules.push(index);
  };
  for (const [index, { peers, ports }] of rules.entries()) {
    const identities = isWildcard(peers) ? [ANY_IDENTITY, ...selectors.idsOf(peers)] : selectors.idsOf(peers);
    for (const identity of identities)
      if (ports.length === 0) add(index, identity, undefined);
      else for (const match of ports) add(index, identity, match);
  }
  return found;
}

/** Specs of one object may have rules of the same name; they are named once. */
function refsOf(rules: readonly Rule[], indexes: readonly number[]): RuleRef[] {
  return [
    ...new Map(indexes.flatMap((i) => rules[i]?.ref ?? []).map((ref): [string, RuleRef] => [formatRuleRef(ref), ref])),
  ].map(([, ref]) => ref);
}

/** The policies that switch default deny on, sorted. */
export function closing(direction: Direction, policies: readonly Policy[]): PolicyRef[] {
  const refs = policies.filter((policy) => policy.defaultDeny[direction]).map((policy) => policy.ref);
  return [...new Map(refs.map((ref): [string, PolicyRef] => [formatPolicyRef(ref), ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
}
