/**
 * Attempts to get past an HTTP rule. Each must end refused and named, or be shown harmless by the bytes that reached the
 * server, which keeps them all.
 */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import type { ObservedFlow } from '../../control-plane/demo/flows.ts';
import { inside, ipBatch, setSysctls } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { readFlowKey } from '../../control-plane/generated/bpf.ts';
import { ByteClient, ByteServer, type Exchange, type ForgedFrames, forge } from '../lib/bytes.ts';
import { HTTP_PORT } from '../lib/http.ts';
import { podName, System } from '../lib/system.ts';
import { gatewayMac, macOf, UPLINK, WORKLOAD_INTERFACE, type Workload } from '../lib/topology.ts';
import { FAMILIES, type Family, sendRaw } from '../lib/traffic.ts';

const ENVOY_PORT = 15001;
/** Of Envoy's own range. */
const LEG_PORT = 62_000;
const toPorts = (...http: readonly object[]): readonly object[] => [
  { ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: { http } },
];
const GET_API = toPorts({ method: 'GET', path: '/api/.*' });
const from = (app: string): object => ({ fromEndpoints: [{ matchLabels: { app } }] });

const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${headers}\r\n`;
const post = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n`;
const ALLOWED = get('/api/x');
const FORBIDDEN = post('/admin');

let system: System;
let client: Workload;
let server: Workload;
let stranger: Workload;
let backend: ByteServer;
let sender: ByteClient;

function guard(...ingress: readonly object[]): void {
  system.policy('guard', { endpointSelector: { matchLabels: { app: 'server' } }, ingress });
}

const RULES = [
  { ...from('client'), toPorts: GET_API },
  { ...from('limited'), toPorts: toPorts({ method: 'GET', path: '/limited' }) },
  { fromEntities: ['world'], toPorts: GET_API },
];

beforeAll(async () => {
  system = await System.create('bypass', ['--envoy-strict', 'true', '--envoy-idle-seconds', '1']);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  stranger = await system.pod('stranger', 'routed');
  backend = await ByteServer.start(server, HTTP_PORT);
  sender = ByteClient.start(client);
  guard(...RULES);
  system.policy('out', {
    endpointSelector: { matchLabels: { app: 'stranger' } },
    egress: [{ toPorts: toPorts({ method: 'GET' }) }],
  });
  await system.start();
});

afterAll(() => system?.remove());

/** Whatever a test does, nothing forbidden has arrived so far. */
afterEach(() => expect(backend.bytes()).not.toMatch(/admin|POST|stolen/));

/** Until an honest request of the client is answered so. */
async function inForce(status = '200'): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const { bytes } = await sender.exchange(server.ipv4, { port: HTTP_PORT, parts: [ALLOWED], quietMs: 150 });
    if (bytes.startsWith(`HTTP/1.1 ${status} `)) return;
    if (Date.now() > deadline) throw new Error(`no ${status} within 10 s, but: ${bytes}`);
  }
}

function flow(since: number, wanted: Partial<ObservedFlow>, words = ''): Promise<ObservedFlow> {
  return system.flow(
    `${JSON.stringify(wanted)} ${words}`,
    (each) =>
      each.time >= since - 20 &&
      each.raw.includes(words) &&
      Object.entries(wanted).every(([field, value]) => each[field as keyof ObservedFlow] === value),
  );
}

const envoyPid = async (): Promise<number | undefined> =>
  (JSON.parse((await system.agent.get('/v1/envoy')).body) as { pid?: number }).pid;

/** @returns its process id */
async function signalEnvoy(signal: 'SIGKILL' | 'SIGSTOP'): Promise<number> {
  const pid = await envoyPid();
  if (!pid) throw new Error('there is no Envoy');
  process.kill(pid, signal);
  return pid;
}

describe('while Envoy is not there', () => {
  test('from the moment that the agent is ready no byte passes', async () => {
    const outcomes: Exchange[] = [];
    do outcomes.push(await sender.exchange(server.ipv4, { port: HTTP_PORT, parts: [FORBIDDEN], quietMs: 100 }));
    while (!outcomes.at(-1)?.bytes.includes('403') && outcomes.length < 100);
    // Refused by a reset until Envoy listens, and by Envoy from then on.
    expect(outcomes.at(-1)?.bytes).toContain('Access denied');
    expect(backend.since()).toEqual([]);
    await inForce();
  });

  test('killed, flows are refused by name until it is back', async () => {
    const mark = backend.now;
    const since = Date.now();
    await signalEnvoy('SIGKILL');
    const outcomes: Exchange[] = [];
    do outcomes.push(await sender.exchange(server.ipv6, { port: HTTP_PORT, parts: [FORBIDDEN], quietMs: 100 }));
    while (!outcomes.at(-1)?.bytes.includes('403') && outcomes.length < 200);
    expect(outcomes[0]).toMatchObject({ bytes: '', how: expect.stringMatching(/ECONN(REFUSED|RESET)/) as string });
    await flow(since, { source: podName(client), dropReason: 'SOCKET_LOOKUP_FAILED', verdict: 'DROPPED' });
    expect(backend.bytes(mark)).toBe('');
  });

  test('stopped, requests wait in vain', async () => {
    await inForce();
    const mark = backend.now;
    const pid = await signalEnvoy('SIGSTOP');
    try {
      const ask = (family: Family): Promise<Exchange> =>
        sender.exchange(server[family], { port: HTTP_PORT, parts: [FORBIDDEN] });
      for (const { bytes, how } of await Promise.all(FAMILIES.map(ask))) {
        expect(bytes).toBe('');
        expect(how).toMatch(/quiet|FIN|ECONN/);
      }
      expect(backend.bytes(mark)).toBe('');
    } finally {
      // The manager ends it by itself.
      await expect.poll(envoyPid, { timeout: 5_000 }).not.toBe(pid);
    }
    await inForce();
  });

  test('and where there never is one, nothing passes either', async () => {
    await using without = await System.create('bypass-none', ['--envoy', '/nonexistent']);
    const [asker, asked] = [await without.pod('client', 'routed'), await without.pod('server', 'routed')];
    const bytes = await ByteServer.start(asked, HTTP_PORT);
    without.policy('guard', {
      endpointSelector: { matchLabels: { app: 'server' } },
      ingress: [{ ...from('client'), toPorts: GET_API }],
    });
    await without.start();
    const other = ByteClient.start(asker);
    for (const family of FAMILIES)
      expect(await other.exchange(asked[family], { port: HTTP_PORT, parts: [ALLOWED] })).toMatchObject({ bytes: '' });
    await without.flow('a refusal', ({ dropReason }) => dropReason === 'SOCKET_LOOKUP_FAILED');
    expect(bytes.since()).toEqual([]);
  });
});

describe('a process of the node that may set marks and take addresses', () => {
  beforeAll(() => inForce());

  const MARKS = [...Array.from({ length: 16 }, (_, i) => i << 8), 0x201, 0x4200, 0xf0000200, 0xffffffff];

  test.each(FAMILIES)('is the node with any mark, and no mark brings it to Envoy, over %s', async (family) => {
    const { node } = system.topology;
    const mark = backend.now;
    const since = Date.now();
    const forged = await forge(
      node,
      MARKS.map((each) => ({ how: 'connect', host: server[family], port: HTTP_PORT, mark: each, send: get(`/node`) })),
    );
    for (const [i, { result, bytes }] of forged.entries()) {
      // The steering mark leads to this node's own stack, where no flow is known that it could be.
      if (((MARKS[i] ?? 0) & 0xf00) === 0x200) expect(result).toMatch(/ConnectionRefusedError|OSError/);
      else expect(bytes).toBe('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
    }
    const opened = backend.since(mark).filter(({ event }) => event === 'opened');
    expect(new Set(opened.map(({ address }) => address))).toEqual(new Set([node[family]]));
    expect(await flow(since, { sourceAddress: node[family], destination: podName(server) }, '"reserved:host"'));
    const { stdout } = await system.agent.cli(['observe', '--type', 'l7', '--last', '50']);
    expect(stdout).not.toContain('/node');
  });

  test.each(['127.0.0.1', '::1'])('gets nothing from Envoy’s listener on %s', async (host) => {
    const mark = backend.now;
    const since = Date.now();
    const forged = await forge(
      system.topology.node,
      [0, 0x200, 0xf00].map((each) => ({ how: 'connect', host, port: ENVOY_PORT, mark: each, send: ALLOWED })),
    );
    for (const { bytes, port } of forged) {
      expect(bytes).toMatch(/^HTTP\/1\.1 403 /);
      await flow(since, { sourcePort: port, verdict: 'DROPPED' }, 'unknown connection');
    }
    expect(backend.since(mark)).toEqual([]);
  });

  test.each(FAMILIES)('has no connection with the address of a pod, over %s', async (family) => {
    const mark = backend.now;
    const since = Date.now();
    const forged = await forge(
      system.topology.node,
      [client, stranger].flatMap((pod, i) =>
        [0, 0x200].map((each) => ({
          how: 'connect',
          host: server[family],
          port: HTTP_PORT,
          mark: each,
          address: pod[family],
          sourcePort: 45_000 + i * 2 + (each && 1),
          send: ALLOWED,
        })),
      ),
    );
    expect(forged.map(({ result }) => result)).toEqual(Array(4).fill('TimeoutError'));
    await flow(since, { source: podName(stranger), dropReason: 'POLICY_DENIED' });
    expect(backend.since(mark)).toEqual([]);
  });
});

describe.each(FAMILIES)("Envoy's own connection, over %s", (family) => {
  beforeAll(() => inForce());

  /** The way there and back of connections between the client and the server. */
  const there = (leg: number) => ({ src: client[family], dst: server[family], sport: leg, dport: HTTP_PORT });
  const back = (leg: number) => ({ src: server[family], dst: client[family], sport: HTTP_PORT, dport: leg });

  test.each([
    ['the client, from its port', () => client, there, 'SOCKET_ASSIGN_FAILED'],
    ['another pod, as the client', () => stranger, there, 'INVALID_SOURCE_IP'],
    ['another pod, as the server that answers', () => stranger, back, 'INVALID_SOURCE_IP'],
    ['somebody beyond the uplink, as the client', () => system.topology.far, there, 'INVALID_SOURCE_IP'],
    ['somebody beyond the uplink, as the server that answers', () => system.topology.far, back, 'INVALID_SOURCE_IP'],
  ])('takes no packet of %s', async (_, attacker, way, dropReason) => {
    const by = attacker();
    const { held, leg, connection } = await proxied();
    const { node } = system.topology;
    const outside = by === system.topology.far;
    const dev = outside ? UPLINK : WORKLOAD_INTERFACE;
    const packet = {
      dev,
      'src-mac': await macOf(by.namespace, dev),
      'dst-mac': outside ? await macOf(node.namespace, UPLINK) : await gatewayMac(system.topology, by as Workload),
      seq: 1,
      ack: 1,
      ...way(leg),
    };
    for (const flags of ['S', 'PA', 'R']) {
      const since = Date.now();
      await sendRaw(by, { ...packet, flags, 'payload-size': flags === 'PA' ? 50 : 0 });
      const wanted = { sourceAddress: packet.src, sourcePort: packet.sport, destinationPort: packet.dport };
      await flow(since, { ...wanted, dropReason, verdict: 'DROPPED' });
    }
    // It has lived through that.
    const mark = backend.now;
    held.say(get('/api/after'));
    expect((await held.answer()).bytes.match(/200 OK/g)).toHaveLength(2);
    await backend.heard(mark, ({ event }) => event === 'bytes');
    expect(backend.since(mark)).toMatchObject([{ event: 'bytes', connection, port: leg }]);
    held.close();
  });

  /** A connection of the client's whose request has passed Envoy. */
  async function proxied() {
    const mark = backend.now;
    const held = sender.hold(server[family], { port: HTTP_PORT, parts: [ALLOWED] });
    await held.answer();
    const { port: leg, connection } = await backend.heard(mark, ({ event }) => event === 'bytes');
    expect(leg).toBeGreaterThanOrEqual(61_000);
    return { held, leg, connection };
  }

  test('shares its port with no connection of the client', async () => {
    const { held, leg } = await proxied();
    const since = Date.now();
    const own = await sender.exchange(server[family], { port: HTTP_PORT, localPort: leg, parts: [FORBIDDEN] });
    expect(own.bytes).toBe('');
    await flow(since, { source: podName(client), sourcePort: leg, dropReason: 'SOCKET_ASSIGN_FAILED' });
    held.close();
  });

  test('may have the very port that a client beyond the uplink has', async () => {
    const { node, far } = system.topology;
    const reserved = 'net/ipv4/ip_local_reserved_ports';
    await setSysctls(node.namespace, { [reserved]: `61000-${LEG_PORT - 1},${LEG_PORT + 1}-65535` });
    try {
      const mark = backend.now;
      const outside = ByteClient.start(far);
      const parts = [ALLOWED, get('/api/again'), FORBIDDEN];
      const { bytes } = await outside.exchange(server[family], { port: HTTP_PORT, localPort: LEG_PORT, parts });
      expect(bytes.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 403']);
      const arrived = backend.since(mark).filter(({ event }) => event === 'bytes');
      expect(arrived).toMatchObject(Array(2).fill({ address: far[family], port: LEG_PORT }));
    } finally {
      await setSysctls(node.namespace, { [reserved]: '' });
    }
  });
});

/** Deletes what the flow table says of connections, as its eviction does. @returns how many entries it were */
function evict(wanted: (leg: boolean, ports: readonly number[]) => boolean): number {
  const flows = openKernel().openMap(join(system.pins.maps, 'flows'));
  const { keys, count } = flows.dump();
  let evicted = 0;
  for (let i = 0; i < count; i++) {
    const key = keys.slice(i * flows.keySize, (i + 1) * flows.keySize);
    const { leg, lowPort, highPort } = readFlowKey(new DataView(key.buffer, key.byteOffset, key.byteLength));
    if (!wanted(leg !== 0, [lowPort, highPort])) continue;
    flows.delete(key);
    evicted++;
  }
  flows.close();
  return evicted;
}

describe('an entry of the flow table that is evicted', () => {
  beforeAll(() => inForce());

  test.each(FAMILIES)("in the middle of a download, Envoy's: its socket is asked, over %s", async (family) => {
    const mark = backend.now;
    const held = sender.hold(server[family], { port: HTTP_PORT, parts: [get('/api/stream')], quietMs: 500 });
    const { port: own } = await backend.heard(mark, ({ event }) => event === 'bytes');
    const isOwn = (leg: boolean, ports: readonly number[]): boolean => leg && ports.includes(own);
    await held.answer();
    expect(evict(isOwn)).toBe(1);
    const { bytes, length, how } = await held.ended();
    expect(how).toBe('quiet');
    expect(length - bytes.indexOf('\r\n\r\n') - 4).toBe(1_000_000);
    expect(evict(isOwn)).toBe(0);
  });

  test("in the middle of a download, the client's: it is cut, by name", async () => {
    const since = Date.now();
    const held = sender.hold(server.ipv4, { port: HTTP_PORT, parts: [get('/api/stream')] });
    const { port } = await held.answer();
    expect(evict((leg, ports) => !leg && ports.includes(port))).toBe(1);
    expect((await held.ended()).how).toBe('ECONNRESET');
    await flow(since, { dropReason: 'PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL', destinationPort: port });
  });

  test('of an idle connection: the next request goes on, judged as before', async () => {
    const held = sender.hold(server.ipv4, { port: HTTP_PORT, parts: [ALLOWED] });
    await held.answer();
    evict(() => true);
    held.say(get('/api/next'));
    await expect.poll(async () => (await held.answer()).bytes.match(/HTTP\/1\.1 \d+/g)).toHaveLength(2);
    held.say(FORBIDDEN);
    expect((await held.answer()).bytes).toMatch(/ok.*ok.*403 Forbidden/s);
  });

  test('of an idle connection that policy holds elsewhere by now: it is cut, by name', async () => {
    const since = Date.now();
    const held = sender.hold(server.ipv4, { port: HTTP_PORT, parts: [ALLOWED] });
    const { port } = await held.answer();
    // Another decision point: by the one that Envoy was told of, nothing is judged any more.
    guard({ ...from('nobody'), toPorts: GET_API }, { ...from('client'), toPorts: toPorts({ path: '/elsewhere' }) });
    try {
      await inForce('403');
      expect(evict((leg, ports) => !leg && ports.includes(port))).toBe(1);
      held.say(FORBIDDEN);
      expect((await held.ended()).how).toBe('ECONNRESET');
      await flow(since, { dropReason: 'PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL', sourcePort: port });
    } finally {
      guard(...RULES);
      await inForce();
    }
  });
});

describe("the node's own loopback", () => {
  let local: ByteServer;

  beforeAll(async () => {
    const { node } = system.topology;
    await inForce();
    // As kube-proxy does; without it the kernel itself refuses IPv4.
    await setSysctls(node.namespace, { 'net/ipv4/conf/all/route_localnet': 1 });
    local = await ByteServer.start(node, HTTP_PORT);
    const own = await forge(node, [{ how: 'connect', host: '::1', port: HTTP_PORT, send: ALLOWED }]);
    expect(own[0]?.bytes).toContain('200 OK');
  });

  afterAll(async () => {
    await setSysctls(system.topology.node.namespace, { 'net/ipv4/conf/all/route_localnet': 0 });
    await local?.stop();
  });

  test('is not reached through Envoy by a pod that sends to it out of its veth', async () => {
    const targets = [
      ['ipv6', '::1'],
      ['ipv6', '::'],
      ['ipv4', '127.0.0.1'],
      ['ipv4', '127.1.2.3'],
    ] as const;
    const mark = local.now;
    const since = Date.now();
    const link = await linkOf(stranger);
    const forged = await forge(
      stranger,
      targets.map(([family, destination], i) => ({
        ...link,
        source: stranger[family],
        destination,
        sourcePort: 46_000 + i,
        send: get('/secret'),
      })),
    );
    expect(forged.map(({ result }) => result)).toEqual(targets.map(() => 'silence'));
    for (const [i] of targets.entries())
      await flow(since, {
        source: podName(stranger),
        sourcePort: 46_000 + i,
        dropReason: 'INVALID_PACKET_DROPPED',
        verdict: 'DROPPED',
      });
    expect(local.since(mark)).toEqual([]);
  });
});

describe('an address that changes hands', () => {
  let owner: Workload;

  /** What this node holds with an address. */
  async function sockets(family: Family): Promise<string[]> {
    const { stdout } = await run('nsenter', inside(system.topology.node.namespace, ['ss', '-Htn']));
    return stdout.split('\n').filter((line) => line.includes(owner[family]));
  }

  async function handOver(name: string, app: string): Promise<void> {
    const before = owner.name;
    owner = await system.topology.replaceWorkload(owner, name);
    system.withdraw(before);
    system.announce(owner, app);
  }

  /** Connections over both families that nobody ends. @returns their ports */
  async function leave(path: string): Promise<Record<Family, number>> {
    const here = ByteClient.start(owner);
    const open = async (family: Family): Promise<number> =>
      (await here.hold(server[family], { port: HTTP_PORT, parts: [get(path)] }).answer()).port;
    const [ipv4, ipv6] = [await open('ipv4'), await open('ipv6')];
    for (const family of FAMILIES) expect((await sockets(family)).length).toBeGreaterThanOrEqual(2);
    return { ipv4, ipv6 };
  }

  test('brings its next owner nothing of the last one’s, even if it knows the ports', async () => {
    owner = await system.pod('first', 'routed', 'client');
    await inForce();
    const ports = await leave('/api/first');
    const mark = backend.now;
    const since = Date.now();
    await handOver('second', 'limited');
    for (const family of FAMILIES) await expect.poll(() => sockets(family), { timeout: 5_000 }).toEqual([]);

    // Its own kernel is not to answer what comes back.
    const holes = [`blackhole ${server.ipv4}/32`, `blackhole ${server.ipv6}/128`];
    await ipBatch(
      owner.namespace,
      holes.map((hole) => `route add ${hole}`),
    );
    const link = await linkOf(owner);
    const forged = await forge(
      owner,
      FAMILIES.map((family) => ({
        ...link,
        source: owner[family],
        destination: server[family],
        sourcePort: ports[family],
        send: get('/api/stolen'),
      })),
    );
    await ipBatch(
      owner.namespace,
      holes.map((hole) => `route del ${hole}`),
    );
    for (const { result, bytes, port } of forged) {
      expect(result).toBe('opened');
      expect(bytes).toMatch(/^HTTP\/1\.1 403 /);
      await flow(since, { source: podName(owner), sourcePort: port, verdict: 'DROPPED' }, 'guard');
    }
    expect(backend.since(mark).map(({ event }) => event)).toEqual(['closed', 'closed']);

    const second = ByteClient.start(owner);
    const parts = [ALLOWED, get('/limited')];
    const { bytes } = await second.exchange(server.ipv4, { port: HTTP_PORT, parts });
    expect(bytes.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 403', 'HTTP/1.1 200']);
    const arrived = backend.since(mark).filter(({ event }) => event !== 'closed');
    expect(arrived.map(({ event }) => event)).toEqual(['opened', 'bytes']);
    expect(arrived.at(-1)?.bytes).toMatch(/^GET \/limited /);
  });

  test('while no agent runs, too: the next one ends what is left', async () => {
    await leave('/limited');
    await system.agent.killHard();
    await handOver('third', 'stranger');
    for (const family of FAMILIES) expect((await sockets(family)).length).toBeGreaterThan(0);
    await system.start();
    for (const family of FAMILIES) await expect.poll(() => sockets(family), { timeout: 5_000 }).toEqual([]);
    const third = ByteClient.start(owner);
    const since = Date.now();
    const { bytes } = await third.exchange(server.ipv4, { port: HTTP_PORT, parts: [get('/limited')], quietMs: 1_000 });
    expect(bytes).toBe('');
    await flow(since, { source: podName(owner), dropReason: 'POLICY_DENIED' });
  });
});

async function linkOf(
  by: Workload,
): Promise<Pick<ForgedFrames, 'how' | 'device' | 'sourceMac' | 'destinationMac' | 'destinationPort'>> {
  return {
    how: 'raw',
    device: WORKLOAD_INTERFACE,
    sourceMac: await macOf(by.namespace, WORKLOAD_INTERFACE),
    destinationMac: await gatewayMac(system.topology, by),
    destinationPort: HTTP_PORT,
  };
}
