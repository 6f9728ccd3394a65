import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DeltaClient, type Told } from '../../test/lib/xds-client.ts';
import { GrpcServer } from './grpc-server.ts';
import { ResourceCache } from './resource-cache.ts';
import { type Ack, DeltaAdsServer, type Nack } from './server.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from './types.ts';

const NODE = { id: 'node-1', cluster: 'test' };
const HOLD_MS = 150;
const SECRET_TYPE = 'type.googleapis.com/test.Secret';

let folder: string;
let cache: ResourceCache;
let ads: DeltaAdsServer;
let grpc: GrpcServer;
let clients: DeltaClient[];
let acks: Ack[];
let nacks: Nack[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sst-xds-'));
  cache = new ResourceCache();
  clients = [];
  acks = [];
  nacks = [];
  await serve();
});

afterEach(() => {
  for (const client of clients) client.close();
  stop();
  rmSync(folder, { recursive: true });
});

async function serve(): Promise<void> {
  ads = new DeltaAdsServer(cache, { holdMs: HOLD_MS });
  ads.events.on('ack', (ack) => acks.push(ack));
  ads.events.on('nack', (nack) => nacks.push(nack));
  grpc = new GrpcServer({ path: join(folder, 'xds.sock'), mode: 0o600 });
  grpc.register(ads.service);
  await grpc.listen();
}

function stop(): void {
  ads.close();
  grpc.close();
}

function connect(): DeltaClient {
  const client = new DeltaClient(join(folder, 'xds.sock'));
  clients.push(client);
  return client;
}

function set(typeUrl: string, contents: Readonly<Record<string, string>>): number {
  return cache.set(
    typeUrl,
    Object.entries(contents).map(([name, text]) => ({ name, bytes: Buffer.from(text) })),
  );
}

const versionOf = (typeUrl: string, name: string): string => cache.get(typeUrl)?.get(name)?.version ?? 'none';
const names = ({ resources }: Told): string[] => resources.map(({ name }) => name);
const held = (typeUrl: string) => ads.clients()[0]?.types.find((type) => type.typeUrl === typeUrl)?.held;

/** A client that asked for all of a type and has it. */
async function settled(typeUrl: string): Promise<DeltaClient> {
  const client = connect();
  client.say({ type_url: typeUrl, node: NODE });
  client.ack(await client.heard());
  await ads.acknowledged(cache.revision, { types: [typeUrl], deadlineMs: 1000 });
  return client;
}

describe('what is asked for', () => {
  test('is sent with the hash of its content as version, as the bytes that were given', async () => {
    set(LISTENER_TYPE, { one: 'first', two: 'second' });
    const client = connect();
    client.say({ type_url: LISTENER_TYPE, node: NODE });
    const told = await client.heard();
    expect(told.type_url).toBe(LISTENER_TYPE);
    expect(told.resources).toMatchObject([
      { name: 'one', version: 'a7937b64b8caa58f', resource: { type_url: LISTENER_TYPE } },
      { name: 'two', version: '16367aacb67a4a01' },
    ]);
    expect(told.resources.map(({ resource }) => Buffer.from(resource.value).toString())).toEqual(['first', 'second']);
  });

  test('is sent again only where it has changed', async () => {
    set(CLUSTER_TYPE, { one: 'a', two: 'b', three: 'c' });
    const client = await settled(CLUSTER_TYPE);
    set(CLUSTER_TYPE, { one: 'a', two: 'B', three: 'c' });
    const told = await client.heard();
    expect([names(told), told.removed_resources]).toEqual([['two'], []]);
    client.ack(told);
    set(CLUSTER_TYPE, { one: 'a', two: 'B', three: 'c' });
    expect(await client.silence()).toEqual([]);
  });

  test('is taken back by name when it goes', async () => {
    set(CLUSTER_TYPE, { one: 'a', two: 'b' });
    const client = await settled(CLUSTER_TYPE);
    set(CLUSTER_TYPE, { two: 'b' });
    const told = await client.heard();
    expect([names(told), told.removed_resources]).toEqual([[], ['one']]);
    client.ack(told);
    await ads.acknowledged(cache.revision, { types: [CLUSTER_TYPE], deadlineMs: 1000 });
    expect([...(held(CLUSTER_TYPE) ?? [])]).toEqual([['two', versionOf(CLUSTER_TYPE, 'two')]]);
  });

  test('by name comes alone, and later when it does not exist yet', async () => {
    set(ROUTE_TYPE, { one: 'a', two: 'b' });
    const client = connect();
    client.say({ type_url: ROUTE_TYPE, node: NODE, resource_names_subscribe: ['two', 'later'] });
    const first = await client.heard();
    expect([names(first), first.removed_resources]).toEqual([['two'], ['later']]);
    client.ack(first);
    set(ROUTE_TYPE, { one: 'A', two: 'b', later: 'c' });
    expect(names(await client.heard())).toEqual(['later']);
  });

  test('again is answered again, though nothing has changed', async () => {
    set(ROUTE_TYPE, { one: 'a' });
    const client = connect();
    client.say({ type_url: ROUTE_TYPE, node: NODE, resource_names_subscribe: ['one'] });
    client.ack(await client.heard());
    client.say({ type_url: ROUTE_TYPE, resource_names_subscribe: ['one'] });
    expect(names(await client.heard())).toEqual(['one']);
  });

  test('no longer is not sent any more', async () => {
    set(ROUTE_TYPE, { one: 'a', two: 'b' });
    const client = connect();
    client.say({ type_url: ROUTE_TYPE, node: NODE, resource_names_subscribe: ['one', 'two'] });
    client.ack(await client.heard(), { resource_names_unsubscribe: ['one'] });
    set(ROUTE_TYPE, { one: 'A', two: 'b' });
    expect(await client.silence()).toEqual([]);
    set(ROUTE_TYPE, { two: 'B' });
    const told = await client.heard();
    expect([names(told), told.removed_resources]).toEqual([['two'], []]);
  });

  test('by name, taken back while all is wanted, is answered with what holds for it', async () => {
    set(CLUSTER_TYPE, { one: 'a', two: 'b' });
    const client = connect();
    client.say({ type_url: CLUSTER_TYPE, node: NODE, resource_names_subscribe: ['*', 'one', 'none'] });
    const first = await client.heard();
    expect([names(first), first.removed_resources]).toEqual([['one', 'two'], ['none']]);
    client.ack(first, { resource_names_unsubscribe: ['one'] });
    expect(names(await client.heard())).toEqual(['one']);
  });

  test('without names is everything for listeners and clusters, and nothing for routes', async () => {
    set(ROUTE_TYPE, { one: 'a' });
    set(LISTENER_TYPE, {});
    const client = connect();
    client.say({ type_url: ROUTE_TYPE, node: NODE });
    expect(await client.silence()).toEqual([]);
    client.say({ type_url: LISTENER_TYPE });
    // A client waits for its first answer, even if that says: nothing.
    expect(await client.heard()).toMatchObject({ type_url: LISTENER_TYPE, resources: [], removed_resources: [] });
  });

  test('is not answered before anything is known about the type', async () => {
    const client = connect();
    client.say({ type_url: LISTENER_TYPE, node: NODE, initial_resource_versions: { one: 'x' } });
    expect(await client.silence()).toEqual([]);
    set(LISTENER_TYPE, { two: 'b' });
    const told = await client.heard();
    expect([names(told), told.removed_resources]).toEqual([['two'], ['one']]);
  });

  test('by one who says nonsense ends that stream and no other', async () => {
    set(CLUSTER_TYPE, { one: 'a' });
    const good = await settled(CLUSTER_TYPE);
    const bad = connect();
    bad.sayBytes(Buffer.from([0x12, 0xff]));
    await expect(bad.heard()).rejects.toThrow('the stream has ended');
    expect(bad.ended).toMatchObject({ code: 3 });
    set(CLUSTER_TYPE, { one: 'A' });
    expect(names(await good.heard())).toEqual(['one']);
  });
});

describe('one response at a time', () => {
  test('changes meanwhile are gathered into the next', async () => {
    set(CLUSTER_TYPE, { one: '0' });
    const client = connect();
    client.say({ type_url: CLUSTER_TYPE, node: NODE });
    const first = await client.heard();
    for (let i = 1; i <= 50; i++) {
      set(CLUSTER_TYPE, { one: String(i), [`more-${i}`]: 'x' });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.silence()).toEqual([]);
    client.ack(first);
    const second = await client.heard();
    expect([names(second), second.removed_resources]).toEqual([['one', 'more-50'], []]);
    expect(Buffer.from(second.resources[0]?.resource.value ?? []).toString()).toBe('50');
  });

  test('an answer to an old one counts for nothing but its edits', async () => {
    set(ROUTE_TYPE, { one: 'a', two: 'b' });
    const client = connect();
    client.say({ type_url: ROUTE_TYPE, node: NODE, resource_names_subscribe: ['one'] });
    const first = await client.heard();
    client.say({ type_url: ROUTE_TYPE, response_nonce: 'stale', resource_names_subscribe: ['two'] });
    expect(await client.silence()).toEqual([]);
    expect(acks).toEqual([]);
    client.ack(first);
    expect(names(await client.heard())).toEqual(['two']);
  });

  test('5,000 resources: one edit sends one', async () => {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`r${i}`, `content ${i}`]));
    set(CLUSTER_TYPE, many);
    const client = await settled(CLUSTER_TYPE);
    set(CLUSTER_TYPE, { ...many, r4711: 'edited' });
    const told = await client.heard();
    expect([names(told), told.removed_resources]).toEqual([['r4711'], []]);
  });
});

describe('a refusal', () => {
  test('leaves the last acknowledged version in sight, is told in its words, and is not repeated', async () => {
    set(ROUTE_TYPE, { one: 'good' });
    const client = connect();
    client.say({ type_url: ROUTE_TYPE, node: NODE, resource_names_subscribe: ['one'] });
    client.ack(await client.heard());
    const good = versionOf(ROUTE_TYPE, 'one');
    const revision = set(ROUTE_TYPE, { one: 'bad' });
    client.nack(await client.heard(), 'no such thing');
    const bad = versionOf(ROUTE_TYPE, 'one');
    const rejection = { stream: 1, typeUrl: ROUTE_TYPE, name: 'one', version: bad, message: 'no such thing' };
    expect(await ads.acknowledged(revision, { types: [ROUTE_TYPE], deadlineMs: 1000 })).toEqual({
      outcome: 'rejected',
      clients: 1,
      rejections: [rejection],
    });
    expect(nacks).toMatchObject([{ names: ['one'], message: 'no such thing', code: 13, client: { node: NODE } }]);
    expect(ads.clients()[0]?.types[0]).toMatchObject({ held: new Map([['one', good]]), rejections: [rejection] });
    set(ROUTE_TYPE, { one: 'bad', two: 'unrelated' });
    expect(await client.silence()).toEqual([]);
  });

  test('is over when the content is mended', async () => {
    set(CLUSTER_TYPE, { one: 'bad' });
    const client = connect();
    client.say({ type_url: CLUSTER_TYPE, node: NODE });
    client.nack(await client.heard(), 'bad');
    await expect.poll(() => nacks.length).toBe(1);
    const revision = set(CLUSTER_TYPE, { one: 'mended' });
    client.ack(await client.heard());
    const answer = await ads.acknowledged(revision, { types: [CLUSTER_TYPE], deadlineMs: 1000 });
    expect(answer).toEqual({ outcome: 'acknowledged', clients: 1, rejections: [] });
  });

  test('is over when the content is again what the client has, and nothing is sent', async () => {
    set(CLUSTER_TYPE, { one: 'good' });
    const client = await settled(CLUSTER_TYPE);
    set(CLUSTER_TYPE, { one: 'bad' });
    client.nack(await client.heard(), 'bad');
    await expect.poll(() => nacks.length).toBe(1);
    const revision = set(CLUSTER_TYPE, { one: 'good' });
    const answer = await ads.acknowledged(revision, { types: [CLUSTER_TYPE], deadlineMs: 1000 });
    expect(answer.outcome).toBe('acknowledged');
    expect(await client.silence()).toEqual([]);
  });

  test('is over when the resource that was refused goes', async () => {
    set(CLUSTER_TYPE, { good: 'a', bad: 'b' });
    const client = connect();
    client.say({ type_url: CLUSTER_TYPE, node: NODE });
    client.nack(await client.heard(), 'one of these is bad');
    client.ack(await client.heard());
    client.nack(await client.heard(), 'bad is bad');
    await expect.poll(() => nacks.length).toBe(1);
    const revision = set(CLUSTER_TYPE, { good: 'a' });
    const answer = await ads.acknowledged(revision, { types: [CLUSTER_TYPE], deadlineMs: 1000 });
    expect(answer.outcome).toBe('acknowledged');
  });

  test('of many takes the response apart until the bad ones stand alone, and every good one arrives', async () => {
    const contents = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`r${i}`, `content ${i}`]));
    const bad = new Set(['r17', 'r18', 'r99']);
    const revision = set(CLUSTER_TYPE, contents);
    const client = connect();
    client.say({ type_url: CLUSTER_TYPE, node: NODE });
    let responses = 0;
    const answering = (async () => {
      for (;;) {
        const told = await client.heard(300);
        responses++;
        const [first] = names(told).filter((name) => bad.has(name));
        // All or nothing, and only one is ever named.
        if (first === undefined) client.ack(told);
        else client.nack(told, `${first} is bad`);
      }
    })();
    const answer = await ads.acknowledged(revision, { types: [CLUSTER_TYPE], deadlineMs: 2000 });
    expect(answer.outcome).toBe('rejected');
    expect(answer.rejections.map(({ name, message }) => [name, message])).toEqual(
      [...bad].map((name) => [name, `${name} is bad`]),
    );
    expect(nacks.map((nack) => nack.names)).toEqual([...bad].map((name) => [name]));
    expect(held(CLUSTER_TYPE)?.size).toBe(97);
    expect(responses).toBeLessThan(2 * bad.size * 7 + 1);
    await expect(answering).rejects.toThrow('nothing was said');
  });
});

describe('who comes back', () => {
  test('is told only what differs from what it has', async () => {
    set(CLUSTER_TYPE, { same: 'a', changed: 'b', gone: 'c' });
    const initial_resource_versions = Object.fromEntries(
      ['same', 'changed', 'gone'].map((name) => [name, versionOf(CLUSTER_TYPE, name)]),
    );
    stop();
    set(CLUSTER_TYPE, { same: 'a', changed: 'B', new: 'd' });
    await serve();
    const client = connect();
    client.say({ type_url: CLUSTER_TYPE, node: NODE, initial_resource_versions });
    const told = await client.heard();
    expect([names(told), told.removed_resources]).toEqual([['changed', 'new'], ['gone']]);
  });

  test('and has everything is told nothing, and counts as having acknowledged it', async () => {
    set(CLUSTER_TYPE, { one: 'a' });
    const revision = set(ROUTE_TYPE, { two: 'b' });
    const client = connect();
    client.say({
      type_url: CLUSTER_TYPE,
      node: NODE,
      initial_resource_versions: { one: versionOf(CLUSTER_TYPE, 'one') },
    });
    client.say({
      type_url: ROUTE_TYPE,
      resource_names_subscribe: ['two'],
      initial_resource_versions: { two: versionOf(ROUTE_TYPE, 'two') },
    });
    const types = [CLUSTER_TYPE, ROUTE_TYPE];
    expect(await ads.acknowledged(revision, { types, deadlineMs: 1000 })).toMatchObject({ outcome: 'acknowledged' });
    expect(await client.silence()).toEqual([]);
  });
});

describe('the order', () => {
  const all = (text: string): void => {
    // The worst order to set them in.
    for (const type of [ROUTE_TYPE, LISTENER_TYPE, ENDPOINT_TYPE, CLUSTER_TYPE]) set(type, { x: text, [text]: text });
  };

  async function subscribed(): Promise<DeltaClient> {
    all('0');
    const client = connect();
    for (const type_url of [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE]) {
      client.say({ type_url, node: NODE, resource_names_subscribe: ['*'] });
      client.ack(await client.heard());
    }
    await ads.acknowledged(cache.revision, { types: [ROUTE_TYPE], deadlineMs: 1000 });
    return client;
  }

  test('clusters and endpoints first, listeners and routes when those are acknowledged, removals last', async () => {
    const client = await subscribed();
    all('1');
    const [cluster, endpoint] = [await client.heard(), await client.heard()];
    expect([cluster.type_url, endpoint.type_url]).toEqual([CLUSTER_TYPE, ENDPOINT_TYPE]);
    expect(await client.silence(HOLD_MS / 3)).toEqual([]);
    client.ack(endpoint);
    client.ack(cluster);
    const [listener, route] = [await client.heard(), await client.heard()];
    expect([listener.type_url, route.type_url]).toEqual([LISTENER_TYPE, ROUTE_TYPE]);
    expect([cluster, endpoint].map((told) => told.removed_resources)).toEqual([[], []]);
    client.ack(route);
    client.ack(listener);
    const last = [await client.heard(), await client.heard()];
    expect(last.map((told) => [told.type_url, told.removed_resources, told.resources])).toEqual([
      [CLUSTER_TYPE, ['0'], []],
      [ENDPOINT_TYPE, ['0'], []],
    ]);
  });

  test('does not hold routes back for long: they may forbid something', async () => {
    const client = await subscribed();
    all('1');
    await client.heard();
    await client.heard();
    const start = performance.now();
    expect((await client.heard()).type_url).toBe(LISTENER_TYPE);
    expect((await client.heard()).type_url).toBe(ROUTE_TYPE);
    expect(performance.now() - start).toBeLessThan(HOLD_MS * 3);
  });

  test('never holds back what clusters may need', async () => {
    const client = await subscribed();
    set(SECRET_TYPE, { key: 'a' });
    client.say({ type_url: SECRET_TYPE, resource_names_subscribe: ['key'] });
    client.ack(await client.heard());
    all('1');
    set(SECRET_TYPE, { key: 'b' });
    const types = [await client.heard(), await client.heard(), await client.heard()].map((told) => told.type_url);
    expect(types).toEqual([CLUSTER_TYPE, ENDPOINT_TYPE, SECRET_TYPE]);
  });
});

describe('a revision', () => {
  const types = [CLUSTER_TYPE];

  test('is acknowledged when every client has it', async () => {
    set(CLUSTER_TYPE, { one: 'a' });
    const [first, second] = [await settled(CLUSTER_TYPE), await settled(CLUSTER_TYPE)];
    const revision = set(CLUSTER_TYPE, { one: 'b' });
    const answer = ads.acknowledged(revision, { types, deadlineMs: 2000 });
    first.ack(await first.heard());
    await expect.poll(() => acks.length).toBe(3);
    expect(ads.progress(revision, types)).toMatchObject({ outcome: 'pending', clients: 2 });
    second.ack(await second.heard());
    expect(await answer).toEqual({ outcome: 'acknowledged', clients: 2, rejections: [] });
  });

  test('is pending without any client, and until a client has asked for every type that counts', async () => {
    const revision = set(CLUSTER_TYPE, { one: 'a' });
    expect(await ads.acknowledged(revision, { types, deadlineMs: 30 })).toMatchObject({
      outcome: 'pending',
      clients: 0,
    });
    await settled(CLUSTER_TYPE);
    const both = [CLUSTER_TYPE, LISTENER_TYPE];
    expect(await ads.acknowledged(revision, { types: both, deadlineMs: 30 })).toMatchObject({ outcome: 'pending' });
    expect(ads.progress(revision, types).outcome).toBe('acknowledged');
  });

  test('no longer waits for a client that has gone', async () => {
    set(CLUSTER_TYPE, { one: 'a' });
    const [first, second] = [await settled(CLUSTER_TYPE), await settled(CLUSTER_TYPE)];
    const revision = set(CLUSTER_TYPE, { one: 'b' });
    first.ack(await first.heard());
    const answer = ads.acknowledged(revision, { types, deadlineMs: 2000 });
    second.close();
    expect(await answer).toMatchObject({ outcome: 'acknowledged', clients: 1 });
  });

  test('is reached under changes that never stop', async () => {
    set(CLUSTER_TYPE, { one: 'a' });
    const client = await settled(CLUSTER_TYPE);
    const revision = set(CLUSTER_TYPE, { one: 'b' });
    const told = await client.heard();
    const answer = ads.acknowledged(revision, { types, deadlineMs: 2000 });
    set(CLUSTER_TYPE, { one: 'c' });
    client.ack(told);
    expect(await answer).toMatchObject({ outcome: 'acknowledged' });
  });

  test('tells who comes, who goes and who acknowledges what', async () => {
    const seen: string[] = [];
    ads.events.on('opened', ({ stream, node }) => seen.push(`opened ${stream} ${node.id}`));
    ads.events.on('closed', ({ stream }) => seen.push(`closed ${stream}`));
    set(CLUSTER_TYPE, { one: 'a' });
    const client = await settled(CLUSTER_TYPE);
    expect(acks).toMatchObject([
      { typeUrl: CLUSTER_TYPE, versions: new Map([['one', versionOf(CLUSTER_TYPE, 'one')]]), client: { stream: 1 } },
    ]);
    client.close();
    await expect.poll(() => seen).toEqual(['opened 1 node-1', 'closed 1']);
    expect(ads.clients()).toEqual([]);
  });
});

describe('the socket', () => {
  test('has the permissions asked for, and takes the place of a dead one', async () => {
    const path = join(folder, 'xds.sock');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const other = new GrpcServer({ path });
    await other.listen();
    other.close();
  });

  test('never takes the place of a file', async () => {
    const path = join(folder, 'file');
    writeFileSync(path, 'precious');
    await expect(new GrpcServer({ path }).listen()).rejects.toThrow('is there and is not a socket');
    expect(statSync(path).isFile()).toBe(true);
  });

  test('with a path that is too long is refused by name', async () => {
    const path = join(folder, 'x'.repeat(120));
    await expect(new GrpcServer({ path }).listen()).rejects.toThrow("a socket's path has at most 107 bytes");
  });
});
