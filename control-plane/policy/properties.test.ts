/**
 * Random policies, asked three ways: the evaluator, a simulation of the kernel's look-ups and of Envoy's, and a compiler
 * with a past.
 */
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { labelsOf, selects } from '../model/labels.ts';
import { DIRECTIONS, formatPolicyRef, formatRuleRef, type Policy } from '../model/policy.ts';
import { PEER_AUTHENTICATION, type Snapshot } from '../model/snapshot.ts';
import { newCompiler, objectsOf, PODS, policies } from './arbitrary.ts';
import { CARRIED, FLOWS, isAuditedNamespace, LEARNED, peersOf, questionOf, surfaces } from './arbitrary-surface.ts';
import type { HalfAnswer } from './evaluate.ts';
import { evaluateStaged } from './evaluate-staged.ts';
import { HOST } from './identities.ts';
import { admitting, decide, describe, identityOf } from './kernel-model.ts';
import { keyNumber } from './keys.ts';
import { Resolver } from './resolve.ts';
import { Stages } from './stages.ts';

// Many questions, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

const RUNS = 1000;
/** As decisions of the model read. */
function describeAnswer({ verdict, l7, match, reason, rules, policies: refs }: HalfAnswer): string {
  const names = [...rules.map(formatRuleRef), ...refs.map(formatPolicyRef)].join(' ');
  return `${verdict} ${l7 ? 'yes' : 'no'} ${match} ${reason} ${names}`;
}

test('the evaluator answers what look-ups in the compiled tables answer, on the whole surface', {
  timeout: 120_000,
}, () => {
  const seen = new Map<string, number>();
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
  const missing = (): string[] => WANTED.filter((what) => !seen.has(what));
  const round = (): void =>
    fc.assert(
      fc.property(surfaces, ({ objects, enforcement }) => {
        const snapshot = newCompiler('here', { enforcement }).compile(objects, LEARNED);
        const stages = new Stages(enforcement);
        const list = new Resolver().resolve(
          objects.policies.flatMap(({ policy }) => policy ?? []),
          objects,
        );
        for (const workload of snapshot.workloads) {
          const own = labelsOf(workload.labels);
          const staged = stages.of(
            list.filter(({ subject }) => selects(subject, own)),
            isAuditedNamespace(objects, workload.namespace),
          );
          const self = PODS.find(({ name }) => name === workload.name);
          for (const peer of peersOf(objects))
            for (const direction of DIRECTIONS)
              for (const [protocol, port] of FLOWS) {
                const flow = questionOf(direction, own, self?.namedPorts ?? [], peer, protocol, port);
                const identity = peer.host ? HOST : identityOf(snapshot, peer.address);
                const decided = decide(snapshot, workload.tables[direction], identity, protocol, port);
                const auditKey = direction === 'egress' ? workload.tables.auditEgress : workload.tables.auditIngress;
                const audited = auditKey === '' ? undefined : decide(snapshot, auditKey, identity, protocol, port);
                const { verdict, answer, enforced } = evaluateStaged(direction, flow, staged);
                const text = `${workload.name} ${direction} ${peer.name} ${protocol}/${port}`;
                same(
                  `${text}: ${describeAnswer(enforced)} ${enforced.authentication}`,
                  `${text}: ${decided.text} ${decided.authentication}`,
                );
                count(decided.text.split(' ').slice(0, 4).join(' '));
                count(decided.authentication);
                if (audited && decided.allowed) {
                  same(`${text}: ${verdict}`, `${text}: ${audited.allowed ? 'ALLOWED' : 'AUDIT'}`);
                  if (!audited.allowed) same(describeAnswer(answer), audited.text);
                  count(`audit ${verdict}`);
                }
                if (verdict !== 'ALLOWED' || !(decided.looks || audited?.looks === true)) continue;
                const ruleset = audited?.looks === true ? audited.ruleset : decided.ruleset;
                for (const carried of CARRIED) {
                  const asked = evaluateStaged(direction, { ...flow, ...carried }, staged);
                  const passing = ruleset ? admitting(ruleset, carried) : [];
                  const shadow = ruleset?.shadow ? admitting(ruleset.shadow, carried) : passing;
                  const expected = passing.length === 0 ? 'DENIED' : shadow.length === 0 ? 'AUDIT' : 'ALLOWED';
                  same(
                    `${text} ${JSON.stringify(carried)}: ${asked.verdict}`,
                    `${text} ${JSON.stringify(carried)}: ${expected}`,
                  );
                  if (expected === 'ALLOWED' && ruleset?.shadow === undefined)
                    same(asked.answer.rules.map(formatRuleRef).join(), passing.join());
                  count(`${asked.answer.reason} ${asked.verdict}`);
                }
              }
        }
      }),
      { numRuns: RUNS / 5 },
    );
  round();
  // Some are rare: a few rounds more see them.
  for (let more = 0; more < 9 && missing().length > 0; more++) round();
  expect(missing()).toEqual([]);
});

/** A million assertions take their time. */
function same(one: string, other: string): void {
  if (one !== other) expect(one).toBe(other);
}

/** Kinds of answers that the questions must have hit. */
const WANTED = [
  ...[1, 2, 3, 4, 5, 6].map((match) => `ALLOWED no ${match} rule`),
  ...[1, 2, 3, 4, 5, 6].map((match) => `DENIED no ${match} deny-rule`),
  'ALLOWED no 0 no-policy',
  'DENIED no 0 default-deny',
  'ALLOWED no 1 local-host',
  'ALLOWED yes 2 rule',
  'ALLOWED yes 3 rule',
  'audit ALLOWED',
  'audit AUDIT',
  'none',
  'required',
  'always-fail',
  'rule ALLOWED',
  'no-http-rule DENIED',
  'no-server-name DENIED',
  'no-dns-rule DENIED',
  'no-http-rule AUDIT',
];

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
        ports: rule.ports.map(({ http, ...port }) => port),
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

/** A snapshot with names for numbers: those of rules and ranges depend on what was compiled before. */
function readable(snapshot: Snapshot): unknown {
  const { tables, origins, rulesets, policies: summaries, needs, certified, issues, workloads, prefixes } = snapshot;
  const whose = (identity: number): string => snapshot.identities.get(identity)?.labels.join(' ') ?? `${identity}`;
  return {
    summaries,
    needs,
    certified,
    issues,
    workloads,
    prefixes: prefixes.map(({ identity, ...rest }) => [rest, whose(identity)]),
    tables: [...tables].map(([key, { defaultRule, entries, ...rest }]) => [
      key,
      rest,
      describe(origins.get(defaultRule)),
      entries
        .map(({ identity, rule, ruleset, ...entry }) => ({
          whose: whose(identity),
          entry,
          rule: describe(origins.get(rule)),
          ruleset: contentOf(rulesets, ruleset),
        }))
        .sort((a, b) => (JSON.stringify([a.whose, a.entry]) < JSON.stringify([b.whose, b.entry]) ? -1 : 1)),
    ]),
  };
}

/** A ruleset without its number. */
function contentOf(rulesets: Snapshot['rulesets'], id: number): unknown {
  return { ...rulesets.get(id), id: 0 };
}

test('a compiler with a past compiles what a fresh one does', { timeout: 120_000 }, () => {
  const change = fc.record({ pods: fc.subarray([...PODS]), surface: surfaces, learned: fc.subarray([...LEARNED]) });
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 2, maxLength: 5 }),
      fc.array(fc.tuple(fc.nat(4), fc.nat(4)), { maxLength: 6 }),
      (changes, order) => {
        const old = newCompiler();
        // Coming back to earlier policies, with the pods of then or others, reuses what was kept of them.
        const again = order.flatMap(([i, j]) => {
          const [one, other] = [changes[i], changes[j]];
          return one && other
            ? [
                { ...other, pods: one.pods },
                { ...other, learned: one.learned, pods: PODS },
              ]
            : [];
        });
        for (const { pods, surface, learned } of [...changes, ...again]) {
          const objects = { ...surface.objects, pods };
          expect(readable(old.compile(objects, learned))).toEqual(readable(newCompiler().compile(objects, learned)));
        }
      },
    ),
    { numRuns: RUNS / 10 },
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
