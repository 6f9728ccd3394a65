/** The tunnel over a kernel in memory: the order in which it is made, what is put back, and what happens when it is lost. */
import { beforeEach, describe, expect, test } from 'vitest';
import { MemoryKernel } from '../datapath/memory.ts';
import { SidestepError } from '../model/error.ts';
import { FakeClock } from '../model/fake-clock.ts';
import { KernelEngine } from './kernel.ts';
import { newKeys, publicKeyOf, type TunnelKeys } from './keys.ts';
import { MARK_OUTER, TABLE_TUNNEL } from './numbers.ts';
import type { Machine } from './ports.ts';
import { parseTunnelPrefix, prefixText } from './prefixes.ts';
import { TunnelRoutes } from './routes.ts';
import type { TunnelStatus } from './status.ts';
import { SupervisedTunnel } from './supervised.ts';
import type { TunnelPeer } from './tunnel.ts';

const NAME = 'swg-test';
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const PRIVATE = key(0x48);

/** The kernel's device, which can be told to be in trouble as a process can. */
class FakeEngine extends KernelEngine {
  readonly calls: string[];
  ended: SidestepError | undefined;
  unable: SidestepError | undefined;
  silent = false;
  busy = false;

  constructor(kernel: MemoryKernel) {
    super(kernel, NAME);
    this.calls = kernel.journal;
  }

  override async start(): Promise<'found' | 'made'> {
    this.calls.push('start');
    if (this.unable) throw this.unable;
    this.ended = undefined;
    return super.start();
  }
  override trouble(): SidestepError | undefined {
    return this.ended;
  }
  override async state() {
    if (this.silent) throw new SidestepError('TUNNEL_FAILED', 'no answer');
    return super.state();
  }
  override async listening(): Promise<void> {
    this.calls.push('listening');
    if (this.busy) throw new SidestepError('TUNNEL_PORT_BUSY', 'taken');
  }
  override lastWords(): readonly string[] {
    return ['its last line'];
  }
  override async stop(): Promise<void> {
    this.calls.push('stop');
    await super.stop();
  }
}

class FakeMachine implements Machine {
  readonly #kernel: MemoryKernel;
  constructor(kernel: MemoryKernel) {
    this.#kernel = kernel;
  }
  settings(): string[] {
    return [];
  }
  hasDevice(name: string): boolean {
    return this.#kernel.own.some((each) => each.name === name);
  }
  random(): number {
    return 1;
  }
}

let kernel: MemoryKernel;
let clock: FakeClock;
let engine: FakeEngine;
let tunnel: SupervisedTunnel;
let changes: TunnelStatus[];
let store: (keys: TunnelKeys) => void;

function open(): SupervisedTunnel {
  engine = new FakeEngine(kernel);
  return new SupervisedTunnel(
    {
      kernel,
      engine,
      routes: new TunnelRoutes(kernel, 'test', NAME, [4, 6]),
      keys: { privateKey: PRIVATE, publicKey: publicKeyOf(PRIVATE), since: 0 },
      storeKeys: (keys) => store(keys),
      machine: new FakeMachine(kernel),
      clock,
      log: { info: () => undefined, warn: () => undefined },
    },
    { name: NAME, port: 51871, changed: (status) => changes.push(status) },
  );
}

beforeEach(() => {
  kernel = new MemoryKernel();
  clock = new FakeClock();
  changes = [];
  store = () => undefined;
  tunnel = open();
});

const peer = (byte: number, allowed: readonly string[], keepalive = 0): TunnelPeer => ({
  publicKey: key(byte),
  presharedKey: key(byte + 100),
  endpoint: { address: `192.0.2.${byte}`, port: 51871 },
  allowed: allowed.map(parseTunnelPrefix),
  keepalive,
});
const device = () => kernel.own.find(({ name }) => name === NAME);
const lose = (): void => {
  kernel.deleteLink(device()?.ifindex ?? 0);
  engine.ended = new SidestepError('TUNNEL_FAILED', 'wireguard-go (pid 7) has ended by signal 9');
};
const routes = (): string[] =>
  ([4, 6] as const).map((family) =>
    kernel
      .routes(family, TABLE_TUNNEL)
      .map(({ unreachable }) => (unreachable ? 'unreachable' : 'device'))
      .sort()
      .join(),
  );
const peersThere = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await engine.state()).peers.map((each) => [each.publicKey[0], each.allowed.map(prefixText).sort().join(' ')]),
  );

describe('at start', () => {
  test('"unreachable" and the rule come first, the route by the device last', async () => {
    const mended = await tunnel.ensure();
    const steps = kernel.journal.map((line) => line.replace(/1000/g, 'N'));
    expect(steps).toEqual([
      'route 4 add 2005 unreachable',
      'rule 4 add 10: 1280/3840 -> 2005',
      'route 6 add 2005 unreachable',
      'rule 6 add 10: 1280/3840 -> 2005',
      `packet table sidestep-test-tunnel: in 1280/3840 ${NAME}, out 1280/3840, stay , 1280/3840 by swg-test only`,
      'start',
      `device ${NAME} add wireguard`,
      'device N address 192.0.0.8',
      `wireguard ${NAME} set 51871`,
      'device N up 1420',
      'listening',
      'route 4 add 2005 device N metric 1',
      'route 6 add 2005 device N metric 1',
    ]);
    expect(mended).toContain(`device ${NAME}`);
    expect(mended).toContain(`IPv6 route by ${NAME} in table 2005`);
    expect(tunnel.ifindex).toBe(1000);
    expect(kernel.wireguards.get(NAME)).toMatchObject({ port: 51871, fwmark: MARK_OUTER });
    expect(changes).toMatchObject([{ state: 'up', ifindex: 1000, adopted: false, mtu: 1420 }]);
  });

  test('what fails leaves marked packets refused, and is tried again with growing pauses', async () => {
    engine.unable = new SidestepError('TUNNEL_UNAVAILABLE', 'no program');
    await expect(tunnel.ensure()).rejects.toMatchObject({ code: 'TUNNEL_UNAVAILABLE' });
    expect(routes()).toEqual(['unreachable', 'unreachable']);
    expect(tunnel.status()).toMatchObject({
      state: 'down',
      ifindex: 0,
      lastFailure: { code: 'TUNNEL_UNAVAILABLE', lastWords: ['its last line'] },
    });
    const starts = () => kernel.journal.filter((line) => line === 'start').length;
    for (const [pause, count] of [
      [99, 1],
      [1, 2],
      [199, 2],
      [1, 3],
      [400, 4],
    ] as const) {
      await clock.advance(pause);
      expect(starts()).toBe(count);
    }
    for (let i = 0; i < 20; i++) await clock.advance(10_000);
    expect(starts()).toBeGreaterThan(20);
    engine.unable = undefined;
    await clock.advance(10_000);
    expect(tunnel.status()).toMatchObject({ state: 'up', restarts: 0 });
    expect(routes()).toEqual(['device,unreachable', 'device,unreachable']);
  });

  test('a taken port is named', async () => {
    engine.busy = true;
    await expect(tunnel.ensure()).rejects.toMatchObject({ code: 'TUNNEL_PORT_BUSY' });
    expect(routes()).toEqual(['unreachable', 'unreachable']);
  });

  test.each([
    [
      'a route of another',
      () =>
        kernel.tables[6].set(TABLE_TUNNEL, [
          { local: false, unreachable: false, prefixLength: 0, ifindex: 3, metric: 0 },
        ]),
    ],
    [
      'a rule that takes the mark first',
      () => kernel.ensureRule(4, { fwmark: 0x100, mask: 0x100, table: 77, priority: 5 }),
    ],
  ])('%s is a conflict, and named', async (_, make) => {
    make();
    await expect(tunnel.ensure()).rejects.toMatchObject({ code: 'TUNNEL_ROUTING_CONFLICT' });
    expect(device()).toBeUndefined();
  });

  test.each([
    { fwmark: 0x200, mask: 0xf00, table: 2004, priority: 9 },
    { fwmark: 0x100, mask: 0x100, table: 77, priority: 11 },
    { fwmark: 0, mask: 0, table: 255, priority: 0 },
    { fwmark: 0x80000, mask: 0xff0000, table: 52, priority: 1 },
  ])('a rule that does not is none: %o', async (rule) => {
    kernel.ensureRule(4, rule);
    await tunnel.ensure();
    expect(tunnel.ifindex).not.toBe(0);
  });
});

describe('while it is up', () => {
  beforeEach(async () => {
    await tunnel.ensure();
  });

  test('asking again finds nothing missing', async () => {
    await tunnel.setPeer(peer(1, ['10.0.0.1/32']));
    expect(await tunnel.ensure()).toEqual([]);
    expect(changes).toHaveLength(1);
  });

  test.each([
    ['the rule', () => kernel.policyRules[4].splice(0), 'IPv4 rule for table 2005'],
    ['"unreachable"', () => kernel.removeUnreachableRoute(6, TABLE_TUNNEL), 'IPv6 "unreachable" in table 2005'],
    [
      'the route',
      () => kernel.removeDeviceRoute(4, TABLE_TUNNEL, tunnel.ifindex),
      `IPv4 route by ${NAME} in table 2005`,
    ],
    ['the nftables table', () => kernel.packetTables.clear(), 'nftables table inet sidestep-test-tunnel'],
    ['the MTU', () => kernel.setLinkUp(tunnel.ifindex, 9000), `${NAME} up with MTU 1420`],
    ['a peer', () => kernel.removeWireGuardPeer(NAME, key(1)), `peer ${Buffer.from(key(1)).toString('base64')}`],
  ])('%s is put back, and named', async (_, takeAway, name) => {
    await tunnel.setPeer(peer(1, ['10.0.0.1/32']));
    takeAway();
    expect(await tunnel.ensure()).toEqual([name]);
    expect(await tunnel.ensure()).toEqual([]);
  });

  test('a peer that no session has brought is taken away', async () => {
    kernel.setWireGuardPeer(NAME, {
      publicKey: key(9),
      presharedKey: key(9),
      address: '192.0.2.9',
      port: 1,
      keepalive: 0,
      allowed: [],
      lost: [],
    });
    expect(await tunnel.ensure()).toEqual([expect.stringContaining('that no session has brought')]);
    expect(await peersThere()).toEqual({});
  });

  test('a peer keeps what stays and loses what goes', async () => {
    await tunnel.setPeer(peer(1, ['10.0.0.1/32', '10.0.0.2/32']));
    await tunnel.setPeer(peer(1, ['10.0.0.2/32', '10.0.0.3/32']));
    expect(await peersThere()).toEqual({ 1: '10.0.0.2/32 10.0.0.3/32' });
    expect(await tunnel.peers()).toHaveLength(1);
    await tunnel.removePeer(key(1));
    await tunnel.removePeer(key(1));
    expect(await tunnel.peers()).toEqual([]);
  });

  test('a prefix of one peer is refused to another, not moved', async () => {
    await tunnel.setPeer(peer(1, ['10.0.0.1/32']));
    await expect(tunnel.setPeer(peer(2, ['10.0.0.2/32', '10.0.0.1/32']))).rejects.toMatchObject({
      code: 'TUNNEL_PREFIX_CONFLICT',
    });
    expect(await peersThere()).toEqual({ 1: '10.0.0.1/32' });
    await tunnel.setPeer(peer(1, []));
    await tunnel.setPeer(peer(2, ['10.0.0.1/32']));
    expect(await peersThere()).toEqual({ 1: '', 2: '10.0.0.1/32' });
  });

  test.each([
    ['an endpoint with more in it', { endpoint: { address: '192.0.2.1\nprivate_key=00', port: 1 } }],
    ['a name for an address', { endpoint: { address: 'host', port: 1 } }],
    ['a port that is none', { endpoint: { address: '192.0.2.1', port: 0 } }],
    ['the key of this node', { publicKey: publicKeyOf(PRIVATE) }],
    ['a short key', { publicKey: key(1).slice(1) }],
    ['a long preshared key', { presharedKey: new Uint8Array(33) }],
    ['a keepalive that is none', { keepalive: 1.5 }],
  ])('a peer with %s is none', async (_, wrong) => {
    await expect(tunnel.setPeer({ ...peer(1, []), ...wrong })).rejects.toMatchObject({ code: 'TUNNEL_REFUSED' });
    expect(await peersThere()).toEqual({});
  });

  test('a peer behind a smaller underlay makes the tunnel smaller', async () => {
    kernel.addDevice('eth1', '');
    const ifindex = kernel.own.find(({ name }) => name === 'eth1')?.ifindex ?? 0;
    kernel.setLinkUp(ifindex, 1460);
    kernel.ways.set('192.0.2.1', { ifindex, mtu: undefined });
    kernel.ways.set('192.0.2.2', { ifindex, mtu: 1440 });
    await tunnel.setPeer(peer(1, []));
    expect(device()?.mtu).toBe(1380);
    await tunnel.setPeer(peer(2, []));
    expect(device()?.mtu).toBe(1360);
    await tunnel.removePeer(key(2));
    await tunnel.ensure();
    expect(device()?.mtu).toBe(1380);
    kernel.setLinkUp(ifindex, 1300);
    await tunnel.ensure();
    expect(device()?.mtu).toBe(1280);
  });
});

describe('when it is lost', () => {
  beforeEach(async () => {
    await tunnel.ensure();
    await tunnel.setPeer(peer(1, ['10.0.0.1/32'], 25));
    await tunnel.setPeer(peer(2, ['10.0.0.2/32']));
  });

  test('it says so, refuses, and comes back with all its peers, each woken', async () => {
    lose();
    kernel.journal.length = 0;
    await clock.advance(200);
    expect(changes.at(-1)).toMatchObject({
      state: 'down',
      ifindex: 0,
      lastFailure: { message: 'wireguard-go (pid 7) has ended by signal 9', lastWords: ['its last line'] },
    });
    expect(routes()).toEqual(['unreachable', 'unreachable']);
    expect(await tunnel.peers()).toEqual([]);
    await clock.advance(100);
    expect(changes.at(-1)).toMatchObject({ state: 'up', restarts: 1, adopted: false });
    expect(tunnel.ifindex).toBe(device()?.ifindex);
    expect(tunnel.ifindex).not.toBe(1000);
    expect(await peersThere()).toEqual({ 1: '10.0.0.1/32', 2: '10.0.0.2/32' });
    expect((await engine.state()).peers.map(({ keepalive }) => keepalive)).toEqual([25, 0]);
    // Twice for the one that asks for no signs of life: with them first, so that a handshake begins.
    expect(kernel.journal.filter((line) => line.includes('peer 02'))).toHaveLength(2);
    const order = kernel.journal.findIndex((line) => line.startsWith('route 4 add'));
    expect(order).toBeGreaterThan(kernel.journal.findLastIndex((line) => line.includes('peer')));
  });

  test('a device that somebody took away is made anew', async () => {
    kernel.deleteLink(tunnel.ifindex);
    await clock.advance(300);
    expect(tunnel.status()).toMatchObject({
      state: 'up',
      restarts: 1,
      lastFailure: { message: `device ${NAME} is gone` },
    });
  });

  test('losses in a row wait longer, until it has been well for a while', async () => {
    for (const pause of [100, 200, 400]) {
      lose();
      await clock.advance(200);
      const { retryAt = '' } = tunnel.status();
      expect(Date.parse(retryAt) - clock.now()).toBe(pause);
      await clock.advance(pause);
      expect(tunnel.status().state).toBe('up');
    }
    await clock.advance(31_000);
    lose();
    await clock.advance(200);
    expect(Date.parse(tunnel.status().retryAt ?? '') - clock.now()).toBe(100);
  });

  test('one that gives no answer twice is ended', async () => {
    engine.silent = true;
    await clock.advance(5_200);
    expect(tunnel.status().state).toBe('up');
    expect(kernel.journal).not.toContain('stop');
    await clock.advance(5_200);
    expect(kernel.journal).toContain('stop');
    expect(tunnel.status().state).toBe('down');
    engine.silent = false;
    await clock.advance(1000);
    expect(tunnel.status().state).toBe('up');
  });

  test('a peer that is set meanwhile brings it up', async () => {
    lose();
    await clock.advance(200);
    await tunnel.setPeer(peer(3, ['10.0.0.3/32']));
    expect(await peersThere()).toEqual({ 1: '10.0.0.1/32', 2: '10.0.0.2/32', 3: '10.0.0.3/32' });
  });

  test('a peer that cannot be set is not remembered, and one that is removed does not come back', async () => {
    lose();
    engine.unable = new SidestepError('TUNNEL_FAILED', 'no');
    await clock.advance(200);
    const starts = (): number => kernel.journal.filter((line) => line === 'start').length;
    const before = starts();
    // Each is told what the first has found out.
    for (const byte of [3, 4, 5])
      await expect(tunnel.setPeer(peer(byte, []))).rejects.toMatchObject({ code: 'TUNNEL_FAILED' });
    expect(starts()).toBe(before + 1);
    await tunnel.removePeer(key(1));
    engine.unable = undefined;
    await tunnel.ensure();
    expect(await peersThere()).toEqual({ 2: '10.0.0.2/32' });
  });
});

describe('the next agent', () => {
  beforeEach(async () => {
    await tunnel.ensure();
    await tunnel.setPeer(peer(1, ['10.0.0.1/32'], 25));
    tunnel.close();
    kernel.journal.length = 0;
    tunnel = open();
  });

  test('takes it over as it is, peers and all', async () => {
    expect(await tunnel.ensure()).toEqual([]);
    expect(kernel.journal).toEqual(['start', 'listening']);
    expect(tunnel.status()).toMatchObject({ state: 'up', adopted: true, peers: 1, restarts: 0 });
    expect(await peersThere()).toEqual({ 1: '10.0.0.1/32' });
  });

  test('has the peers it found, should it have to make it anew', async () => {
    await tunnel.ensure();
    lose();
    await clock.advance(300);
    expect(await peersThere()).toEqual({ 1: '10.0.0.1/32' });
    expect(tunnel.status()).toMatchObject({ adopted: false, restarts: 1 });
  });
});

test('one that was let go does nothing any more', async () => {
  await tunnel.ensure();
  tunnel.close();
  lose();
  const before = kernel.journal.length;
  await clock.advance(60_000);
  expect(kernel.journal).toHaveLength(before);
  expect(clock.waiting).toBe(0);
  await expect(tunnel.ensure()).rejects.toMatchObject({ code: 'TUNNEL_FAILED' });
});

describe('another key of this node', () => {
  const deviceKey = (): Uint8Array | undefined => kernel.wireguards.get(NAME)?.privateKey;

  test('is stored before the device gets it, and the peers stay', async () => {
    await tunnel.ensure();
    await tunnel.setPeer(peer(1, ['10.1.0.1/32'], 15));
    await tunnel.setPeer(peer(2, ['10.2.0.1/32']));
    const keys = newKeys();
    let before: Uint8Array | undefined;
    store = () => {
      before = deviceKey();
    };
    await tunnel.rotate(keys);
    expect(before).toEqual(PRIVATE);
    expect(deviceKey()).toEqual(keys.privateKey);
    expect(tunnel.publicKey).toEqual(keys.publicKey);
    expect(await peersThere()).toEqual({ 1: '10.1.0.1/32', 2: '10.2.0.1/32' });
    expect((await engine.state()).peers.map(({ keepalive }) => keepalive).sort()).toEqual([0, 15]);
    // It is the device's, and nothing that has to be put back.
    expect(await tunnel.ensure()).toEqual([]);
  });

  test('that cannot be stored is in use nowhere', async () => {
    await tunnel.ensure();
    store = () => {
      throw new SidestepError('STATE_UNUSABLE', 'the disk is full');
    };
    await expect(tunnel.rotate(newKeys())).rejects.toMatchObject({ code: 'STATE_UNUSABLE' });
    expect(deviceKey()).toEqual(PRIVATE);
    expect(tunnel.publicKey).toEqual(publicKeyOf(PRIVATE));
  });

  test('is what the device comes back with', async () => {
    await tunnel.ensure();
    lose();
    await clock.advance(200);
    const keys = newKeys();
    await tunnel.rotate(keys);
    await clock.advance(200);
    expect(tunnel.ifindex).not.toBe(0);
    expect(deviceKey()).toEqual(keys.privateKey);
  });
});

describe('another key of a peer', () => {
  test('gets what the old one had in one step; the old one stays, with nothing, until it is removed', async () => {
    await tunnel.ensure();
    await tunnel.setPeer(peer(1, ['10.1.0.1/32'], 15));
    await tunnel.succeed([key(1)], peer(3, ['10.1.0.1/32'], 15), false);
    expect(await peersThere()).toEqual({ 1: '', 3: '10.1.0.1/32' });
    expect(await tunnel.ensure()).toEqual([]);
    await tunnel.removePeer(key(1));
    expect(await peersThere()).toEqual({ 3: '10.1.0.1/32' });
  });

  test('takes nothing from anybody else', async () => {
    await tunnel.ensure();
    await tunnel.setPeer(peer(1, ['10.1.0.1/32']));
    await tunnel.setPeer(peer(2, ['10.2.0.1/32']));
    await expect(tunnel.succeed([key(1)], peer(3, ['10.2.0.1/32']), false)).rejects.toMatchObject({
      code: 'TUNNEL_PREFIX_CONFLICT',
    });
    expect(await peersThere()).toEqual({ 1: '10.1.0.1/32', 2: '10.2.0.1/32' });
  });
});
