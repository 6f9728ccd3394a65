/** Policies of one direction -> the entries of one table. */
import type { Direction, Origin, Policy, PolicyRef, Rule } from '../model/policy.ts';
import { formatPolicyRef, formatRuleRef, hasAuthentication, hasHttp } from '../model/policy.ts';
import type { PolicyTable, Ruleset, TableEntry } from '../model/snapshot.ts';
import { authFor, type Conflict, conflicts, modeAt } from './authentication-modes.ts';
import { contributions, refsOf } from './contributions.ts';
import { decisionPoints } from './decision-points.ts';
import { HOST } from './identities.ts';
import type { SelectorCache } from './selector-cache.ts';
import { keyNumber, settle } from './settle.ts';

/** Low bytes of Cilium's precedence: a plain allow, a redirect for HTTP. */
const ALLOW = { verdict: 'allow', precedence: 1, ruleset: 0 } as const;
const REDIRECT = { verdict: 'redirect', precedence: 154 } as const;
/** Above every redirect and below a denial. */
const PRECEDENCE_LOCAL_HOST = 254;
/** Rule id of "this node's own processes may reach its workloads". */
const LOCAL_HOST_RULE = 1;

export interface TableOptions {
  /** false: there is no Envoy to look into requests, and what would need it is denied. */
  readonly http: boolean;
  /** Rule id of an origin. */
  readonly numberOf: (origin: Origin) => number;
  /** Ruleset id of a decision point. */
  readonly rulesetOf: (key: string) => number;
}

export interface CompiledTable {
  readonly table: PolicyTable;
  /** Those that its entries name. */
  readonly rulesets: readonly Ruleset[];
  /** Where rules disagree about authentication. */
  readonly conflicts: readonly Conflict[];
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
 */
export function compileTable(
  key: string,
  direction: Direction,
  policies: readonly Policy[],
  selectors: SelectorCache,
  { http, numberOf, rulesetOf }: TableOptions,
): CompiledTable {
  const enforcing = policies.some((policy) => policy.defaultDeny[direction]);
  const rules = sortedRules(direction, policies);
  const entries = new Map<number, TableEntry>();
  const rulesets = new Map<number, Ruleset>();
  const origins = new Map<string, number>();
  const originOf = (indexes: readonly number[]): number => {
    const text = indexes.join(' ');
    const rule = origins.get(text) ?? numberOf({ kind: 'rules', rules: refsOf(rules, indexes) });
    origins.set(text, rule);
    return rule;
  };
  const plain = contributions(rules, selectors);
  const authenticated = hasAuthentication(rules);
  for (const [at, { key: entryKey, rules: indexes }] of plain) {
    const auth = authFor(entryKey.identity, authenticated ? modeAt(rules, indexes) : undefined);
    entries.set(at, { ...entryKey, ...ALLOW, rule: originOf(indexes), auth });
  }
  const host = { identity: HOST, protocol: 0, port: 0, prefix: 0, auth: 'none' } as const;
  if (direction === 'ingress' && enforcing && !entries.has(keyNumber(host)))
    entries.set(keyNumber(host), { ...host, ...ALLOW, rule: LOCAL_HOST_RULE });
  // Without default deny everything passes, and there is nothing for an HTTP rule to admit.
  if (enforcing && hasHttp(rules)) {
    if (direction === 'ingress') preferHost(entries);
    for (const point of decisionPoints(rules, plain, direction === 'ingress' ? HOST : undefined)) {
      const rule = originOf(point.rules);
      if (http) {
        const name = `${key} ${point.name}`;
        const ruleset = rulesetOf(name);
        rulesets.set(ruleset, { id: ruleset, direction, key: name, rules: point.content });
        entries.set(keyNumber(point.key), { ...point.key, ...REDIRECT, rule, ruleset, auth: point.auth });
      } else {
        const deny = { verdict: 'deny', rule, ruleset: 0, auth: 'none' } as const;
        entries.set(keyNumber(point.key), { ...point.key, ...REDIRECT, ...deny });
      }
    }
  }
  return {
    table: {
      key,
      direction,
      enforcing,
      defaultRule: enforcing ? numberOf({ kind: 'default-deny', policies: closing(direction, policies) }) : 0,
      entries: settle(entries).sort((a, b) => keyNumber(a) - keyNumber(b)),
    },
    rulesets: [...rulesets.values()],
    conflicts: conflicts(rules, plain),
  };
}

function sortedRules(direction: Direction, policies: readonly Policy[]): Rule[] {
  return policies
    .flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction))
    .map((rule) => ({ rule, text: formatRuleRef(rule.ref) }))
    .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ rule }) => rule);
}

/** What the node itself sends to its workloads is never looked into, whatever a rule for everybody says. */
function preferHost(entries: Map<number, TableEntry>): void {
  for (const [at, entry] of entries)
    if (entry.identity === HOST) entries.set(at, { ...entry, precedence: PRECEDENCE_LOCAL_HOST });
}

/** The policies that switch default deny on, sorted. */
export function closing(direction: Direction, policies: readonly Policy[]): PolicyRef[] {
  const refs = policies.filter((policy) => policy.defaultDeny[direction]).map((policy) => policy.ref);
  return [...new Map(refs.map((ref): [string, PolicyRef] => [formatPolicyRef(ref), ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
}
