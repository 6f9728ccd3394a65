/** What may a request do, by the ruleset of its connection? Rulesets of one direction -> one RBAC filter's configuration. */
import type { XdsMessages } from '../generated/xds.ts';
import { type Direction, formatRuleRef, type HeaderMatch, type HttpMatch } from '../model/policy.ts';
import type { Ruleset, RulesetRule } from '../model/snapshot.ts';
import { PASS, rulesetState, statPrefix } from './names.ts';

type Rbac = XdsMessages['envoy.extensions.filters.http.rbac.v3.RBAC'];
type Matcher = XdsMessages['xds.type.matcher.v3.Matcher'];
type OnMatch = XdsMessages['xds.type.matcher.v3.Matcher.OnMatch'];
type ValueMatch = XdsMessages['xds.type.matcher.v3.StringMatcher'];
type Predicate = XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate'];

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
  const enforced = byRuleset(direction, own, ({ rules }) => rules);
  if (!own.some(({ shadow }) => shadow)) return { matcher: enforced, rules_stat_prefix: statPrefix(direction) };
  return {
    matcher: enforced,
    rules_stat_prefix: statPrefix(direction),
    // One without a shadow has nothing on trial.
    shadow_matcher: byRuleset(direction, own, ({ shadow }) => shadow?.rules ?? 'layer4'),
    shadow_rules_stat_prefix: statPrefix(direction),
  };
}

function byRuleset(
  direction: Direction,
  rulesets: readonly ServedRuleset[],
  rulesOf: (ruleset: ServedRuleset) => ServedRuleset['rules'],
): Matcher {
  const map: Record<string, OnMatch> = { [PASS.ruleset]: allow(PASS.name) };
  for (const ruleset of rulesets) {
    const rules = rulesOf(ruleset);
    const onMatch = rules === 'layer4' ? allow(PASS.name) : matchRules(rules);
    if (onMatch !== undefined) map[ruleset.id] = onMatch;
  }
  const input = {
    name: 'ruleset',
    typed_config: {
      '@type': 'envoy.extensions.matching.common_inputs.network.v3.FilterStateInput',
      key: rulesetState(direction),
    },
  } as const;
  return { matcher_tree: { input, exact_match_map: { map } } };
}

function allow(name: string): OnMatch {
  return {
    action: { name: 'action', typed_config: { '@type': 'envoy.config.rbac.v3.Action', name, action: 'ALLOW' } },
  };
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

function inOrder(matchers: NonNullable<Matcher['matcher_list']>['matchers'], otherwise?: OnMatch): OnMatch {
  const list: Matcher = { matcher_list: { matchers: matchers ?? [] } };
  return { matcher: otherwise === undefined ? list : { ...list, on_no_match: otherwise } };
}

/** @returns undefined when it asks for nothing */
function predicateOf({ method, path, host, headers = [] }: HttpMatch): Predicate | undefined {
  const parts = [
    header(':method', method),
    header(':path', path),
    header(':authority', host),
    ...headers.map(headerPredicate),
  ].flatMap((part) => part ?? []);
  return parts.length > 1 ? { and_matcher: { predicate: parts } } : parts[0];
}

/** Regular expressions match in full, the path with its query. */
function header(name: string, regex: string | undefined): Predicate | undefined {
  return regex === undefined ? undefined : headerIs(name, { safe_regex: { google_re2: {}, regex } });
}

/** Any value, an empty one and any bytes included. */
const PRESENT = '\\C*';

/** One with an action for what is not as it should be keeps nothing from passing. */
function headerPredicate({ name, value, mismatch }: HeaderMatch): Predicate | undefined {
  if (mismatch !== undefined) return undefined;
  const key = name === 'host' ? ':authority' : name;
  return value === undefined ? header(key, PRESENT) : headerIs(key, { exact: value });
}

/** Of a header that is not there no value fits. Several of one name are one, joined by commas. */
function headerIs(name: string, value: ValueMatch): Predicate {
  const input = {
    name,
    typed_config: { '@type': 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', header_name: name },
  } as const;
  return { single_predicate: { input, value_match: value } };
}
