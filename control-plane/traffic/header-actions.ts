/**
 * What is done about headers that are not as a rule asks (Cilium's `mismatch`)? All rules of the ruleset that fit a request act on it,
 * not only the one that admits it. Who decides is a filter of the kind that decides on admission, whose answer here is always yes: the
 * name of the leaf that it came to says what is to be done. A leaf is one combination of conditions, so that a filter has but a few of
 * them, and there are several filters. A script then does what the leaves say; the access log has them, too.
 */
import type { XdsMessages } from '../generated/xds.ts';
import { type Direction, formatRuleRef, type HeaderMatch, type MismatchAction } from '../model/policy.ts';
import { DIRECTIONS, headerFilter, headerPrefix, mendFilter } from './names.ts';
import {
  allow,
  byRulesetAction,
  headerPredicate,
  type OnMatch,
  type Predicate,
  predicateOf,
  type ServedRuleset,
} from './rbac.ts';

type HttpFilter = XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'];
type PerRoute = NonNullable<XdsMessages['envoy.config.route.v3.Route']['typed_per_filter_config']>;

/** Conditions of one filter: 16 leaves. */
const TREE = 4;
/** Filters of a direction that are there at least, so that few edits change the listener. */
const LEAST_FILTERS = 2;
/** The name of the leaf at which nothing is to be done. */
const NOTHING = '-';

/** A rule fits, and one of its headers is not as it should be. */
interface Condition {
  readonly when: Predicate;
  readonly action: MismatchAction;
  readonly header: HeaderMatch;
  readonly rule: string;
}

/** The filters of one direction. They cost nothing but where the routes have something for them to do. */
export function headerFilters(direction: Direction, rulesets: readonly ServedRuleset[]): HttpFilter[] {
  return [
    ...numbers(rulesets).map((n) => ({
      name: headerFilter(direction, n),
      disabled: true,
      typed_config: { '@type': 'envoy.extensions.filters.http.rbac.v3.RBAC' } as const,
    })),
    {
      name: mendFilter(direction),
      disabled: true,
      typed_config: { '@type': 'envoy.extensions.filters.http.lua.v3.Lua' },
    },
  ];
}

/** What the filters above are to do, by ruleset; empty when there is nothing. */
export function headerActions(rulesets: readonly ServedRuleset[]): PerRoute {
  return Object.fromEntries(
    DIRECTIONS.flatMap((direction) => {
      const deciding = numbers(rulesets).flatMap((n) => decider(direction, n, rulesets));
      const source_code = { inline_string: script(direction) };
      const mending = [
        mendFilter(direction),
        { '@type': 'envoy.extensions.filters.http.lua.v3.LuaPerRoute', source_code } as const,
      ] as const;
      return deciding.length === 0 ? [] : [...deciding, mending];
    }),
  );
}

function decider(direction: Direction, n: number, rulesets: readonly ServedRuleset[]) {
  const trees = rulesets
    .filter((each) => each.direction === direction)
    .map((ruleset) => [ruleset.id, conditionsOf(ruleset).slice(n * TREE, (n + 1) * TREE)] as const)
    .filter(([, conditions]) => conditions.length > 0)
    .map(([id, conditions]) => [id, branches(conditions)] as const);
  if (trees.length === 0) return [];
  const rbac = {
    matcher: { ...byRulesetAction(direction, trees), on_no_match: allow(NOTHING) },
    rules_stat_prefix: headerPrefix(direction, n),
  };
  return [
    [headerFilter(direction, n), { '@type': 'envoy.extensions.filters.http.rbac.v3.RBACPerRoute', rbac }] as const,
  ];
}

/** As many as the longest ruleset needs, a power of two, so that it seldom changes. */
function numbers(rulesets: readonly ServedRuleset[]): number[] {
  const most = Math.max(0, ...rulesets.map((ruleset) => conditionsOf(ruleset).length));
  const needed = 2 ** Math.ceil(Math.log2(Math.max(1, most / TREE)));
  return Array.from({ length: Math.max(LEAST_FILTERS, needed) }, (_, n) => n);
}

/** Of what is enforced; a rule on trial changes nothing. */
function conditionsOf({ rules }: ServedRuleset): Condition[] {
  if (rules === 'layer4') return [];
  return rules.flatMap(({ ref, match }) =>
    (match?.headers ?? []).flatMap((header) => {
      const { mismatch: action, ...expected } = header;
      if (match === undefined || action === undefined) return [];
      const wrong: Predicate = { not_matcher: headerPredicate(expected) };
      const fits = predicateOf(match);
      const when = fits === undefined ? wrong : { and_matcher: { predicate: [fits, wrong] } };
      return [{ when, action, header, rule: formatRuleRef(ref) }];
    }),
  );
}

/** A leaf for every combination of them that can hold. */
function branches([first, ...rest]: readonly Condition[], held: readonly Condition[] = []): OnMatch {
  if (first === undefined) return allow(held.length === 0 ? NOTHING : held.map(line).join('\n'));
  const on_match = branches(rest, [...held, first]);
  return {
    matcher: {
      matcher_list: { matchers: [{ predicate: first.when, on_match }] },
      on_no_match: branches(rest, held),
    },
  };
}

/** Neither a header's name nor a rule's has a blank, and no value a line break. */
function line({ action, header: { name, value = '' }, rule }: Condition): string {
  return `${action} ${name} ${rule} ${value}`;
}

function script(direction: Direction): string {
  return `function envoy_on_request(request)
  local told = request:streamInfo():dynamicMetadata():get("envoy.filters.http.rbac")
  if told == nil then return end
  local n = 0
  while true do
    local leaf = told["${headerPrefix(direction, '')}" .. n .. "_enforced_effective_policy_id"]
    if leaf == nil then return end
    for action, name, value in leaf:gmatch("(%u+) (%S+) %S+ ([^\\n]*)") do
      if action == "ADD" then request:headers():add(name, value)
      elseif action == "REPLACE" then request:headers():replace(name, value)
      elseif action == "DELETE" then request:headers():remove(name)
      end
    end
    n = n + 1
  end
end
`;
}
