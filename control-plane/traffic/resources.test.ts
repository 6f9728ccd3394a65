import { describe, expect, test } from 'vitest';
import { XDS_TABLE, type XdsMessages } from '../generated/xds.ts';
import type { Direction, HttpMatch, RuleRef } from '../model/policy.ts';
import type { Ruleset } from '../model/snapshot.ts';
import { Codec } from '../xds/codec.ts';
import { LISTENER_TYPE, ROUTE_TYPE } from '../xds/types.ts';
import { encodeTraffic, type TrafficResources, translate } from './resources.ts';

const OPTIONS = { modulePath: '/usr/lib/sidestep/module.so', port: 15001, marks: [0x400, 0x500] };
const codec = new Codec<XdsMessages>(XDS_TABLE);

type OnMatch = XdsMessages['xds.type.matcher.v3.Matcher.OnMatch'];

const ref = (rule: string): RuleRef => ({ kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'web', rule });

function ruleset(id: number, direction: Direction, ...matches: (HttpMatch | undefined)[]): Ruleset {
  return { id, direction, key: `key ${id}`, rules: matches.map((match, i) => ({ ref: ref(`http[${i}]`), match })) };
}

const from = (...rulesets: Ruleset[]): TrafficResources =>
  translate(new Map(rulesets.map((each) => [each.id, each])), OPTIONS);

/** What a direction's filter does by the number of the ruleset. */
function mapOf({ routes }: TrafficResources, direction: Direction): Readonly<Record<string, OnMatch>> {
  const config = routes[0]?.virtual_hosts?.[0]?.routes?.[0]?.typed_per_filter_config?.[`sidestep.rbac.${direction}`];
  if (config?.['@type'] !== 'envoy.extensions.filters.http.rbac.v3.RBACPerRoute') throw new Error('it has no RBAC');
  expect(config.rbac?.rules_stat_prefix).toBe(`${direction}_`);
  const tree = config.rbac?.matcher?.matcher_tree;
  expect(tree?.input?.typed_config).toMatchObject({ key: `sidestep.${direction}` });
  return tree?.exact_match_map?.map ?? {};
}

const allow = (name: string): OnMatch => ({
  action: { name: 'action', typed_config: { '@type': 'envoy.config.rbac.v3.Action', name, action: 'ALLOW' } },
});
const header = (name: string, regex: string) => ({
  single_predicate: {
    input: {
      name,
      typed_config: { '@type': 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', header_name: name },
    },
    value_match: { safe_regex: { google_re2: {}, regex } },
  },
});
const RULE = 'CiliumNetworkPolicy/shop/web#http';

describe('a ruleset', () => {
  test('admits by its rules in their order, each under its name', () => {
    const { 16: onMatch } = mapOf(from(ruleset(16, 'ingress', { method: 'GET' }, { path: '/a' })), 'ingress');
    expect(onMatch).toEqual({
      matcher: {
        matcher_list: {
          matchers: [
            { predicate: header(':method', 'GET'), on_match: allow(`${RULE}[0]`) },
            { predicate: header(':path', '/a'), on_match: allow(`${RULE}[1]`) },
          ],
        },
      },
    });
  });

  test('wants all that a rule names', () => {
    const rules = ruleset(16, 'egress', { method: 'GET', path: '/a.*', host: 'web[.]shop' });
    const { 16: onMatch } = mapOf(from(rules), 'egress');
    expect(onMatch?.matcher?.matcher_list?.matchers?.[0]?.predicate).toEqual({
      and_matcher: {
        predicate: [header(':method', 'GET'), header(':path', '/a.*'), header(':authority', 'web[.]shop')],
      },
    });
  });

  test.each([['a plain rule', undefined] as const, ['an HTTP rule that names nothing', {}] as const])(
    'with %s admits what the rules before it leave, and needs none after it',
    (_, open) => {
      const { 16: onMatch } = mapOf(from(ruleset(16, 'ingress', { path: '/a' }, open, { path: '/b' })), 'ingress');
      expect(onMatch?.matcher).toMatchObject({ on_no_match: allow(`${RULE}[1]`) });
      expect(onMatch?.matcher?.matcher_list?.matchers).toHaveLength(1);
      expect(mapOf(from(ruleset(16, 'ingress', open, { path: '/b' })), 'ingress')[16]).toEqual(allow(`${RULE}[0]`));
    },
  );

  test('counts in its own direction only', () => {
    const resources = from(ruleset(16, 'egress', undefined), ruleset(17, 'ingress', undefined));
    expect(Object.keys(mapOf(resources, 'egress'))).toEqual(['1', '16']);
    expect(Object.keys(mapOf(resources, 'ingress'))).toEqual(['1', '17']);
  });

  test('without rules is not there, which admits nothing', () => {
    expect(Object.keys(mapOf(from(ruleset(16, 'ingress')), 'ingress'))).toEqual(['1']);
  });
});

test('a half that layer 4 admitted passes, and an unknown one never does', () => {
  for (const direction of ['egress', 'ingress'] as const)
    expect(mapOf(from(), direction)).toEqual({ 1: allow('layer4') });
});

test('what the routes do not speak of is denied by the filters themselves', () => {
  for (const { filter_chains } of from().listeners) {
    const manager = filter_chains?.find(({ name }) => name === 'http')?.filters?.[0]?.typed_config;
    const filters = (manager as { http_filters: readonly { name: string; disabled?: true }[] }).http_filters;
    expect(filters.filter(({ disabled }) => !disabled)).toMatchObject([
      { name: 'sidestep.rbac.egress', typed_config: { rules: {}, rules_stat_prefix: 'egress_' } },
      { name: 'sidestep.rbac.ingress', typed_config: { rules: {}, rules_stat_prefix: 'ingress_' } },
      { name: 'envoy.filters.http.router' },
    ]);
  }
});

test('an edited HTTP rule changes the routes and nothing that would drain a connection', () => {
  const before = encodeTraffic(codec, from(ruleset(16, 'ingress', { path: '/a' })));
  const after = encodeTraffic(
    codec,
    from(ruleset(16, 'ingress', { path: '/b' }), ruleset(17, 'egress', { path: '/c' })),
  );
  const changed = [...before.keys()].filter(
    (type) => JSON.stringify(before.get(type)) !== JSON.stringify(after.get(type)),
  );
  expect(changed).toEqual([ROUTE_TYPE]);
  expect(before.get(LISTENER_TYPE)?.map(({ name }) => name)).toEqual(['sidestep-v4', 'sidestep-v6']);
});

test('what is done about headers comes with the routes, up to a number of conditions', () => {
  const headers = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ name: `x-${i}`, value: 'a', mismatch: 'REPLACE' as const }));
  const sent = (count: number) => encodeTraffic(codec, from(ruleset(16, 'ingress', { headers: headers(count) })));
  const listeners = (count: number): string => JSON.stringify(sent(count).get(LISTENER_TYPE));
  expect(listeners(8)).toBe(listeners(0));
  expect(listeners(9)).not.toBe(listeners(0));
  expect(listeners(16)).toBe(listeners(9));
  expect(JSON.stringify(sent(1).get(ROUTE_TYPE))).not.toBe(JSON.stringify(sent(0).get(ROUTE_TYPE)));
});

test('names of TLS are in a chain of their own: an edit of them leaves the one of requests as it is', () => {
  const named = (name: string): Ruleset => ({
    ...ruleset(18, 'egress'),
    serverNames: [{ ref: ref('egress[0]'), names: [name] }],
  });
  const chains = (resources: TrafficResources, name: string): string[] =>
    resources.listeners.map(({ filter_chains = [] }) =>
      JSON.stringify(filter_chains.find((each) => each.name === name)),
    );
  const [before, after] = [from(named('a.org')), from(named('*.b.org'))];
  expect(chains(after, 'http')).toEqual(chains(before, 'http'));
  expect(chains(after, 'tls')).not.toEqual(chains(before, 'tls'));
  const others = ({ listeners }: TrafficResources): unknown => listeners.map(({ filter_chains: _, ...rest }) => rest);
  expect(others(after)).toEqual(others(before));
});

test('the same rulesets give the same bytes, in whatever order they come', () => {
  const [a, b] = [ruleset(16, 'ingress', { path: '/a' }), ruleset(700, 'ingress', { path: '/b' })];
  expect(encodeTraffic(codec, from(a, b))).toEqual(encodeTraffic(codec, from(b, a)));
});

test('listeners are on loopback, transparent, ask the module first, and have further ports whose packets are marked', () => {
  expect(from().listeners).toMatchObject(
    ['127.0.0.1', '::1'].map((address) => ({
      address: { socket_address: { address, port_value: 15001 } },
      additional_addresses: [
        [15002, 0x400],
        [15003, 0x500],
      ].map(([port, mark]) => ({
        address: { socket_address: { address, port_value: port } },
        socket_options: { socket_options: [{ level: 1, name: 36, int_value: mark, state: 'STATE_PREBIND' }] },
      })),
      transparent: { value: true },
      listener_filters: [
        { typed_config: { dynamic_module_config: { module: { local: { filename: OPTIONS.modulePath } } } } },
        { name: 'envoy.filters.listener.tls_inspector' },
        { name: 'envoy.filters.listener.original_src' },
      ],
    })),
  );
});

test("Envoy's own source ports are 61000 to 65535", () => {
  expect(from().clusters[0]).toMatchObject({
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: { seconds: 2 },
    upstream_bind_config: { socket_options: [{ level: 0, name: 51, int_value: 4294962760 }] },
  });
});
