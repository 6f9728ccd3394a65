/** Random policies, asked three ways: the evaluator, a simulation of the kernel's look-ups, and a compiler with a past. */
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
  type Origin,
  type Peers,
  type Policy,
  type PortMatch,
  type Selector,
} from '../model/policy.ts';
import type { PolicyTable, Snapshot, TableEntry } from '../model/snapshot.ts';
import { Compiler } from './compile.ts';
import { evaluateHalf, type HalfAnswer } from './evaluate.ts';
import { RESERVED_IDENTITIES } from './identities.ts';

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
const portMatch: fc.Arbitrary<PortMatch> = fc.record({ protocol: fc.constantFrom(6, 17, 132), port: ports });
const section = fc.option(
  fc.array(fc.record({ peers, ports: fc.array(portMatch, { maxLength: 3 }) }), { maxLength: 3 }),
);
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
            ref: { ...ref, rule: `${direction}[${j}]` },
          })),
        ),
        refused: false,
      };
    }),
  );

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

/** What the kernel program does with a table, in as few words as possible. */
function simulate(snapshot: Snapshot, table: PolicyTable, identity: number, protocol: number, port: number): string {
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
    return `${entry.verdict === 'allow' ? 'ALLOWED' : 'DENIED'} ${match} ${describe(snapshot.origins.get(entry.rule))}`;
  }
  return table.enforcing ? `DENIED 0 ${describe(snapshot.origins.get(table.defaultRule))}` : 'ALLOWED 0 no-policy ';
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

function describeAnswer({ verdict, match, reason, rules, policies: refs }: HalfAnswer): string {
  return `${verdict} ${match} ${reason} ${[...rules.map(formatRuleRef), ...refs.map(formatPolicyRef)].join(' ')}`;
}

test('the evaluator answers what two look-ups in the compiled tables answer, rule by rule', () => {
  let [allowed, denied] = [0, 0];
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
                const answer = evaluateHalf(direction, { source, destination, protocol, port }, list);
                if (answer.verdict === 'ALLOWED') allowed++;
                else denied++;
                expect(describeAnswer(answer)).toBe(simulate(snapshot, table, id, protocol, port));
              }
    }),
    { numRuns: RUNS / 10 },
  );
  expect(Math.min(allowed, denied)).toBeGreaterThan(1000);
});

/** Tables with names for numbers: rule ids depend on what was compiled before. */
function readable({ tables, origins, policies: summaries }: Snapshot): unknown {
  return {
    summaries,
    tables: [...tables].map(([key, { defaultRule, entries, ...rest }]) => [
      key,
      rest,
      describe(origins.get(defaultRule)),
      entries.map(({ rule, ...entry }) => [entry, describe(origins.get(rule))]),
    ]),
  };
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
            entries: entries.map(({ rule, ...entry }) => ({ ...entry, rule: describe(snapshot.origins.get(rule)) })),
          }))
          .sort((a, b) => (a.key < b.key ? -1 : 1));
      const forward = newCompiler().compile(objectsOf(PODS, list));
      const backward = newCompiler().compile(objectsOf(pods, [...list].reverse()));
      expect(tables(backward)).toEqual(tables(forward));
    }),
    { numRuns: RUNS / 2 },
  );
});
