/** What nobody would write: the parsers say what is wrong, and neither throw nor grow without bound. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { CLUSTERWIDE_HEAD, HEAD, KUBERNETES_HEAD } from '../../control-plane/api/samples.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';

/** Parses it, has an inventory take it, and gives the issues. */
function issuesOf(text: string): readonly { code: string; path: string; message: string; origin: string }[] {
  const inventory = new Inventory();
  inventory.set('x.yaml', parseManifests(text, 'x.yaml'));
  return inventory.objects().issues;
}

function expectSensible(text: string): void {
  for (const { code, message, origin } of issuesOf(text)) {
    expect(code).toMatch(/^[A-Z_]+$/);
    expect(message).not.toBe('');
    expect(origin).toMatch(/^x\.yaml:\d+$/);
  }
}

test('random bytes are no reason to throw', { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expectSensible(Buffer.from(bytes).toString('utf8'));
      expectSensible(Buffer.from(bytes).toString('latin1'));
    }),
    { numRuns: 1000, seed: 3 },
  );
});

const EXAMPLES: readonly { manifest: object }[] = parse(
  readFileSync(join(import.meta.dirname, 'cilium-examples.yaml'), 'utf8'),
);
const texts = EXAMPLES.map(({ manifest }) => JSON.stringify(manifest, undefined, 1));

test('nor are manifests with bytes changed, put in or taken away', { timeout: 60_000 }, () => {
  const damage = fc.record({
    text: fc.constantFrom(...texts),
    at: fc.array(fc.tuple(fc.nat(), fc.nat(3), fc.constantFrom(...'{}[]",:-#&*!|>%@`\n\t\0é0')), {
      minLength: 1,
      maxLength: 4,
    }),
  });
  fc.assert(
    fc.property(damage, ({ text, at }) => {
      let damaged = text;
      for (const [place, gone, added] of at) {
        const i = place % (damaged.length + 1);
        damaged = damaged.slice(0, i) + added + damaged.slice(i + gone);
      }
      expectSensible(damaged);
    }),
    { numRuns: 500, seed: 5 },
  );
});

/** Any value where a policy has something else. */
const anything = fc.oneof(
  fc.constantFrom(null, true, 0, -1, 1e21, '', '0', '*', 'x', '192.0.2.0/24', '::/0', '__proto__', 'constructor'),
  fc.constantFrom<unknown>([], {}, [[]], [{}], [null], { constructor: 1 }, { toString: null }, ['x', 5]),
);

function withValueAt(value: unknown, place: number, other: unknown): unknown {
  let count = 0;
  const walk = (each: unknown): unknown => {
    if (count++ === place) return other;
    if (Array.isArray(each)) return each.map(walk);
    if (typeof each !== 'object' || each === null) return each;
    return Object.fromEntries(Object.entries(each).map(([key, below]) => [key, walk(below)]));
  };
  return walk(value);
}

test('nor is any value in the place of another', { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(fc.constantFrom(...EXAMPLES), fc.nat(40), anything, ({ manifest }, place, other) => {
      expectSensible(JSON.stringify(withValueAt(manifest, place, other)));
    }),
    { numRuns: 3000, seed: 9 },
  );
});

test.each([
  ['brackets', `${HEAD}spec: ${'['.repeat(100_000)}`],
  ['closed brackets', `${HEAD}spec: ${'['.repeat(20_000)}${']'.repeat(20_000)}`],
  ['dashes', `${'- '.repeat(20_000)}a`],
  [
    'an alias bomb',
    `a: &a [${'x,'.repeat(50)}]\nb: &b [${'*a,'.repeat(50)}]\nc: &c [${'*b,'.repeat(50)}]\nd: [${'*c,'.repeat(50)}]\n`,
  ],
  ['a key of a megabyte', `${HEAD}spec: { ${'k'.repeat(1_000_000)}: 1 }`],
])('%s: one issue or more, and no end of the stack', (_, text) => {
  expect(issuesOf(text).length).toBeGreaterThan(0);
});

test.each([
  [
    'rules',
    (count: number) => `${HEAD}spec: { endpointSelector: {}, ingress: [${'{ x: 1 }, '.repeat(count)}{ x: 1 }] }`,
  ],
  ['peers', (count: number) => `${KUBERNETES_HEAD}spec: { ingress: [{ from: [${'{}, '.repeat(count)}{}] }] }`],
  ['specs', (count: number) => `${CLUSTERWIDE_HEAD}specs: [${'1, '.repeat(count)}1]`],
  [
    'addresses',
    (count: number) =>
      `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: s }\nendpoints: [{ addresses: [${'a, '.repeat(count)}a] }]`,
  ],
])('of very many bad %s a hundred are told, and how many more there are', (_, text) => {
  const issues = issuesOf(text(5000));
  expect(issues).toHaveLength(101);
  expect(issues.at(-1)?.message).toBe('and 4901 more problems');
});

/** Parses a group of so many ranges in a thread that has no more than 768 MiB for it. */
const GROUP = `
import { parentPort } from 'node:worker_threads';
const { parseManifests } = await import(${JSON.stringify(join(import.meta.dirname, '../../control-plane/api/manifests.ts'))});
const lines = ['apiVersion: cilium.io/v2', 'kind: CiliumCIDRGroup', 'metadata: { name: g }', 'spec:', '  externalCIDRs:'];
for (let i = 0; i < 1_000_000; i++) lines.push(\`    - 10.\${i >> 16}.\${(i >> 8) & 255}.\${i & 255}/32\`);
const good = parseManifests(lines.join('\\n'), 'g.yaml');
const bad = parseManifests(lines.slice(0, 100_005).join('\\n').replaceAll('/32', '/33'), 'g.yaml');
parentPort.postMessage({
  prefixes: good.objects[0].object.prefixes.length,
  last: [...good.objects[0].object.prefixes.at(-1).address],
  issues: good.issues.length,
  bad: bad.issues.map(({ message, origin }) => origin + ' ' + message),
});
`;

test('a CIDR group of a million ranges is read in bounded memory, as is one of very many mistakes', {
  timeout: 120_000,
}, async () => {
  const worker = new Worker(GROUP, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 768 } });
  const [{ prefixes, last, issues, bad }] = await once(worker, 'message');
  await worker.terminate();
  expect([prefixes, last.slice(12), issues]).toEqual([1_000_000, [10, 15, 66, 63], 0]);
  expect(bad).toHaveLength(101);
  expect(bad[99]).toContain('g.yaml:105 spec.externalCIDRs[99]: "10.0.0.99/33" is not a range');
  expect(bad[100]).toContain('and 99900 more problems');
});
