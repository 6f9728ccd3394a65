/** What may a request do, by the ruleset of its connection? Rulesets of one direction -> one RBAC filter's configuration. */
import type { XdsMessages } from '../generated/xds.ts';
import { type Direction, formatRuleRef, type HeaderMatch, type HttpMatch } from '../model/policy.ts';
import type { Ruleset, RulesetRule } from '../model/snapshot.ts';
import { PASS, rulesetState, statPrefix } from './names.ts';

type Rbac = XdsMessages['envoy.extensions.filters.http.rbac.v3.RBAC'];
type Matcher = XdsMessages['xds.type.matcher.v3.Matcher'];
export type OnMatch = XdsMessages['xds.type.matcher.v3.Matcher.OnMatch'];
type ValueMatch = XdsMessages['xds.type.matcher.v3.StringMatcher'];
export type Predicate = XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate'];

/** `layer4`: its HTTP rules are gone; connections that were told of it are admitted by the kernel alone. */
export type ServedRuleset = Omit<Ruleset, 'rules'> & { readonly rules: Ruleset['rules'] | 'layer4' };

/** Empty rules: no request is admitted. What holds until, and wherever, a route says otherwise. */
export function denyAll(direction: Direction): Rbac {
  return { rules: {}, rules_stat_prefix: statPrefix(direction) };
}

/**
 * A ruleset that is not among them, 0 and none at all included, admits nothing. Where one has a shadow (what would be admitted if
 * all were enforced) the filter says of each request what that says, too.
 */
export function admit(direction: Direction, rulesets: Iterable<ServedRuleset>): Rbac {
  const own = [...rulesets].filter((each) => each.direction === direction);
  const enforced = byRuleset(own, direction, ({ rules }) => requestsOf(rules));
  if (!own.some(({ shadow }) => shadow)) return { matcher: enforced, rules_stat_prefix: statPrefix(direction) };
  return {
    matcher: enforced,
    rules_stat_prefix: statPrefix(direction),
    // One without a shadow has nothing on trial.
    shadow_matcher: byRuleset(own, direction, ({ shadow }) => requestsOf(shadow?.rules ?? 'layer4')),
    shadow_rules_stat_prefix: statPrefix(direction),
  };
}

/**
 * By the ruleset of a connection's end.
 * @param rulesets of that direction
 * @param of what one admits; undefined: nothing, layer4: everything, because the kernel alone decides
 */
export function byRuleset(
  rulesets: readonly ServedRuleset[],
  direction: Direction,
  of: (ruleset: ServedRuleset) => OnMatch | 'layer4' | undefined,
): Matcher {
  const admitted = rulesets.flatMap((ruleset) => {
    const onMatch = of(ruleset);
    return onMatch === undefined ? [] : [[ruleset.id, onMatch === 'layer4' ? allow(PASS.name) : onMatch] as const];
  });
  return byRulesetAction(direction, [[PASS.ruleset, allow(PASS.name)], ...admitted]);
}

/** What is done for a connection by the number of its ruleset; for any other, nothing. */
export function byRulesetAction(
  direction: Direction,
  actions: readonly (readonly [ruleset: string | number, OnMatch])[],
): Matcher {
  const input = {
    name: 'ruleset',
    typed_config: {
      '@type': 'envoy.extensions.matching.common_inputs.network.v3.FilterStateInput',
      key: rulesetState(direction),
    },
  } as const;
  return { matcher_tree: { input, exact_match_map: { map: Object.fromEntries(actions) } } };
}

export function allow(name: string): OnMatch {
  return {
    action: { name: 'action', typed_config: { '@type': 'envoy.config.rbac.v3.Action', name, action: 'ALLOW' } },
  };
}

function requestsOf(rules: ServedRuleset['rules']): OnMatch | 'layer4' | undefined {
  return rules === 'layer4' ? 'layer4' : matchRules(rules);
}

/** The first rule that matches names the verdict. @returns undefined: no request matches any */
function matchRules(rules: readonly RulesetRule[]): OnMatch | undefined {
  const conditional: { readonly predicate: Predicate; readonly on_match: OnMatch }[] = [];
  for (const { ref, match } of rules) {
    const predicate = match === undefined ? undefined : predicateOf(match);
    const onMatch = allow(formatRuleRef(ref));
    // It admits whatever is left, so nothing after it can match.
    if (predicate === undefined) return conditional.length === 0 ? onMatch : inOrder(conditional, onMatch);
    conditional.push({ predicate, on_match: onMatch });
  }
  return conditional.length === 0 ? undefined : inOrder(conditional);
}

export function inOrder(matchers: NonNullable<Matcher['matcher_list']>['matchers'], otherwise?: OnMatch): OnMatch {
  const list: Matcher = { matcher_list: { matchers: matchers ?? [] } };
  return { matcher: otherwise === undefined ? list : { ...list, on_no_match: otherwise } };
}

/** @returns undefined when it asks for nothing */
export function predicateOf({ method, path, host, headers = [] }: HttpMatch): Predicate | undefined {
  const parts = [
    header(':method', method),
    header(':path', path),
    header(':authority', host),
    // One with an action for what is not as it should be keeps nothing from passing: see header-actions.ts.
    ...headers.filter(({ mismatch }) => mismatch === undefined).map(headerPredicate),
  ].flatMap((part) => part ?? []);
  return parts.length > 1 ? { and_matcher: { predicate: parts } } : parts[0];
}

/** Regular expressions match in full, the path with its query. */
function header(name: string, regex: string | undefined): Predicate | undefined {
  return regex === undefined ? undefined : headerIs(name, { safe_regex: { google_re2: {}, regex } });
}

/** Any value, an empty one and any bytes included. */
const PRESENT = '\\C*';

export function headerPredicate({ name, value }: Pick<HeaderMatch, 'name' | 'value'>): Predicate {
  const key = name === 'host' ? ':authority' : name;
  return headerIs(key, value === undefined ? { safe_regex: { google_re2: {}, regex: PRESENT } } : { exact: value });
}

/** Of a header that is not there no value fits. Several of one name are one, joined by commas. */
function headerIs(name: string, value: ValueMatch): Predicate {
  const input = {
    name,
    typed_config: { '@type': 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', header_name: name },
  } as const;
  return { single_predicate: { input, value_match: value } };
}
