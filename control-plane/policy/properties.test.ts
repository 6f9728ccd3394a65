/**
 * Random policies, asked three ways: the evaluator, a simulation of the kernel's look-ups and of Envoy's, and a compiler
 * with a past.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Numbers } from '../identity/numbers.ts';
import { parseAddress } from '../model/address.ts';
import { type Labels, labelsOf, NAMESPACE_KEY } from '../model/labels.ts';
import type { ObjectSet, PodObject } from '../model/objects.ts';
import {
  DIRECTIONS,
  formatPolicyRef,
  formatRuleRef,
  type HttpMatch,
  type Origin,
  type Peers,
  type Policy,
  type PolicyRef,
  type PortMatch,
  type Selector,
} from '../model/policy.ts';
import type { PolicyTable, Ruleset, Snapshot, TableEntry } from '../model/snapshot.ts';
import { Compiler } from './compile.ts';
import { evaluateHalf, type HalfAnswer } from './evaluate.ts';
import type { HttpRequest } from './http-match.ts';
import { HOST, RESERVED_IDENTITIES } from './identities.ts';
import { keyNumber } from './settle.ts';

const RUNS = 1000;
const APPS = ['web', 'api', 'db'];
const PROTOCOLS = [6, 17, 132, 1];

/** Pods of two namespaces, two of them with equal labels. */
const PODS: readonly PodObject[] = ['web', 'api', 'db', 'web', 'web', 'api'].map((app, i) => ({
  namespace: i < 4 ? 'shop' : 'lab',
  name: `pod-${i}`,
  uid: `uid-${i}`,
  labels: new Map([['app', app]]),
  serviceAccount: 'default',
  nodeName: i === 5 ? 'there' : 'here',
  hostNetwork: false,
  netns: `/run/netns/pod-${i}`,
  addresses: [parseAddress(`10.0.0.${i + 1}`)],
  origin: 'test',
}));

const selector = (namespace: fc.Arbitrary<string | undefined>): fc.Arbitrary<Selector> =>
  fc.record({ app: fc.option(fc.constantFrom(...APPS)), namespace }).map(({ app, namespace: name }) => ({
    matchLabels: new Map([
      ...(app === null ? [] : [['any:app', app] as const]),
      ...(name === undefined ? [] : [[`k8s:${NAMESPACE_KEY}`, name] as const]),
    ]),
  }));
const namespaces = fc.constantFrom('shop', 'lab');
const peers: fc.Arbitrary<Peers> = fc.oneof(
  fc.constant<Peers>({ kind: 'any' }),
  fc.record({
    kind: fc.constant('selected' as const),
    selectors: fc.array(selector(fc.option(namespaces, { nil: undefined })), { maxLength: 2 }),
    entities: fc.constant([]),
  }),
  fc.record({
    kind: fc.constant('selected' as const),
    selectors: fc.constant([]),
    entities: fc.subarray(['all', 'cluster', 'host', 'world'] as const),
  }),
);
/** Rule ports and asked ports come from the same few, so that half of the questions sit on a boundary. */
const ports = fc.constantFrom(0, 80, 81, 443);
const httpMatch: fc.Arbitrary<HttpMatch> = fc.record(
  {
    method: fc.constantFrom('GET', 'POST', 'GET|PUT'),
    path: fc.constantFrom('/a', '/a.*', '/b|/c', '/a\\?x=[0-9]'),
    host: fc.constantFrom('h', 'h(:80)?'),
  },
  { requiredKeys: [] },
);
/** The HTTP rules of a port, still without names. */
interface PortDraft extends Pick<PortMatch, 'protocol' | 'port'> {
  readonly http?: readonly HttpMatch[];
}
const portMatch: fc.Arbitrary<PortDraft> = fc.oneof(
  fc.record({ protocol: fc.constantFrom(6, 17, 132), port: ports }),
  fc.record({
    protocol: fc.constant(6),
    port: fc.constantFrom(80, 81),
    http: fc.array(httpMatch, { minLength: 1, maxLength: 2 }),
  }),
);
const section = fc.option(
  fc.array(fc.record({ peers, ports: fc.array(portMatch, { maxLength: 3 }) }), { maxLength: 3 }),
);
const REQUESTS: readonly HttpRequest[] = [
  { method: 'GET', path: '/a', host: 'h' },
  { method: 'POST', path: '/a?x=1', host: 'h:80' },
  { method: 'PUT', path: '/ab', host: '' },
  { method: 'GET', path: '/c', host: 'h:80' },
  { method: 'HEAD', path: '/', host: 'g' },
];
const policies = fc
  .array(fc.record({ namespace: namespaces, subject: selector(namespaces), egress: section, ingress: section }), {
    maxLength: 5,
  })
  .map((drafts) =>
    drafts.map(({ namespace, subject, ...sections }, i): Policy => {
      const ref = { kind: 'CiliumNetworkPolicy', namespace, name: `policy-${i}` };
      return {
        ref,
        subject,
        defaultDeny: { egress: sections.egress !== null, ingress: sections.ingress !== null },
        rules: DIRECTIONS.flatMap((direction) =>
          (sections[direction] ?? []).map((rule, j) => ({
            ...rule,
            direction,
            ports: rule.ports.map(({ http, ...port }, k) =>
              nameHttp(port, http, ref, `${direction}[${j}].toPorts[${k}]`),
            ),
            ref: { ...ref, rule: `${direction}[${j}]` },
          })),
        ),
        refused: false,
      };
    }),
  );

function nameHttp(port: PortMatch, http: readonly HttpMatch[] | undefined, ref: PolicyRef, path: string): PortMatch {
  const named = http?.map((match, i) => ({ ref: { ...ref, rule: `${path}.rules.http[${i}]` }, match }));
  return named ? { ...port, http: named } : port;
}

function objectsOf(pods: readonly PodObject[], list: readonly Policy[]): ObjectSet {
  return {
    namespaces: [],
    pods,
    nodes: [],
    policies: list.map((policy) => ({ ref: policy.ref, origin: 'test', state: 'accepted', policy, issues: [] })),
    issues: [],
  };
}

function newCompiler(): Compiler {
  return new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] });
}

/** The longest prefix of one identity's entries, as an LPM table answers. */
function lookUp(table: PolicyTable, identity: number, protocol: number, port: number): TableEntry | undefined {
  return table.entries
    .filter(
      (e) =>
        e.identity === identity && (e.prefix < 16 || e.protocol === protocol) && (e.prefix < 32 || e.port === port),
    )
    .sort((a, b) => b.prefix - a.prefix)[0];
}

interface Simulated {
  readonly text: string;
  readonly ruleset: Ruleset | undefined;
}

/** What the kernel program does with a table, in as few words as possible. */
function simulate(snapshot: Snapshot, table: PolicyTable, identity: number, protocol: number, port: number): Simulated {
  const exact = lookUp(table, identity, protocol, port);
  const any = lookUp(table, 0, protocol, port);
  const exactWins =
    exact !== undefined &&
    (any === undefined ||
      exact.precedence > any.precedence ||
      (exact.precedence === any.precedence && exact.prefix >= any.prefix));
  const entry = exactWins ? exact : any;
  if (entry) {
    const match = { 0: exactWins ? 1 : 4, 16: exactWins ? 5 : 6, 32: exactWins ? 2 : 3 }[entry.prefix];
    const origin = describe(snapshot.origins.get(entry.rule));
    return {
      text: `${entry.verdict === 'deny' ? 'DENIED' : 'ALLOWED'} ${entry.verdict === 'redirect'} ${match} ${origin}`,
      ruleset: snapshot.rulesets.get(entry.ruleset),
    };
  }
  const origin = describe(snapshot.origins.get(table.defaultRule));
  return { text: table.enforcing ? `DENIED false 0 ${origin}` : 'ALLOWED false 0 no-policy ', ruleset: undefined };
}

/** What Envoy does with a ruleset: names of the rules that admit the request. */
function admitting({ rules }: Ruleset, request: HttpRequest): string[] {
  const fits = (pattern: string | undefined, text: string): boolean =>
    pattern === undefined || new RegExp(`^(?:${pattern})$`).test(text);
  return rules
    .filter(
      ({ match }) =>
        fits(match?.method, request.method) && fits(match?.path, request.path) && fits(match?.host, request.host),
    )
    .map(({ ref }) => formatRuleRef(ref));
}

function describe(origin: Origin | undefined): string {
  switch (origin?.kind) {
    case 'rules':
      return `rule ${origin.rules.map(formatRuleRef).join(' ')}`;
    case 'default-deny':
      return `default-deny ${origin.policies.map(formatPolicyRef).join(' ')}`;
    default:
      return `${origin?.name ?? 'unknown'} `;
  }
}

function describeAnswer({ verdict, l7, match, reason, rules, policies: refs }: HalfAnswer): string {
  return `${verdict} ${l7} ${match} ${reason} ${[...rules.map(formatRuleRef), ...refs.map(formatPolicyRef)].join(' ')}`;
}

test('the evaluator answers what two look-ups in the compiled tables answer, rule by rule and request by request', {
  timeout: 30_000,
}, () => {
  let [allowed, denied, admitted, refused] = [0, 0, 0, 0];
  fc.assert(
    fc.property(policies, (list) => {
      const snapshot = newCompiler().compile(objectsOf(PODS, list));
      for (const workload of snapshot.workloads)
        for (const { id, labels } of snapshot.identities.values())
          for (const direction of DIRECTIONS)
            for (const protocol of PROTOCOLS)
              for (const port of [80, 81, 82, 443]) {
                const table = snapshot.tables.get(workload.tables[direction]);
                if (table === undefined) throw new Error('a table is missing');
                const own = labelsOf(workload.labels);
                const peer: Labels = RESERVED_IDENTITIES.get(id) ?? labelsOf(labels);
                const [source, destination] = direction === 'egress' ? [own, peer] : [peer, own];
                const flow = { source, destination, protocol, port };
                const answer = evaluateHalf(direction, flow, list);
                if (answer.verdict === 'ALLOWED') allowed++;
                else denied++;
                const { text, ruleset } = simulate(snapshot, table, id, protocol, port);
                expect(describeAnswer(answer)).toBe(text);
                expect(ruleset === undefined).toBe(!answer.l7);
                for (const http of ruleset ? REQUESTS : []) {
                  const asked = evaluateHalf(direction, { ...flow, http }, list);
                  const names = ruleset ? admitting(ruleset, http) : [];
                  if (names.length > 0) admitted++;
                  else refused++;
                  expect(asked).toMatchObject({ verdict: names.length > 0 ? 'ALLOWED' : 'DENIED', l7: true });
                  if (names.length > 0) expect(asked.rules.map(formatRuleRef)).toEqual(names);
                  else expect(asked.reason).toBe('no-http-rule');
                }
              }
    }),
    { numRuns: RUNS / 10 },
  );
  expect(Math.min(allowed, denied)).toBeGreaterThan(1000);
  expect(Math.min(admitted, refused)).toBeGreaterThan(1000);
});

test('redirects and rulesets fit together, and the node itself is never redirected to its workloads', () => {
  fc.assert(
    fc.property(policies, (list) => {
      const { tables, rulesets } = newCompiler().compile(objectsOf(PODS, list));
      const redirects = [...tables.values()].flatMap(({ key, direction, entries }) =>
        entries.filter(({ verdict }) => verdict === 'redirect').map((entry) => ({ key, direction, ...entry })),
      );
      expect(new Set(redirects.map(({ ruleset }) => ruleset))).toEqual(new Set(rulesets.keys()));
      for (const { key, direction, identity, ruleset: id } of redirects) {
        expect([direction, identity]).not.toEqual(['ingress', HOST]);
        const ruleset = rulesets.get(id);
        expect(ruleset).toMatchObject({ id, direction, key: expect.stringContaining(key) });
        expect(ruleset?.rules.some(({ match }) => match)).toBe(true);
      }
      for (const { entries } of tables.values())
        for (const { verdict, ruleset } of entries) if (verdict !== 'redirect') expect(ruleset).toBe(0);
    }),
    { numRuns: RUNS / 2 },
  );
});

test('without HTTP rules a table is what it was, and with them only entries for their ports are others', () => {
  const plain = (list: readonly Policy[]): Policy[] =>
    list.map((policy) => ({
      ...policy,
      rules: policy.rules.map((rule) => ({
        ...rule,
        ports: rule.ports.map(({ protocol, port }) => ({ protocol, port })),
      })),
    }));
  fc.assert(
    fc.property(policies, (list) => {
      const texts = (from: readonly Policy[]): string[] => {
        const { tables, origins } = newCompiler().compile(objectsOf(PODS, from));
        return [...tables.values()].flatMap(({ key, entries }) =>
          entries
            .filter(({ verdict }) => verdict === 'allow')
            .map((entry) => `${key} ${keyNumber(entry)} ${describe(origins.get(entry.rule))}`),
        );
      };
      const before = new Set(texts(plain(list)));
      expect(texts(list).filter((text) => !before.has(text))).toEqual([]);
    }),
    { numRuns: RUNS / 2 },
  );
});

/** Tables with names for numbers: rule ids depend on what was compiled before. */
function readable({ tables, origins, rulesets, policies: summaries }: Snapshot): unknown {
  return {
    summaries,
    tables: [...tables].map(([key, { defaultRule, entries, ...rest }]) => [
      key,
      rest,
      describe(origins.get(defaultRule)),
      entries.map(({ rule, ruleset, ...entry }) => [entry, describe(origins.get(rule)), contentOf(rulesets, ruleset)]),
    ]),
  };
}

/** A ruleset without its number. */
function contentOf(rulesets: Snapshot['rulesets'], id: number): unknown {
  const { key, direction, rules } = rulesets.get(id) ?? {};
  return { key, direction, rules };
}

test('a compiler with a past compiles what a fresh one does', () => {
  const change = fc.record({ pods: fc.subarray([...PODS]), policies });
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 2, maxLength: 6 }),
      fc.array(fc.nat(5), { maxLength: 6 }),
      (changes, order) => {
        const old = newCompiler();
        // Coming back to an earlier state reuses what was kept of it.
        for (const { pods, policies: list } of [...changes, ...order.flatMap((i) => changes[i] ?? [])]) {
          const objects = objectsOf(pods, list);
          expect(readable(old.compile(objects))).toEqual(readable(newCompiler().compile(objects)));
        }
      },
    ),
    { numRuns: RUNS / 5 },
  );
});

test('the order of policies and of pods changes no table', () => {
  fc.assert(
    fc.property(policies, fc.shuffledSubarray([...PODS], { minLength: PODS.length }), (list, pods) => {
      const tables = (snapshot: Snapshot): unknown =>
        [...snapshot.tables.values()]
          .map(({ entries, defaultRule, ...rest }) => ({
            ...rest,
            defaultRule: describe(snapshot.origins.get(defaultRule)),
            entries: entries.map(({ rule, ruleset, ...entry }) => ({
              ...entry,
              rule: describe(snapshot.origins.get(rule)),
              ruleset: contentOf(snapshot.rulesets, ruleset),
            })),
          }))
          .sort((a, b) => (a.key < b.key ? -1 : 1));
      const forward = newCompiler().compile(objectsOf(PODS, list));
      const backward = newCompiler().compile(objectsOf(pods, [...list].reverse()));
      expect(tables(backward)).toEqual(tables(forward));
    }),
    { numRuns: RUNS / 2 },
  );
});
