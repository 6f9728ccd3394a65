/** Agents that die, are away or come late: what was proven holds, nothing is lost, and nothing goes in the clear. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { authenticationOf, proofsOf, required, secured, tunnelOf, tunnelPid } from '../lib/authentication.ts';
import { Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { ask, HttpLoad, httpServer } from '../lib/http.ts';
import { podName } from '../lib/system.ts';
import {
  askUdp,
  connectTcp,
  FAMILIES,
  HeldConnection,
  tcpEchoServer,
  UdpStream,
  udpEchoServer,
} from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const TCP_PORT = 9300;
const UDP_PORT = 9400;
const STREAM_PORT = 9500;
const MARKER = 'sidestep-marker-2b90';
const PACKETS_PER_SECOND = 2_000;
const CONNECTIONS = 4;
const SEED = 7;
const PROVEN_MS = 20_000;

async function servers(pod: ClusterPod): Promise<void> {
  await httpServer(pod);
  await tcpEchoServer(pod, TCP_PORT);
  await udpEchoServer(pod, UDP_PORT);
}

describe('agents that fail, with authentication between two nodes', () => {
  let cluster: Cluster;
  let first: ClusterNode;
  let second: ClusterNode;
  let client: ClusterPod;
  let server: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('faults', 2);
    [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    client = await cluster.pod('frontend', first);
    server = await cluster.pod('backend', second);
    await servers(server);
    secured(cluster, 'backend', 'frontend');
  }, 60_000);
  afterAll(() => cluster?.remove());

  const proofs = (): Promise<readonly (readonly string[])[]> => Promise.all([first, second].map(proofsOf));
  const PROVEN = [
    ['ours frontend', 'theirs backend'],
    ['ours backend', 'theirs frontend'],
  ];

  test('the two are proven to each other', async () => {
    await expect.poll(proofs, { timeout: PROVEN_MS }).toEqual(PROVEN);
  });

  test('kill -9 of either agent in the middle of a transfer: no gap, nothing in the clear, the same tunnel', async () => {
    const wire = await Wire.listen(cluster, MARKER);
    const stream = await UdpStream.start(client, server, 'ipv4', STREAM_PORT, PACKETS_PER_SECOND);
    for (const node of [first, second]) {
      const pid = await tunnelPid(node);
      await node.agent.killHard();
      // A new flow while nobody is there: the kernel has the proofs.
      expect(await connectTcp(client, server, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'answered' });
      await node.start();
      await expect
        .poll(async () => (await tunnelOf(node)).tunnel, { timeout: PROVEN_MS })
        .toMatchObject({ state: 'up', pid, adopted: true });
      await expect.poll(proofs, { timeout: PROVEN_MS }).toEqual(PROVEN);
    }
    const report = await stream.stop();
    expect(report).toMatchObject({ received: report.sent, gaps: 0, duplicates: 0, reordered: 0, socketOverflow: 0 });
    expect(report.sent).toBeGreaterThan(PACKETS_PER_SECOND);
    expect(await wire.stop()).toMatchObject({ others: [] });
  });

  test('agents started again one after the other under requests: none fails', async () => {
    const wire = await Wire.listen(cluster, MARKER);
    const load = HttpLoad.start(client, server, 'ipv4', CONNECTIONS, SEED);
    for (const node of [first, second]) {
      expect(await node.agent.stop()).toMatchObject({ code: 0 });
      // A connection of a proven pair that begins while no agent runs.
      expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
      await node.start();
      await expect.poll(proofs, { timeout: PROVEN_MS }).toEqual(PROVEN);
    }
    const outcomes = await load.stop();
    expect(Object.keys(outcomes).filter((outcome) => !outcome.endsWith(' 200'))).toEqual([]);
    expect(outcomes['GET 200']).toBeGreaterThan(100);
    expect(await wire.stop()).toMatchObject({ others: [] });
  });

  test('the other agent is not there for the first contact: held, refused with the cause, and well once it is', async () => {
    await second.agent.stop();
    const late = await cluster.pod('late', second);
    await servers(late);
    secured(cluster, 'late', 'frontend');
    // Known to the first node: from then on its packets wait for a proof.
    await expect
      .poll(
        async () => {
          const before = (await authenticationOf(first)).held.held;
          await askUdp(client, late, 'ipv4', UDP_PORT);
          return (await authenticationOf(first)).held.held - before;
        },
        { timeout: PROVEN_MS },
      )
      .toBeGreaterThan(0);
    const answer = await askUdp(client, late, 'ipv4', UDP_PORT);
    expect(answer).toMatchObject({ outcome: 'timeout' });
    const flow = await first.flow(
      'refused, with the cause',
      ({ source, destination, verdict }) =>
        verdict === 'DROPPED' && source === podName(client) && destination === podName(late),
      10_000,
    );
    expect(flow).toMatchObject({ dropReason: 'AUTH_REQUIRED' });
    expect(flow.summary).toMatch(/node-2: AUTH_(?!HOLD_TIMEOUT)/);
    await second.start();
    for (const family of FAMILIES)
      await expect
        .poll(() => askUdp(client, late, family, UDP_PORT), { timeout: PROVEN_MS })
        .toMatchObject({ outcome: 'answered' });
    cluster.removePolicy('secure-late');
  });

  test.each(FAMILIES)('two of one node: proven, not encrypted, and the record says so, over %s', async (family) => {
    const neighbour = await cluster.pod(`near-${family}`, first);
    await servers(neighbour);
    secured(cluster, neighbour.name, 'frontend');
    await expect
      .poll(async () => (await ask(client, neighbour, family, 'GET', '/')).status, { timeout: PROVEN_MS })
      .toBe(200);
    const flow = await first.flow(
      'the one that stays here',
      ({ authenticated, destination, source }) =>
        authenticated && source === podName(client) && destination === podName(neighbour),
    );
    expect(flow).toMatchObject({ verdict: 'FORWARDED', encrypted: false });
    expect(flow.summary).toContain('authenticated, encrypted: no (same node)');
  });
});

describe('break glass: bypass, with authentication between two nodes', () => {
  let cluster: Cluster;
  let first: ClusterNode;
  let second: ClusterNode;
  let client: ClusterPod;
  /** Proven; and one that cannot be. */
  let server: ClusterPod;
  let sealed: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('glass', 2);
    [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    client = await cluster.pod('frontend', first);
    server = await cluster.pod('backend', second);
    sealed = await cluster.pod('sealed', second);
    for (const pod of [server, sealed]) {
      await tcpEchoServer(pod, TCP_PORT);
      await udpEchoServer(pod, UDP_PORT);
    }
    secured(cluster, 'backend', 'frontend');
    const rule = { ...required('frontend'), authentication: { mode: 'test-always-fail' } };
    cluster.policy('sealed', { endpointSelector: { matchLabels: { app: 'sealed' } }, ingress: [rule] });
  }, 60_000);
  afterAll(() => cluster?.remove());

  async function bypass(state: 'on' | 'off'): Promise<void> {
    for (const { agent } of cluster.nodes) await agent.cli(['bypass', state]);
  }

  async function status(node: ClusterNode): Promise<{ readonly code: number; readonly text: string }> {
    const { code, stdout } = await node.agent.cli(['status'], { tolerate: true });
    return { code, text: stdout };
  }

  const refused = (to: ClusterPod): Promise<void> =>
    expect.poll(() => askUdp(client, to, 'ipv4', UDP_PORT), { timeout: 10_000 }).toMatchObject({ outcome: 'timeout' });

  test('off: what is proven passes, what is not is refused', async () => {
    await expect
      .poll(() => askUdp(client, server, 'ipv4', UDP_PORT), { timeout: PROVEN_MS })
      .toMatchObject({ outcome: 'answered' });
    await refused(sealed);
  });

  test('on: what is proven stays proven and encrypted; what is not passes as it is, and status and records say so', async () => {
    await bypass('on');
    for (const node of cluster.nodes)
      expect(await status(node)).toMatchObject({ code: 79, text: expect.stringContaining('ON for everything') });
    const wire = await Wire.listen(cluster, MARKER);
    const proven = await connectTcp(client, server, 'ipv4', TCP_PORT);
    expect(proven).toMatchObject({ outcome: 'answered' });
    expect((await wire.stop()).others).toEqual([]);
    expect(await first.flow('proven', ({ sourcePort }) => sourcePort === proven.port)).toMatchObject({
      authenticated: true,
      encrypted: true,
    });
    const open = await Wire.listen(cluster, MARKER);
    const unproven = await connectTcp(client, sealed, 'ipv4', TCP_PORT);
    expect(unproven).toMatchObject({ outcome: 'answered' });
    expect((await open.stop()).others).toContain(`${client.ipv4}:${unproven.port} > ${sealed.ipv4}:${TCP_PORT} TCP`);
    for (const node of cluster.nodes) {
      const flow = await node.flow('the one that is let pass', ({ sourcePort }) => sourcePort === unproven.port);
      expect(flow).toMatchObject({ verdict: 'FORWARDED', authenticated: false, encrypted: false });
      expect(flow.summary).toContain('bypass is on');
    }
  });

  test('off again: what it let pass is refused at its next packet, and nothing new passes', async () => {
    const held = await HeldConnection.open(client, sealed, 'ipv4', TCP_PORT);
    await held.alive();
    await bypass('off');
    const flow = await first.flow(
      'the one that was let pass',
      ({ sourcePort, verdict }) => sourcePort === held.port && verdict === 'DROPPED',
    );
    expect(flow).toMatchObject({ dropReason: 'AUTH_REQUIRED' });
    await expect(held.alive(1, 1_500)).rejects.toThrow();
    await held.close();
    const wire = await Wire.listen(cluster, MARKER);
    await refused(sealed);
    expect(await connectTcp(client, sealed, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
    expect(await connectTcp(client, server, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'answered' });
    expect((await wire.stop()).others).toEqual([]);
    for (const node of cluster.nodes) expect((await status(node)).text).toMatch(/Bypass +off/);
  });

  test('with both agents dead: on and off work all the same', async () => {
    for (const { agent } of cluster.nodes) await agent.killHard();
    await refused(sealed);
    await bypass('on');
    expect(await askUdp(client, sealed, 'ipv6', UDP_PORT)).toMatchObject({ outcome: 'answered' });
    expect(await askUdp(client, server, 'ipv6', UDP_PORT)).toMatchObject({ outcome: 'answered' });
    await bypass('off');
    await refused(sealed);
    expect(await askUdp(client, server, 'ipv6', UDP_PORT)).toMatchObject({ outcome: 'answered' });
    await cluster.start();
    await refused(sealed);
  });
});

describe.each(['on', 'strict'] as const)('encryption of all pod traffic: %s', (encryption) => {
  let cluster: Cluster;
  let client: ClusterPod;
  let server: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed(`all-${encryption}`, 2, ['--encryption', encryption]);
    const [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    client = await cluster.pod('client', first);
    server = await cluster.pod('server', second);
    await servers(server);
  }, 60_000);
  afterAll(() => cluster?.remove());

  test('pods of two nodes reach each other through the tunnel only, without any policy', async () => {
    const wire = await Wire.listen(cluster, MARKER);
    for (const family of FAMILIES) {
      await expect
        .poll(() => ask(client, server, family, 'GET', '/'), { timeout: PROVEN_MS })
        .toMatchObject({ status: 200 });
      expect(await askUdp(client, server, family, UDP_PORT)).toMatchObject({ outcome: 'answered' });
    }
    const { others, tunnel } = await wire.stop();
    expect(others).toEqual([]);
    expect(tunnel).toBeGreaterThan(10);
  });

  test('what goes to the world leaves, or is refused where nothing else may leave', async () => {
    const world = { ...server, ipv4: '198.51.100.77', ipv6: '2001:db8:51::77' };
    const wire = await Wire.listen(cluster, MARKER);
    await askUdp(client, world, 'ipv4', UDP_PORT);
    const flow = await cluster.nodes[0]?.flow(
      'to the world',
      ({ destinationAddress }) => destinationAddress === world.ipv4,
    );
    expect(flow).toMatchObject(
      encryption === 'strict' ? { verdict: 'DROPPED', dropReason: 'UNENCRYPTED_TRAFFIC' } : { verdict: 'FORWARDED' },
    );
    const { others } = await wire.stop();
    if (encryption === 'strict') expect(others).toEqual([]);
  });
});

test('ipsec is refused by name', async () => {
  await using cluster = await Cluster.create('ipsec', 1, () => ['--encryption', 'ipsec']);
  const [node] = cluster.nodes;
  await expect(node?.agent.start()).rejects.toMatchObject({
    code: 'AGENT_NOT_READY',
    message: expect.stringMatching(/ipsec is not offered.*WireGuard/s),
  });
});
