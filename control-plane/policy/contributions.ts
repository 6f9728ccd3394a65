/** Which keys of a table do rules name, and which rules name each? HTTP rules count as plain ones here. */
import { formatRuleRef, type PortMatch, type Rule, type RuleRef } from '../model/policy.ts';
import { isWildcard } from './peers.ts';
import type { SelectorCache } from './selector-cache.ts';
import { type Key, keyNumber } from './settle.ts';

export const ANY_IDENTITY = 0;

/** One key, and which of the table's rules contribute to it, as indexes into them in rising order. */
export interface Contribution {
  readonly key: Key;
  readonly rules: readonly number[];
}

/** By keyNumber. */
export type Contributions = ReadonlyMap<number, Contribution>;

export function contributions(rules: readonly Rule[], selectors: SelectorCache): Contributions {
  const found = new Map<number, { readonly key: Key; readonly rules: number[] }>();
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
export function refsOf(rules: readonly Rule[], indexes: readonly number[]): RuleRef[] {
  return [
    ...new Map(indexes.flatMap((i) => rules[i]?.ref ?? []).map((ref): [string, RuleRef] => [formatRuleRef(ref), ref])),
  ].map(([, ref]) => ref);
}
