/** Random conversations with a client that does what the protocol lets a client do; in the end it has what it should. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeTold, encodeSaid, type Said, type Told } from '../../test/lib/xds-client.ts';
import { ResourceCache } from './resource-cache.ts';
import { Stream } from './stream.ts';
import { CLUSTER_TYPE, ROUTE_TYPE } from './types.ts';

const TYPES = [CLUSTER_TYPE, ROUTE_TYPE] as const;
const NAMES = ['a', 'b', 'c'] as const;

/** Contents that no client takes. */
const isBad = (bytes: Uint8Array): boolean => Buffer.from(bytes).toString().startsWith('bad');

interface Wanted {
  wildcard: boolean;
  readonly names: Set<string>;
  /** Name -> version of what it took. */
  readonly has: Map<string, string>;
}

class Peer {
  readonly wanted = new Map<string, Wanted>();
  readonly #cache: ResourceCache;
  /** A refused response: its good part is taken, or none of it. */
  readonly #takesGoodPart: boolean;
  #inbox: Told[] = [];
  stream!: Stream;

  constructor(cache: ResourceCache, takesGoodPart: boolean) {
    this.#cache = cache;
    this.#takesGoodPart = takesGoodPart;
    this.connect();
  }

  connect(): void {
    this.stream?.close();
    this.#inbox = [];
    const stream = new Stream({
      cache: this.#cache,
      holdMs: 60_000,
      send: (bytes) => {
        if (this.stream === stream) this.#receive(decodeTold(bytes));
      },
      onAnswer: () => undefined,
      onProgress: () => undefined,
    });
    this.stream = stream;
    // A first request without names would ask for everything.
    const wanted = [...this.wanted].filter(([, { wildcard, names }]) => wildcard || names.size > 0);
    for (const [type_url, { wildcard, names, has }] of wanted)
      this.#say({
        type_url,
        resource_names_subscribe: wildcard ? ['*', ...names] : [...names],
        initial_resource_versions: Object.fromEntries(has),
      });
  }

  #say(request: Said): void {
    this.stream.receive(encodeSaid(request));
  }

  #receive(told: Told): void {
    expect(this.#inbox.filter(({ type_url }) => type_url === told.type_url)).toEqual([]);
    const all = [...told.resources.map(({ name }) => name), ...told.removed_resources];
    expect(new Set(all).size).toBe(all.length);
    this.#inbox.push(told);
  }

  subscribe(type_url: string, name: string): void {
    const wanted = this.wanted.get(type_url) ?? { wildcard: false, names: new Set(), has: new Map() };
    this.wanted.set(type_url, wanted);
    if (name === '*') wanted.wildcard = true;
    else wanted.names.add(name);
    this.#say({ type_url, resource_names_subscribe: [name] });
  }

  unsubscribe(type_url: string, name: string): void {
    const wanted = this.wanted.get(type_url);
    if (wanted === undefined || !(name === '*' ? wanted.wildcard : wanted.names.has(name))) return;
    if (name === '*') wanted.wildcard = false;
    else wanted.names.delete(name);
    for (const each of wanted.has.keys()) if (!wanted.wildcard && !wanted.names.has(each)) wanted.has.delete(each);
    this.#say({ type_url, resource_names_unsubscribe: [name] });
  }

  /** @returns whether there was anything to answer */
  answer(): boolean {
    const told = this.#inbox.shift();
    if (told === undefined) return false;
    const { type_url, nonce, resources, removed_resources } = told;
    const { wildcard, names, has } = this.wanted.get(type_url) as Wanted;
    const bad = resources.filter(({ resource }) => isBad(resource.value));
    if (bad.length === 0 || this.#takesGoodPart) {
      for (const { name, version, resource } of resources)
        if (!isBad(resource.value) && (wildcard || names.has(name))) has.set(name, version);
      for (const name of removed_resources) has.delete(name);
    }
    const refusal = bad.length > 0 ? { error_detail: { code: 13, message: 'bad' } } : {};
    this.#say({ type_url, response_nonce: nonce, ...refusal });
    return true;
  }
}

type Step =
  | { readonly do: 'set'; readonly type: string; readonly contents: Readonly<Record<string, string>> }
  | { readonly do: 'subscribe' | 'unsubscribe'; readonly type: string; readonly name: string }
  | { readonly do: 'answer' | 'reconnect' | 'pause' };

const type = fc.constantFrom(...TYPES);
const name = fc.constantFrom('*', '*', ...NAMES);
const contents = fc.dictionary(fc.constantFrom(...NAMES), fc.constantFrom('1', '2', '3', 'bad 1', 'bad 2'));
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('set' as const), type, contents }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('subscribe' as const), type, name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('unsubscribe' as const), type, name }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('answer' as const, 'pause' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reconnect' as const) }) },
);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function settle(peer: Peer): Promise<void> {
  for (let quiet = 0, steps = 0; quiet < 3; steps++) {
    expect(steps).toBeLessThan(1000);
    await turn();
    quiet = peer.answer() ? 0 : quiet + 1;
  }
}

test('whatever is said in between, in the end a client has what it wants, but for what it refuses', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.boolean(), async (steps, takesGoodPart) => {
      const cache = new ResourceCache();
      const peer = new Peer(cache, takesGoodPart);
      for (const each of steps) {
        if (each.do === 'set')
          cache.set(
            each.type,
            Object.entries(each.contents).map(([key, text]) => ({ name: key, bytes: Buffer.from(text) })),
          );
        else if (each.do === 'subscribe') peer.subscribe(each.type, each.name);
        else if (each.do === 'unsubscribe') peer.unsubscribe(each.type, each.name);
        else if (each.do === 'answer') peer.answer();
        else if (each.do === 'reconnect') peer.connect();
        else await turn();
        // A change of the cache reaches streams through the server.
        peer.stream.schedule();
      }
      await settle(peer);
      for (const [typeUrl, wanted] of peer.wanted) check(cache, peer.stream, typeUrl, wanted);
      peer.stream.close();
    }),
    { numRuns: 1000 },
  );
});

function check(cache: ResourceCache, stream: Stream, typeUrl: string, { wildcard, names, has }: Wanted): void {
  const content = cache.get(typeUrl);
  const subscription = stream.subscriptions.get(typeUrl);
  if (content === undefined || subscription === undefined) return;
  const wants: readonly string[] = NAMES.filter((each) => wildcard || names.has(each));
  const bad = wants.filter((each) => isBad(content.get(each)?.bytes ?? Buffer.of()));
  const got = Object.fromEntries([...has].filter(([each]) => !bad.includes(each)));
  const should = wants.flatMap((each) => {
    const resource = content.get(each);
    return resource === undefined || bad.includes(each) ? [] : [[each, resource.version]];
  });
  expect(got).toEqual(Object.fromEntries(should));
  // What we believe of the client is so.
  expect(Object.fromEntries([...subscription.held].filter(([each]) => !bad.includes(each)))).toEqual(got);
  expect([...subscription.refusals.keys()].sort()).toEqual(bad);
  expect(subscription.progress(cache.revision)).toBe(bad.length > 0 ? 'refused' : 'acknowledged');
}
