/** Three nodes: every pair is proven; pods move, nodes leave, and what they leave behind (addresses above all) proves nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { authenticationOf, flowsOf, required, tunnelOf } from '../lib/authentication.ts';
import { admit, type Cluster, type ClusterNode, type ClusterPod, joining, meshed } from '../lib/cluster.ts';
import { podName } from '../lib/system.ts';
import { macOf } from '../lib/topology.ts';
import { askUdp, connectTcp, FAMILIES, HeldConnection, sendRaw, tcpEchoServer, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const TCP_PORT = 9300;
const UDP_PORT = 9400;
const SESSION_PORT = 4250;
const MARKER = 'sidestep-marker-91d7';
const PROVEN_MS = 20_000;
/** Packets a second to an address whose holder changes. */
const RATE = 200;

describe('authentication between three nodes', () => {
  let cluster: Cluster;
  let first: ClusterNode;
  let second: ClusterNode;
  let third: ClusterNode;
  let alpha: ClusterPod;
  let beta: ClusterPod;
  let gamma: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('three', 3);
    [first, second, third] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
    alpha = await cluster.pod('alpha', first);
    beta = await cluster.pod('beta', second);
    gamma = await cluster.pod('gamma', third);
    for (const pod of [alpha, beta, gamma]) await servers(pod);
    open('alpha', 'beta', 'gamma');
    open('beta', 'alpha', 'gamma');
    open('gamma', 'alpha', 'beta');
  }, 60_000);
  afterAll(() => cluster?.remove());

  async function servers(pod: ClusterPod): Promise<void> {
    await tcpEchoServer(pod, TCP_PORT);
    await udpEchoServer(pod, UDP_PORT);
  }

  function open(app: string, ...from: readonly string[]): void {
    cluster.policy(`open-${app}`, { endpointSelector: { matchLabels: { app } }, ingress: from.map(required) });
  }

  /** Each proof as `node-2 theirs beta`, in order. */
  async function proofs(node: ClusterNode): Promise<readonly string[]> {
    const { proofs: all } = await authenticationOf(node);
    return all.map(({ node: peer, side, spiffeId }) => `${peer} ${side} ${spiffeId.split('/').at(-1)}`).sort();
  }

  const eventually = (node: ClusterNode, wanted: readonly string[]): Promise<void> =>
    expect.poll(() => proofs(node), { timeout: PROVEN_MS }).toEqual([...wanted].sort());

  /** Which addresses a node takes from which other through the tunnel. */
  async function allowed(node: ClusterNode): Promise<Readonly<Record<string, readonly string[]>>> {
    const { peers } = await tunnelOf(node);
    return Object.fromEntries(peers.map(({ node: peer, allowed: prefixes }) => [peer, [...prefixes].sort()]));
  }

  const prefixes = (...pods: readonly ClusterPod[]): readonly string[] =>
    pods.flatMap(({ ipv4, ipv6 }) => [`${ipv4}/32`, `${ipv6}/128`]).sort();

  async function answered(from: ClusterPod, to: ClusterPod): Promise<void> {
    for (const family of FAMILIES)
      await expect
        .poll(() => askUdp(from, to, family, UDP_PORT), { timeout: PROVEN_MS })
        .toMatchObject({ outcome: 'answered' });
  }

  /** Datagrams from one pod to another's address all the while that `action` takes. */
  async function underFire(from: ClusterPod, to: ClusterPod, seconds: number, action: () => Promise<void>) {
    const fire = sendRaw(from, {
      dev: 'eth0',
      'src-mac': await macOf(from.namespace, 'eth0'),
      'dst-mac': await macOf(from.node.namespace, from.nodeInterface),
      src: from.ipv4,
      dst: to.ipv4,
      proto: 'udp',
      sport: 30_000,
      'sport-step': 1,
      dport: UDP_PORT,
      'payload-size': 64,
      count: RATE * seconds,
      rate: RATE,
    });
    await action();
    expect(await fire).toBe(RATE * seconds);
  }

  test('every node proves itself to both others, in one session each, through a tunnel with two peers', async () => {
    await eventually(first, ['node-2 ours alpha', 'node-2 theirs beta', 'node-3 ours alpha', 'node-3 theirs gamma']);
    await eventually(second, ['node-1 ours beta', 'node-1 theirs alpha', 'node-3 ours beta', 'node-3 theirs gamma']);
    await eventually(third, ['node-1 ours gamma', 'node-1 theirs alpha', 'node-2 ours gamma', 'node-2 theirs beta']);
    const at = new Map([
      [first, { 'node-2': prefixes(beta), 'node-3': prefixes(gamma) }],
      [second, { 'node-1': prefixes(alpha), 'node-3': prefixes(gamma) }],
      [third, { 'node-1': prefixes(alpha), 'node-2': prefixes(beta) }],
    ]);
    for (const [node, peers] of at) {
      expect(await allowed(node)).toEqual(peers);
      expect((await authenticationOf(node)).peers.map(({ state }) => state)).toEqual(['open', 'open']);
      // Whoever dialled, there is one connection with each of the two.
      const filter = `( sport = :${SESSION_PORT} or dport = :${SESSION_PORT} )`;
      const command = ['ss', '-Htn', 'state', 'established', filter];
      const { stdout } = await run('nsenter', inside(node.namespace, command));
      expect(stdout.trim().split('\n')).toHaveLength(2);
    }
    const wire = await Wire.listen(cluster, MARKER);
    for (const from of [alpha, beta, gamma])
      for (const to of [alpha, beta, gamma].filter((each) => each !== from)) await answered(from, to);
    expect(await wire.stop()).toMatchObject({ others: [] });
  });

  test('a pod moves to another node with its addresses: proven there, no longer here, and nothing in the clear', async () => {
    const wire = await Wire.listen(cluster, MARKER);
    await underFire(alpha, beta, 4, async () => {
      await cluster.deletePod(beta);
      beta = await cluster.podAt('beta', third, beta);
      await servers(beta);
      await eventually(first, ['node-3 ours alpha', 'node-3 theirs beta', 'node-3 theirs gamma', 'node-2 ours alpha']);
      expect(await allowed(first)).toMatchObject({ 'node-3': prefixes(beta, gamma), 'node-2': [] });
      await answered(alpha, beta);
    });
    expect(await wire.stop()).toMatchObject({ others: [] });
    const [flow] = (await flowsOf(first, '--to-pod', podName(beta), '--verdict', 'FORWARDED')).slice(-1);
    expect(flow).toMatchObject({ authenticated: true, encrypted: true });
    // Its new neighbour: proven, too, and not encrypted.
    await answered(gamma, beta);
  });

  test('a pod moves to another node and has new addresses there: the old ones are nobody’s', async () => {
    const before = beta;
    await cluster.deletePod(beta);
    beta = await cluster.podAt('beta', second, { ipv4: '10.72.0.200', ipv6: 'fd72::200' });
    await servers(beta);
    await eventually(first, ['node-2 ours alpha', 'node-2 theirs beta', 'node-3 ours alpha', 'node-3 theirs gamma']);
    expect(await allowed(first)).toEqual({ 'node-2': prefixes(beta), 'node-3': prefixes(gamma) });
    expect(await allowed(third)).toEqual({ 'node-1': prefixes(alpha), 'node-2': prefixes(beta) });
    await answered(alpha, beta);
    await answered(gamma, beta);
    expect(await askUdp(alpha, before, 'ipv4', UDP_PORT)).toMatchObject({ outcome: 'timeout' });
  });

  test('a node leaves: its proofs, its peer and its addresses go at the others, and live flows end by name', async () => {
    const held = await HeldConnection.open(alpha, gamma, 'ipv4', TCP_PORT);
    await held.alive();
    await third.uninstall();
    cluster.dismiss(third);
    await eventually(first, ['node-2 ours alpha', 'node-2 theirs beta']);
    await eventually(second, ['node-1 ours beta', 'node-1 theirs alpha']);
    await expect.poll(() => allowed(first)).toEqual({ 'node-2': prefixes(beta) });
    await expect.poll(() => allowed(second)).toEqual({ 'node-1': prefixes(alpha) });
    expect((await authenticationOf(first)).peers.map(({ node }) => node)).toEqual(['node-2']);
    const flow = await first.flow(
      'the one that was live',
      ({ sourcePort, verdict }) => sourcePort === held.port && verdict === 'DROPPED',
    );
    expect(flow).toMatchObject({ dropReason: 'AUTH_REQUIRED', destination: podName(gamma) });
    expect(flow.summary).toContain('there is no node node-3');
    await expect(held.alive(1, 1_500)).rejects.toThrow();
    await held.close();
    await answered(alpha, beta);
  });

  test('another identity on another node has the addresses of a pod of the node that left: nothing until it is proven itself', async () => {
    open('heir', 'alpha');
    await cluster.deletePod(gamma);
    cluster.withdraw('gamma');
    const { pid = 0 } = second.agent;
    // Its node cannot prove anything meanwhile.
    process.kill(pid, 'SIGSTOP');
    let heir: ClusterPod;
    try {
      heir = await cluster.podAt('heir', second, gamma);
      await servers(heir);
      // From then on the first node knows whose address it is.
      const waits = async (): Promise<number> => {
        const before = (await authenticationOf(first)).held.held;
        await askUdp(alpha, heir, 'ipv4', UDP_PORT, 64, 300);
        return (await authenticationOf(first)).held.held - before;
      };
      await expect.poll(waits, { timeout: PROVEN_MS }).toBeGreaterThan(0);
      const wire = await Wire.listen(cluster, MARKER);
      for (const family of FAMILIES) {
        expect(await askUdp(alpha, heir, family, UDP_PORT)).toMatchObject({ outcome: 'timeout' });
        expect(await connectTcp(alpha, heir, family, TCP_PORT)).toMatchObject({ outcome: 'timeout' });
      }
      expect(await wire.stop()).toMatchObject({ others: [] });
      expect((await proofs(first)).filter((proof) => / (gamma|heir)$/.test(proof))).toEqual([]);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await eventually(first, ['node-2 ours alpha', 'node-2 theirs beta', 'node-2 theirs heir']);
    expect(await allowed(first)).toEqual({ 'node-2': prefixes(beta, heir) });
    await answered(alpha, heir);
  });

  test('another node has the addresses of the one that left: it is proven as itself, with a tunnel key of its own', async () => {
    const [before] = (await authenticationOf(first)).peers.filter(({ node }) => node === 'node-3');
    expect(before).toBeUndefined();
    const fourth = cluster.successor(third, 'node-4', (_, folder) => joining('node-4', third.address, folder));
    await admit(cluster, fourth);
    await fourth.start();
    const delta = await cluster.podAt('delta', fourth, { ipv4: '10.73.0.201', ipv6: 'fd73::201' });
    await servers(delta);
    open('delta', 'alpha');
    await expect.poll(() => proofs(first), { timeout: PROVEN_MS }).toContain('node-4 theirs delta');
    expect((await proofs(first)).filter((proof) => proof.startsWith('node-3'))).toEqual([]);
    expect(await allowed(first)).toMatchObject({ 'node-4': prefixes(delta) });
    const wire = await Wire.listen(cluster, MARKER);
    await answered(alpha, delta);
    expect(await wire.stop()).toMatchObject({ others: [] });
  });
});
