/** Attempts to get past what binds an identity to its tunnel: by packets, by meddling with the tunnel, by false claims. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ipBatch } from '../../control-plane/demo/namespaces.ts';
import {
  authenticationOf,
  flowsOf,
  hexKey,
  ip,
  privateKeyOf,
  proofsOf,
  secured,
  tunnelOf,
  tunnelPid,
  wgSet,
  wgSetDevice,
} from '../lib/authentication.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { StockWireguard, wg, wgPeer } from '../lib/stock-wireguard.ts';
import { podName } from '../lib/system.ts';
import { type Host, macOf, snmp } from '../lib/topology.ts';
import {
  askUdp,
  connectTcp,
  FAMILIES,
  type Family,
  HeldConnection,
  type RawPacket,
  sendRaw,
  tcpEchoServer,
  UdpStream,
  udpEchoServer,
} from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const TCP_PORT = 9300;
const UDP_PORT = 9400;
const STREAM_PORT = 9500;
const MARKER = 'sidestep-marker-5c1e';
const PACKETS_PER_SECOND = 500;
const FLOOD = 2_000;
const BACK_MS = 20_000;

describe('attacks on authentication between two nodes', () => {
  let cluster: Cluster;
  let first: ClusterNode;
  let second: ClusterNode;
  let client: ClusterPod;
  let server: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('attacks', 2);
    [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    client = await cluster.pod('frontend', first);
    server = await cluster.pod('backend', second);
    await tcpEchoServer(server, TCP_PORT);
    await udpEchoServer(server, UDP_PORT);
    secured(cluster, 'backend', 'frontend');
  }, 60_000);
  afterAll(() => cluster?.remove());

  /** From what is between the nodes straight to the second one, as a packet of the client's. */
  async function plaintext(family: Family, packet: RawPacket): Promise<void> {
    await sendRaw(
      { ...client, namespace: cluster.wire },
      {
        dev: 'port2',
        'src-mac': await macOf(first.namespace, 'uplink0'),
        'dst-mac': await macOf(second.namespace, 'uplink0'),
        src: client[family],
        dst: server[family],
        dport: TCP_PORT,
        ...packet,
      },
    );
  }

  const received = async (): Promise<number> => (await snmp(server.namespace)).get('Tcp.InSegs') ?? 0;

  /** The same once nothing of an earlier connection comes any more. */
  async function receivedAtRest(): Promise<number> {
    for (let before = await received(); ; ) {
      await delay(200);
      const now = await received();
      if (now === before) return now;
      before = now;
    }
  }

  async function answered(family: Family = 'ipv4'): Promise<void> {
    await expect
      .poll(() => askUdp(client, server, family, UDP_PORT), { timeout: BACK_MS })
      .toMatchObject({ outcome: 'answered' });
  }

  /** What the client sends all the while that `action` takes and until answers come again: nothing of it in the clear. */
  async function nothingInTheClear(action: () => Promise<void>, loses = true): Promise<void> {
    const wire = await Wire.listen(cluster, MARKER);
    const stream = await UdpStream.start(client, server, 'ipv4', STREAM_PORT, PACKETS_PER_SECOND);
    await action();
    await answered();
    await answered('ipv6');
    const { sent, received: arrived } = await stream.stop();
    const { others, tunnel } = await wire.stop();
    expect(others).toEqual([]);
    expect(tunnel).toBeGreaterThan(0);
    // It is not that nothing was sent.
    expect(arrived).toBeGreaterThan(0);
    if (loses) expect(sent).toBeGreaterThan(arrived);
  }

  test('the two are proven to each other', async () => {
    await expect.poll(() => proofsOf(first), { timeout: BACK_MS }).toEqual(['ours frontend', 'theirs backend']);
    await expect.poll(() => proofsOf(second), { timeout: BACK_MS }).toEqual(['ours backend', 'theirs frontend']);
  });

  describe.each(FAMILIES)('plaintext with the address of a proven pod, over %s', (family) => {
    test('a SYN is dropped, by name, and never reaches the server', async () => {
      const before = await receivedAtRest();
      await plaintext(family, { sport: 41_001, flags: 'S' });
      const flow = await second.flow(
        'the SYN in the clear',
        ({ sourceAddress, sourcePort, verdict }) =>
          verdict === 'DROPPED' && sourceAddress === client[family] && sourcePort === 41_001,
      );
      expect(flow).toMatchObject({ dropReason: 'UNENCRYPTED_TRAFFIC', source: podName(client) });
      expect(await received()).toBe(before);
    });

    test('a segment into a live connection is dropped, and the connection goes on', async () => {
      const held = await HeldConnection.open(client, server, family, TCP_PORT);
      await held.alive();
      for (const flags of ['PA', 'R'])
        await plaintext(family, { sport: held.port, flags, seq: 1, ack: 1, 'payload-size': 16 });
      const flow = await second.flow(
        'the segment in the clear',
        ({ sourceAddress, sourcePort, verdict }) =>
          verdict === 'DROPPED' && sourceAddress === client[family] && sourcePort === held.port,
      );
      expect(flow).toMatchObject({ dropReason: 'UNENCRYPTED_TRAFFIC' });
      await held.alive(10);
      await held.close();
    });
  });

  test('the tunnel process is killed: nothing in the clear, and it comes back', async () => {
    await nothingInTheClear(async () => {
      const pid = await tunnelPid(first);
      process.kill(pid, 'SIGKILL');
      await expect
        .poll(async () => (await tunnelOf(first)).tunnel, { timeout: BACK_MS })
        .toMatchObject({ state: 'up', pid: expect.not.toSatisfy((now) => now === pid), restarts: 1 });
    });
  });

  test('the tunnel device is deleted: nothing in the clear, and it comes back', async () => {
    await nothingInTheClear(async () => {
      const { tunnel } = await tunnelOf(first);
      await ip(first, 'link', 'del', tunnel?.name ?? '');
      await expect
        .poll(async () => (await tunnelOf(first)).tunnel, { timeout: BACK_MS })
        .toMatchObject({ state: 'up', restarts: 2 });
    });
  });

  test('somebody takes the peer out of WireGuard: nothing in the clear, and it is put back', async () => {
    await nothingInTheClear(async () => {
      const [peer] = (await tunnelOf(first)).peers;
      await wgSet(first, `public_key=${hexKey(peer?.publicKey ?? '')}`, 'remove=true');
      await expect
        .poll(async () => (await tunnelOf(first)).peers, { timeout: BACK_MS })
        .toMatchObject([{ node: second.name }]);
    });
  });

  test.each(['-4', '-6'])(
    'somebody deletes the rule that leads into the tunnel, %s: nothing in the clear, and it is put back',
    async (family) => {
      await nothingInTheClear(async () => {
        await ip(first, family, 'rule', 'del', 'fwmark', '0x500/0xf00');
        await askUdp(client, server, family === '-4' ? 'ipv4' : 'ipv6', UDP_PORT);
        await expect.poll(() => ip(first, family, 'rule'), { timeout: BACK_MS }).toContain('lookup 2005');
      }, family === '-4');
    },
  );

  test('another preshared key: no packet passes, none in the clear, and the right one is put back', async () => {
    const { tunnel, peers } = await tunnelOf(first);
    const [peer] = peers;
    const key = `public_key=${hexKey(peer?.publicKey ?? '')}`;
    await nothingInTheClear(async () => {
      const { pid } = first.agent;
      if (pid === undefined) throw new Error('no agent');
      // Held still, or it would put it back before a packet is asked about.
      process.kill(pid, 'SIGSTOP');
      try {
        await wgSetDevice(tunnel?.name ?? '', key, 'remove=true');
        await wgSetDevice(
          tunnel?.name ?? '',
          key,
          `preshared_key=${'5a'.repeat(32)}`,
          `endpoint=${peer?.endpoint}`,
          ...(peer?.allowed ?? []).map((each) => `allowed_ip=${each}`),
        );
        expect(await askUdp(client, server, 'ipv4', UDP_PORT)).toMatchObject({ outcome: 'timeout' });
        expect(await connectTcp(client, server, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    });
  });

  test('another preshared key by the stock wg tool: the same, and it is put back', async () => {
    const { tunnel, peers } = await tunnelOf(second);
    const device = tunnel?.name ?? '';
    const [peer] = peers;
    if (peer === undefined) throw new Error('no peer');
    const presharedKey = (): Promise<string> => wg(second.namespace, ['show', device, 'preshared-keys']);
    const before = await presharedKey();
    await nothingInTheClear(async () => {
      const { pid } = second.agent;
      if (pid === undefined) throw new Error('no agent');
      process.kill(pid, 'SIGSTOP');
      try {
        await wg(second.namespace, ['set', device, 'peer', peer.publicKey, 'remove']);
        await wgPeer(second.namespace, device, { ...peer, presharedKey: await wg(second.namespace, ['genpsk']) });
        expect(await presharedKey()).not.toBe(before);
        expect(await askUdp(client, server, 'ipv4', UDP_PORT)).toMatchObject({ outcome: 'timeout' });
        expect(await connectTcp(client, server, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await expect.poll(presharedKey, { timeout: BACK_MS }).toBe(before);
    });
  });

  describe('somebody between the nodes with a WireGuard of its own, the node’s public key and endpoint', () => {
    let outsider: Host;
    beforeAll(async () => {
      outsider = await cluster.outsider('outsider');
    });

    test.each([
      ['a key of its own', () => wg(outsider.namespace, ['genkey'])],
      ['the first node’s key, without the preshared one', async () => privateKeyOf(first)],
    ])('and %s: no handshake, and nothing passes', async (_, key) => {
      const { tunnel } = await tunnelOf(second);
      const stock = await StockWireguard.start(outsider, await key());
      try {
        await wgPeer(outsider.namespace, stock.device, {
          publicKey: tunnel?.publicKey ?? '',
          endpoint: `${second.address}:${tunnel?.port}`,
          allowed: ['0.0.0.0/0', '::/0'],
        });
        await ipBatch(outsider.namespace, [
          `addr add ${client.ipv4}/32 dev ${stock.device}`,
          `addr add ${client.ipv6}/128 dev ${stock.device} nodad`,
          `link set ${stock.device} up`,
          `route add ${server.ipv4}/32 dev ${stock.device} src ${client.ipv4}`,
          `route add ${server.ipv6}/128 dev ${stock.device} src ${client.ipv6}`,
        ]);
        const before = await receivedAtRest();
        expect(await connectTcp(outsider, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
        expect(await askUdp(outsider, server, 'ipv6', UDP_PORT)).toMatchObject({ outcome: 'timeout' });
        const seen = await stock.seen();
        expect(seen.handshake).toBe(0);
        // It is not that it has not tried.
        expect(seen.sent).toBeGreaterThan(0);
        expect(await received()).toBe(before);
      } finally {
        await stock.stop();
      }
      await answered();
    });
  });

  test('a node that has another one’s address proves nothing', async () => {
    const manifest = {
      apiVersion: 'sidestep.dev/v1alpha1',
      kind: 'SidestepNode',
      metadata: { name: 'node-3' },
      spec: {
        addresses: [second.address],
        publicKey: Buffer.alloc(32, 7).toString('base64'),
        spiffeID: 'spiffe://cluster.local/node/node-3',
      },
    };
    cluster.manifests.write('sidestepnode-node-3.yaml', JSON.stringify(manifest));
    const claimed = {
      ...server,
      name: 'claimed',
      node: { name: 'node-3' } as ClusterNode,
      ipv4: '10.72.0.99',
      ipv6: 'fd72::99',
    };
    cluster.announce(claimed, 'backend');
    const peer = async (): Promise<unknown> =>
      (await authenticationOf(first)).peers.find(({ node }) => node === 'node-3')?.lastError?.code;
    await expect.poll(peer, { timeout: BACK_MS }).toBe('AUTH_WRONG_NODE');
    expect((await authenticationOf(first)).proofs.filter(({ node }) => node === 'node-3')).toEqual([]);
    expect((await tunnelOf(first)).peers.map(({ node }) => node)).toEqual([second.name]);
    expect(await askUdp(client, claimed, 'ipv4', UDP_PORT)).toMatchObject({ outcome: 'timeout' });
    cluster.withdraw('claimed');
    cluster.manifests.remove('sidestepnode-node-3.yaml');
    await answered();
  });

  test('a flood towards what cannot be proven: bounded, each refused by name, others pass', async () => {
    await second.agent.stop();
    const victim = await cluster.pod('victim', second);
    secured(cluster, 'victim', 'frontend');
    await expect
      .poll(async () => (await first.agent.cli(['auth', 'list'], { tolerate: true })).stdout, { timeout: BACK_MS })
      .toContain(second.name);
    await expect
      .poll(() => askUdp(client, victim, 'ipv4', UDP_PORT), { timeout: BACK_MS })
      .toMatchObject({ outcome: 'timeout' });
    const before = (await authenticationOf(first)).held;
    const flood = sendRaw(client, {
      dev: 'eth0',
      'src-mac': await macOf(client.namespace, 'eth0'),
      'dst-mac': await macOf(first.namespace, client.nodeInterface),
      src: client.ipv4,
      dst: victim.ipv4,
      sport: 20_000,
      'sport-step': 1,
      dport: TCP_PORT,
      flags: 'S',
      count: FLOOD,
      rate: 2_000,
    });
    expect(await askUdp(client, server, 'ipv4', UDP_PORT)).toMatchObject({ outcome: 'answered' });
    await flood;
    expect(await connectTcp(client, server, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'answered' });
    const { held } = await authenticationOf(first);
    expect(held.waiting).toBeLessThanOrEqual(4096);
    await expect
      .poll(
        async () => {
          const now = (await authenticationOf(first)).held;
          return { waiting: now.waiting, held: now.held - before.held };
        },
        { timeout: BACK_MS },
      )
      .toEqual({ waiting: 0, held: FLOOD });
    const refused = async (): Promise<number> =>
      new Set(
        (await flowsOf(first))
          .filter(
            ({ dropReason, destinationAddress, sourcePort = 0 }) =>
              dropReason === 'AUTH_REQUIRED' &&
              destinationAddress === victim.ipv4 &&
              sourcePort >= 20_000 &&
              sourcePort < 20_000 + FLOOD,
          )
          .map(({ sourcePort }) => sourcePort),
      ).size;
    await expect.poll(refused, { timeout: BACK_MS }).toBe(FLOOD);
    cluster.removePolicy('secure-victim');
    await second.start();
  });

  test('the client is withdrawn: so is its proof, and its live transfer ends at the other node', async () => {
    await expect.poll(() => proofsOf(second), { timeout: BACK_MS }).toEqual(['ours backend', 'theirs frontend']);
    const held = await HeldConnection.open(client, server, 'ipv4', TCP_PORT);
    await held.alive();
    cluster.withdraw('frontend');
    for (const node of cluster.nodes) await expect.poll(() => proofsOf(node), { timeout: 5_000 }).toEqual([]);
    const flow = await second.flow(
      'the transfer that ended',
      ({ sourceAddress, destinationAddress, sourcePort, destinationPort, verdict }) =>
        verdict === 'DROPPED' &&
        ((sourceAddress === client.ipv4 && sourcePort === held.port) ||
          (destinationAddress === client.ipv4 && destinationPort === held.port)),
    );
    // Its node lets go of it, and what it sends then comes in the clear; here its address is nobody's: whichever is first.
    expect(['POLICY_DENIED', 'UNENCRYPTED_TRAFFIC']).toContain(flow.dropReason);
    await expect(held.alive(3, 1_500)).rejects.toThrow();
    await held.close();
  });
});
