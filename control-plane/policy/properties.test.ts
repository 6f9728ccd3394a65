/**
 * Random policies, asked three ways: the evaluator, a simulation of the kernel's look-ups and of Envoy's, and a compiler
 * with a past.
 */
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { type Labels, labelsOf } from '../model/labels.ts';
import { DIRECTIONS, formatPolicyRef, formatRuleRef, type Origin, type Policy } from '../model/policy.ts';
import {
  type Authentication,
  PEER_AUTHENTICATION,
  type PolicyTable,
  type Ruleset,
  type Snapshot,
  type TableEntry,
} from '../model/snapshot.ts';
import { newCompiler, objectsOf, PODS, PROTOCOLS, policies, REQUESTS } from './arbitrary.ts';
import { evaluateHalf, type HalfAnswer } from './evaluate.ts';
import type { HttpRequest } from './http-match.ts';
import { HOST, RESERVED_IDENTITIES, WORLD } from './identities.ts';
import { keyNumber } from './settle.ts';

// Many questions, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

const RUNS = 1000;
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
  readonly authentication: Authentication;
}

/** What the kernel is to do with the field `auth` of the entry that won and of the one that lost. */
function authenticationOf(identity: number, winner: TableEntry, loser: TableEntry | undefined): Authentication {
  if (winner.verdict === 'deny' || identity === HOST || identity === WORLD) return 'none';
  if (winner.auth !== 'inherit') return winner.auth;
  return loser && loser.auth !== 'inherit' && loser.precedence === winner.precedence ? loser.auth : 'none';
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
      authentication: authenticationOf(identity, entry, exactWins ? any : exact),
    };
  }
  const origin = describe(snapshot.origins.get(table.defaultRule));
  const text = table.enforcing ? `DENIED false 0 ${origin}` : 'ALLOWED false 0 no-policy ';
  return { text, ruleset: undefined, authentication: 'none' };
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
  const seen = { none: 0, required: 0, 'always-fail': 0 };
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
                const { text, ruleset, authentication } = simulate(snapshot, table, id, protocol, port);
                expect(`${describeAnswer(answer)} ${answer.authentication}`).toBe(`${text} ${authentication}`);
                seen[authentication]++;
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
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(500);
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
        const ofPolicies = [...tables.values()].filter(({ key }) => !key.startsWith(PEER_AUTHENTICATION));
        return ofPolicies.flatMap(({ key, entries }) =>
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
function readable(snapshot: Snapshot): unknown {
  const { tables, origins, rulesets, policies: summaries, needs, certified, issues, workloads } = snapshot;
  return {
    summaries,
    needs,
    certified,
    issues,
    keys: workloads.map((workload) => workload.tables),
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
      fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { maxLength: 6 }),
      (changes, order) => {
        const old = newCompiler();
        // Coming back to earlier policies, with the pods of then or others, reuses what was kept of them.
        const again = order.flatMap(([i, j]) => {
          const [pods, list] = [changes[i]?.pods, changes[j]?.policies];
          return pods && list
            ? [
                { pods, policies: list },
                { pods: PODS, policies: list },
              ]
            : [];
        });
        for (const { pods, policies: list } of [...changes, ...again]) {
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
