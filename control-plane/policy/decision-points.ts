/**
 * Which keys of a table need a look into each request, and what admits a request there? A port with an HTTP rule is
 * such a key for every peer whose rules, its own and those for everybody, hold an HTTP rule for it: all of them add up,
 * but for those that ask for more authentication than the key has.
 */
import {
  type AuthenticationMode,
  formatRuleRef,
  hasAuthentication,
  type PortMatch,
  PROTOCOLS,
  type Rule,
  strictness,
} from '../model/policy.ts';
import type { RulesetRule, TableEntry } from '../model/snapshot.ts';
import { authFor, modeAt } from './authentication-modes.ts';
import { ANY_IDENTITY, type Contribution, type Contributions, refsOf } from './contributions.ts';
import { keyNumber } from './settle.ts';

export interface DecisionPoint extends Contribution {
  /** What it is told apart by within its table; the content of its rules is not part of it. */
  readonly name: string;
  /** Sorted, each once. */
  readonly content: readonly RulesetRule[];
  readonly auth: TableEntry['auth'];
}

/**
 * @param rules of the table
 * @param plain the keys that rules name, as if there were no HTTP rules
 * @param skip an identity whose traffic is never looked into
 */
export function decisionPoints(
  rules: readonly Rule[],
  plain: Contributions,
  skip: number | undefined,
): DecisionPoint[] {
  const identities = new Set([...plain.values()].map(({ key }) => key.identity));
  if (skip !== undefined) identities.delete(skip);
  const ports = new Set(rules.flatMap((rule) => rule.ports.flatMap(({ port, http }) => (http ? [port] : []))));
  const found: DecisionPoint[] = [];
  const authenticated = hasAuthentication(rules);
  for (const port of ports) {
    const everybody = covering(plain, ANY_IDENTITY, port);
    const modeOfAll = authenticated ? httpMode(rules, plain, ANY_IDENTITY, port) : undefined;
    const known = new Map<string, Pick<DecisionPoint, 'name' | 'content'> | undefined>();
    for (const identity of identities) {
      const mode = authenticated ? httpMode(rules, plain, identity, port) : undefined;
      const inForce = strictness(mode ?? modeOfAll);
      const counting = (indexes: readonly number[]): readonly number[] =>
        authenticated ? indexes.filter((index) => strictness(rules[index]?.authentication) <= inForce) : indexes;
      const own = counting(identity === ANY_IDENTITY ? everybody : covering(plain, identity, port));
      if (own.length === 0) continue;
      const indexes = [...new Set([...own, ...counting(everybody)])].sort((a, b) => a - b);
      const text = indexes.join(' ');
      if (!known.has(text)) known.set(text, point(rules, indexes, port));
      const shared = known.get(text);
      const key = { identity, protocol: PROTOCOLS.TCP, port, prefix: 32 };
      if (shared) found.push({ key, rules: indexes, ...shared, auth: authFor(identity, mode) });
    }
  }
  return found;
}

/**
 * What the rules that meet on a key say, where one of them is an HTTP rule. A point takes nothing from plain entries,
 * which are weaker (as in Cilium), and where it says nothing itself, that for every identity is the one it inherits from.
 */
function httpMode(
  rules: readonly Rule[],
  plain: Contributions,
  identity: number,
  port: number,
): AuthenticationMode | undefined {
  const indexes = plain.get(keyNumber({ identity, protocol: PROTOCOLS.TCP, port, prefix: 32 }))?.rules ?? [];
  const isHttp = ({ ports }: Rule): boolean =>
    ports.some((match) => match.http !== undefined && match.port === port && match.protocol === PROTOCOLS.TCP);
  return indexes.flatMap((index) => rules[index] ?? []).some(isHttp) ? modeAt(rules, indexes) : undefined;
}

/** Rules under one identity that admit connections to the port, however narrowly they name it. */
function covering(plain: Contributions, identity: number, port: number): number[] {
  const protocol = PROTOCOLS.TCP;
  return [
    { identity, protocol, port, prefix: 32 },
    { identity, protocol, port: 0, prefix: 16 },
    { identity, protocol: 0, port: 0, prefix: 0 },
  ].flatMap((key) => plain.get(keyNumber(key))?.rules ?? []);
}

/** undefined: none of the rules has an HTTP rule for the port. */
function point(
  rules: readonly Rule[],
  indexes: readonly number[],
  port: number,
): Pick<DecisionPoint, 'name' | 'content'> | undefined {
  const meeting = indexes.flatMap((index) => rules[index] ?? []);
  const content = new Map<string, RulesetRule>();
  for (const rule of meeting)
    for (const each of contentOf(rule, port)) content.set(JSON.stringify([formatRuleRef(each.ref), each.match]), each);
  if (![...content.values()].some(({ match }) => match)) return undefined;
  return {
    name: `${port}/TCP ${refsOf(rules, indexes).map(formatRuleRef).join(' ')}`,
    content: [...content.values()].sort(byRef),
  };
}

function byRef(a: RulesetRule, b: RulesetRule): number {
  return formatRuleRef(a.ref) < formatRuleRef(b.ref) ? -1 : 1;
}

/** What one rule admits at a port: every request where a match of its has no HTTP rules. */
function contentOf({ ref, ports }: Rule, port: number): RulesetRule[] {
  const here = ports.filter((match) => covers(match, port));
  const plain = ports.length === 0 || here.some(({ http }) => http === undefined);
  return [...(plain ? [{ ref, match: undefined }] : []), ...here.flatMap(({ http }) => http ?? [])];
}

function covers({ protocol, port }: PortMatch, asked: number): boolean {
  return protocol === PROTOCOLS.TCP && (port === 0 || port === asked);
}
