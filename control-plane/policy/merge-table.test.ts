/**
 * Cilium's core table of merging, regenerated (cilium.md §2.2): all subsets of eight rules for one endpoint, in any order of the
 * rules, and what the three keys foo:80, *:80 and foo:* then say by the kernel's look-ups.
 */
import { expect, test } from 'vitest';
import type { PortMatch, Rule } from '../model/policy.ts';
import { newCompiler, objectsOf, PODS } from './arbitrary.ts';
import { decide } from './kernel-model.ts';

const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'merge' };
const foo = { kind: 'selected', selectors: [{ matchLabels: new Map([['any:app', 'web']]) }], entities: [] } as const;
const anybody = { kind: 'any' } as const;
const port: PortMatch = { protocol: 6, port: 80 };
const l7 = (rule: string): PortMatch => ({
  ...port,
  http: [{ ref: { ...ref, rule: `${rule}.http[0]` }, match: { method: 'GET', path: '/' } }],
});

/** Bit i of a case: whether rule i is there. */
const RULES: readonly Omit<Rule, 'direction'>[] = [
  { ref: { ...ref, rule: 'ingress[0]' }, peers: foo, ports: [] },
  { ref: { ...ref, rule: 'ingress[1]' }, peers: anybody, ports: [port] },
  { ref: { ...ref, rule: 'ingress[2]' }, peers: foo, ports: [port] },
  { ref: { ...ref, rule: 'ingress[3]' }, peers: anybody, ports: [l7('ingress[3]')] },
  { ref: { ...ref, rule: 'ingress[4]' }, peers: foo, ports: [l7('ingress[4]')] },
  { ref: { ...ref, rule: 'ingressDeny[0]' }, peers: foo, ports: [], deny: true },
  { ref: { ...ref, rule: 'ingressDeny[1]' }, peers: anybody, ports: [port], deny: true },
  { ref: { ...ref, rule: 'ingressDeny[2]' }, peers: foo, ports: [port], deny: true },
];

/** From the words: deny > redirect > allow, a plain allow beside a redirect goes through it, and what no key has is refused. */
function expected(bits: number): readonly string[] {
  const has = (...which: number[]): boolean => which.some((bit) => (bits & (1 << bit)) !== 0);
  const verdict = (denied: boolean, redirected: boolean, allowed: boolean): string =>
    denied ? 'deny' : redirected ? 'redirect' : allowed ? 'allow' : 'none';
  return [
    verdict(has(5, 6, 7), has(3, 4), has(0, 1, 2)),
    verdict(has(6), has(3), has(1)),
    verdict(has(5), false, has(0)),
  ];
}

function* orders(count: number): Generator<readonly number[]> {
  // All rotations, forward and backward: every rule is before and behind every other.
  const forward = Array.from({ length: count }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const turned = [...forward.slice(i), ...forward.slice(0, i)];
    yield turned;
    yield [...turned].reverse();
  }
}

test('256 subsets of eight rules, in every order, say what the table says', { timeout: 60_000 }, () => {
  const seen = new Set<string>();
  for (let bits = 0; bits < 256; bits++) {
    const contents = new Set<string>();
    for (const order of orders(RULES.length)) {
      const rules = order.flatMap((i): Rule[] => {
        const rule = RULES[i];
        return rule && bits & (1 << i) ? [{ ...rule, direction: 'ingress' }] : [];
      });
      const policy = {
        ref,
        subject: { matchLabels: new Map([['any:app', 'db']]) },
        defaultDeny: { egress: false, ingress: true },
        rules,
        refused: false,
      };
      const snapshot = newCompiler().compile(objectsOf(PODS, [policy]));
      const workload = snapshot.workloads.find(({ name }) => name === 'pod-2');
      const identity = (pod: string): number => snapshot.addresses.find((each) => each.pod === pod)?.identity ?? 0;
      const at = (pod: string, asked: number): string => {
        const { text, allowed, looks } = decide(snapshot, workload?.tables.ingress ?? '', identity(pod), 6, asked);
        return text.includes('default-deny') ? 'none' : looks ? 'redirect' : allowed ? 'allow' : 'deny';
      };
      // pod-0 is web, which is foo; pod-1 is somebody else.
      const found = [at('pod-0', 80), at('pod-1', 80), at('pod-0', 81)];
      expect([bits, found]).toEqual([bits, expected(bits)]);
      contents.add(JSON.stringify(snapshot.tables.get(workload?.tables.ingress ?? '')?.entries));
      seen.add(found.join());
    }
    expect(contents.size).toBe(1);
  }
  expect(seen.size).toBeGreaterThan(15);
});

test("what everybody's denial covers is not in the table for single peers as well", () => {
  const deny: Rule = {
    ref: { ...ref, rule: 'ingressDeny[0]' },
    direction: 'ingress',
    peers: anybody,
    ports: [],
    deny: true,
  };
  const allow: Rule = { ref: { ...ref, rule: 'ingress[0]' }, direction: 'ingress', peers: foo, ports: [port] };
  const policy = {
    ref,
    subject: { matchLabels: new Map([['any:app', 'db']]) },
    defaultDeny: { egress: false, ingress: true },
    rules: [allow, deny],
    refused: false,
  };
  const entries = [
    ...newCompiler()
      .compile(objectsOf(PODS, [policy]))
      .tables.values(),
  ].flatMap((each) => each.entries);
  expect(entries.map(({ identity, verdict }) => [identity, verdict])).toEqual([
    [0, 'deny'],
    [1, 'allow'],
  ]);
});
