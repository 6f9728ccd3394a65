/** A node's key of the tunnel is replaced under traffic: nothing is lost, nothing goes in the clear, and the old key is gone. */
import { readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RotationView } from '../../control-plane/agent/tunnel-rotation.ts';
import { keyText, publicKeyOf } from '../../control-plane/encryption/keys.ts';
import { authenticationOf, hexKey, proofsOf, secured, tunnelOf, wgSetDevice } from '../lib/authentication.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { HttpLoad, httpServer } from '../lib/http.ts';
import { askUdp, FAMILIES, UdpStream, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const UDP_PORT = 9600;
const STREAM_PORT = 9700;
/** WireGuard keeps 128 packets for a peer whose handshake is not done: half a second, on a machine that has other things to do. */
const PACKETS_PER_SECOND = 250;
const AFTERWARDS_MS = 1_000;
const CONNECTIONS = 4;
const PROVEN_MS = 20_000;
const MARKER = 'sidestep-marker-91c4';

describe('the key of a tunnel among three nodes', () => {
  let cluster: Cluster;
  let nodes: readonly ClusterNode[];
  let pods: readonly [ClusterPod, ClusterPod, ClusterPod];

  beforeAll(async () => {
    cluster = await meshed('rotate', 3);
    nodes = cluster.nodes;
    const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    pods = [await cluster.pod('one', a), await cluster.pod('two', b), await cluster.pod('three', c)];
    for (const pod of pods) {
      await httpServer(pod);
      await udpEchoServer(pod, UDP_PORT);
    }
    secured(cluster, 'two', 'one');
    secured(cluster, 'three', 'two');
    secured(cluster, 'one', 'three');
  }, 90_000);
  afterAll(() => cluster?.remove());

  const keyFolder = (node: ClusterNode): string => join(node.agent.settings.stateDirectory, 'tunnel');
  const keyOf = async (node: ClusterNode): Promise<string> => (await tunnelOf(node)).tunnel?.publicKey ?? '';
  const rotate = async (node: ClusterNode): Promise<RotationView> =>
    JSON.parse((await node.agent.cli(['tunnel', 'rotate', '-o', 'json'])).stdout) as RotationView;
  const privateKeyOf = (node: ClusterNode): string => readFileSync(join(keyFolder(node), 'private.key'), 'utf8').trim();
  const announced = (node: ClusterNode): string =>
    readFileSync(join(cluster.folder, 'manifests', `sidestepnode-${node.name}.yaml`), 'utf8');

  /** Nothing may be lost while `action` goes on, nor a moment later. */
  async function underTraffic(action: () => Promise<void>): Promise<void> {
    const [one, two, three] = pods;
    const wire = await Wire.listen(cluster, MARKER);
    const streams = [
      await UdpStream.start(one, two, 'ipv4', STREAM_PORT, PACKETS_PER_SECOND),
      await UdpStream.start(two, three, 'ipv6', STREAM_PORT, PACKETS_PER_SECOND),
      await UdpStream.start(three, one, 'ipv4', STREAM_PORT, PACKETS_PER_SECOND),
    ];
    const load = HttpLoad.start(one, two, 'ipv4', CONNECTIONS);
    await action();
    const outcomes = Object.entries(await load.stop());
    const others = Object.fromEntries(outcomes.filter(([outcome]) => !outcome.endsWith(' 200')));
    const fine = outcomes.reduce((sum, [outcome, count]) => sum + (outcome.endsWith(' 200') ? count : 0), 0);
    for (const report of await Promise.all(streams.map((stream) => stream.stop()))) {
      expect(report).toMatchObject({ received: report.sent, gaps: 0, duplicates: 0, socketOverflow: 0 });
      expect(report.sent).toBeGreaterThan(PACKETS_PER_SECOND);
    }
    expect(others).toEqual({});
    expect(fine).toBeGreaterThan(10);
    expect(await wire.stop()).toMatchObject({ others: [], markers: 0 });
  }

  test('is agreed upon by all', async () => {
    for (const node of nodes)
      await expect.poll(async () => (await proofsOf(node)).length, { timeout: PROVEN_MS }).toBe(4);
  });

  test('of each node is replaced under requests and numbered datagrams: none is lost', async () => {
    for (const node of nodes) {
      const [before, file] = [await keyOf(node), privateKeyOf(node)];
      let view: RotationView | undefined;
      await underTraffic(async () => {
        view = await rotate(node);
        await delay(AFTERWARDS_MS);
      });
      expect(view?.failed).toEqual([]);
      expect(view?.nodes).toHaveLength(2);
      expect(view?.publicKey).not.toBe(before);
      expect(await keyOf(node)).toBe(view?.publicKey);
      expect(announced(node)).toContain(view?.publicKey);
      // The old key is nowhere: neither on this node's disk nor as a peer of the others.
      expect(readdirSync(keyFolder(node))).toEqual(['private.key']);
      expect(privateKeyOf(node)).not.toBe(file);
      expect(statSync(join(keyFolder(node), 'private.key')).mode & 0o777).toBe(0o600);
      for (const other of nodes.filter((each) => each !== node)) {
        const { peers } = await tunnelOf(other);
        expect(peers.map(({ publicKey }) => publicKey)).not.toContain(before);
        expect(peers.find((peer) => peer.node === node.name)).toMatchObject({ publicKey: view?.publicKey });
      }
    }
  });

  test('of all nodes at once: none is lost either', async () => {
    await underTraffic(async () => {
      for (const { failed } of await Promise.all(nodes.map(rotate))) expect(failed).toEqual([]);
      await delay(AFTERWARDS_MS);
    });
  });

  test('the sessions and what was proven in them are those of before', async () => {
    const before = await Promise.all(nodes.map(authenticationOf));
    for (const node of nodes) await rotate(node);
    const after = await Promise.all(nodes.map(authenticationOf));
    const lasting = (views: typeof before): unknown =>
      views.map(({ peers, proofs }) => [peers.map(({ since }) => since), proofs.map(({ serial }) => serial)]);
    expect(lasting(after)).toEqual(lasting(before));
  });

  test('is not replaced while a node that has a tunnel is away: its packets would be lost', async () => {
    const [first, second] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    await second.agent.killHard();
    const before = await keyOf(first);
    await expect
      .poll(async () => (await first.agent.cli(['tunnel', 'rotate'], { tolerate: true })).stderr, {
        timeout: PROVEN_MS,
      })
      .toMatch(/no open session with node-2|session with node-2 has ended/);
    expect(await keyOf(first)).toBe(before);
    for (const family of FAMILIES)
      expect(await askUdp(pods[0], pods[1], family, UDP_PORT)).toMatchObject({ outcome: 'answered' });
    await second.start();
    await expect.poll(async () => (await proofsOf(second)).length, { timeout: PROVEN_MS }).toBe(4);
  });

  test('that was replaced opens nothing any more', async () => {
    const [first] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    const old = privateKeyOf(first);
    await rotate(first);
    const device = (await tunnelOf(first)).tunnel?.name ?? '';
    // Nobody puts it right meanwhile.
    expect(await first.agent.stop()).toMatchObject({ code: 0 });
    const ask = () => askUdp(pods[0], pods[1], 'ipv4', UDP_PORT);
    expect(await ask()).toMatchObject({ outcome: 'answered' });
    await wgSetDevice(device, `private_key=${hexKey(old)}`);
    expect(await ask()).toMatchObject({ outcome: 'timeout' });
    await wgSetDevice(device, `private_key=${hexKey(privateKeyOf(first))}`);
    await expect.poll(ask, { timeout: PROVEN_MS }).toMatchObject({ outcome: 'answered' });
    await first.start();
    for (const node of nodes)
      await expect.poll(async () => (await proofsOf(node)).length, { timeout: PROVEN_MS }).toBe(4);
  });

  // From "asked" on, in milliseconds: which step it was in is luck, and none may matter. Each step once: sessions-rotation.test.ts.
  const MOMENTS = ['asked', 'stored', 'stored + 3', 'stored + 10', 'stored + 30'] as const;
  test.each(MOMENTS.flatMap((moment) => [[moment, 0] as const, [moment, 1] as const]))(
    'is whole again after a kill -9 in the middle (%s, node %i)',
    async (moment, index) => {
      const [first] = nodes as [ClusterNode, ClusterNode, ClusterNode];
      const victim = nodes[index] as ClusterNode;
      const wire = await Wire.listen(cluster, MARKER);
      const stored = new Promise<void>((resolve) => {
        const watcher = watch(keyFolder(first), (_, name) => {
          if (name !== 'private.key') return;
          watcher.close();
          resolve();
        });
      });
      const before = await keyOf(first);
      const asked = first.agent.get('/v1/tunnel/rotate').catch(() => undefined);
      if (moment !== 'asked') await stored;
      if (moment.includes('+')) await delay(Number(moment.split('+')[1]));
      await victim.agent.killHard();
      await asked;
      await victim.start();
      for (const node of nodes)
        await expect.poll(async () => (await proofsOf(node)).length, { timeout: PROVEN_MS }).toBe(4);
      for (const [from, to] of [[0, 1] as const, [1, 2] as const, [2, 0] as const])
        await expect
          .poll(() => askUdp(pods[from], pods[to], 'ipv6', UDP_PORT), { timeout: PROVEN_MS })
          .toMatchObject({ outcome: 'answered' });
      const now = await keyOf(first);
      expect(now).toBe(keyText(publicKeyOf(Buffer.from(privateKeyOf(first), 'base64'))));
      if (moment !== 'asked') expect(now).not.toBe(before);
      for (const other of nodes.slice(1))
        await expect
          .poll(async () => (await tunnelOf(other)).peers.map(({ publicKey }) => publicKey), { timeout: PROVEN_MS })
          .toEqual(expect.arrayContaining([now]));
      for (const other of nodes.slice(1)) expect((await tunnelOf(other)).peers).toHaveLength(2);
      expect(await wire.stop()).toMatchObject({ others: [] });
    },
    60_000,
  );

  test('is replaced again after all that, without loss', async () => {
    await underTraffic(async () => {
      for (const node of nodes) expect((await rotate(node)).failed).toEqual([]);
      await delay(AFTERWARDS_MS);
    });
  });
});
