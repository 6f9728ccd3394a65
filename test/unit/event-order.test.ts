/** Files come, change and go in any order; what is compiled in the end depends on what is there in the end. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';
import { renderEntries, renderStatus } from '../golden/render.ts';

const APPS = ['web', 'api', 'db', 'job'];
const app = fc.constantFrom(...APPS);

/** Texts of one file. Every pod has its own address: who keeps a disputed one does depend on the past. */
const files: readonly (readonly [string, fc.Arbitrary<string>])[] = [
  ...APPS.map((name, i): [string, fc.Arbitrary<string>] => [
    `pod-${name}.yaml`,
    app.map((label) =>
      manifest(
        'v1',
        'Pod',
        name,
        { labels: { app: label }, annotations: { 'sidestep.dev/netns': name } },
        { status: { podIP: `10.0.0.${i + 1}` } },
      ),
    ),
  ]),
  ['namespace.yaml', app.map((team) => manifest('v1', 'Namespace', 'default', { labels: { team } }, {}))],
  ...['p', 'q', 'r'].map((name): [string, fc.Arbitrary<string>] => [`${name}.yaml`, policy(name)]),
  // The same object in a second file: the first by name counts, whenever it came.
  ['z.yaml', policy('p')],
];

function manifest(apiVersion: string, kind: string, name: string, metadata: object, rest: object): string {
  return JSON.stringify({ apiVersion, kind, metadata: { name, ...metadata }, ...rest });
}

function policy(name: string): fc.Arbitrary<string> {
  const peer = fc.oneof(
    app.map((label) => ({ fromEndpoints: [{ matchLabels: { app: label } }] })),
    app.map((team) => ({ fromEndpoints: [{ matchLabels: { 'io.cilium.k8s.namespace.labels.team': team } }] })),
    fc.constantFrom('world', 'cluster', 'all').map((entity) => ({ fromEntities: [entity] })),
  );
  return fc
    .tuple(app, fc.array(peer, { minLength: 1, maxLength: 3 }))
    .map(([label, ingress]) =>
      manifest(
        'cilium.io/v2',
        'CiliumNetworkPolicy',
        name,
        {},
        { spec: { endpointSelector: { matchLabels: { app: label } }, ingress } },
      ),
    );
}

const event = fc
  .constantFrom(...files)
  .chain(([file, text]) => fc.tuple(fc.constant(file), fc.option(text, { nil: undefined, freq: 4 })));

class Agent {
  readonly #inventory = new Inventory();
  readonly #compiler = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] });

  set(file: string, text: string | undefined): string {
    this.#inventory.set(file, text === undefined ? undefined : parseManifests(text, file));
    const snapshot = this.#compiler.compile(this.#inventory.objects());
    return renderEntries(snapshot) + renderStatus(snapshot);
  }
}

test('the end of any sequence of changes is what its last contents say in any order', () => {
  fc.assert(
    fc.property(fc.array(event, { minLength: 1, maxLength: 30 }), fc.integer(), (events, seed) => {
      const old = new Agent();
      const results = events.map(([file, text]) => old.set(file, text));
      const last = [...new Map(events)].filter(([, text]) => text !== undefined);
      const shuffled = fc.sample(fc.shuffledSubarray(last, { minLength: last.length }), { seed, numRuns: 1 })[0] ?? [];
      const fresh = new Agent();
      const outcome = [['none.yaml', undefined] as const, ...shuffled]
        .map(([file, text]) => fresh.set(file, text))
        .at(-1);
      expect(outcome).toBe(results.at(-1));
    }),
    { numRuns: 200 },
  );
});
