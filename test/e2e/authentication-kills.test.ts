/** Either agent is killed at any moment of the first contact: in the end both are proven, and nothing went in the clear. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { authenticationOf, proofsOf, required, tunnelOf } from '../lib/authentication.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { macOf } from '../lib/topology.ts';
import { askUdp, FAMILIES, sendRaw, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const UDP_PORT = 9400;
const MARKER = 'sidestep-marker-c3f8';
const PROVEN_MS = 20_000;
const ROUNDS = 10;
/** From the word of the new identities until a pair is proven it takes about a tenth of a second. */
const LATEST_MS = 250;
const RATE = 100;
const FIRE_SECONDS = 2;

describe('kill -9 during the first contact of two identities', () => {
  let cluster: Cluster;
  let nodes: readonly [ClusterNode, ClusterNode];
  let client: ClusterPod;
  let server: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('kills', 2);
    nodes = cluster.nodes as unknown as [ClusterNode, ClusterNode];
    // Whoever the two are, they are to be proven: so that nothing of them is ever allowed to be in the clear.
    cluster.policy('secure', {
      endpointSelector: { matchLabels: { side: 'server' } },
      ingress: [{ ...required(''), fromEndpoints: [{ matchLabels: { side: 'client' } }] }],
    });
    client = await cluster.pod('client', nodes[0], 'client', { side: 'client' });
    server = await cluster.pod('server', nodes[1], 'server', { side: 'server' });
    await udpEchoServer(server, UDP_PORT);
  }, 60_000);
  afterAll(() => cluster?.remove());

  test('policy is in force at both ends', async () => {
    await expect
      .poll(() => askUdp(client, server, 'ipv4', UDP_PORT), { timeout: PROVEN_MS })
      .toMatchObject({ outcome: 'answered' });
    await nodes[0].flow('a proven one', ({ authenticated }) => authenticated);
  });

  /** Packets that want to pass all the while, each of a flow of its own. */
  async function fire(): Promise<number> {
    return sendRaw(client, {
      dev: 'eth0',
      'src-mac': await macOf(client.namespace, 'eth0'),
      'dst-mac': await macOf(client.node.namespace, client.nodeInterface),
      src: client.ipv4,
      dst: server.ipv4,
      proto: 'udp',
      sport: 20_000,
      'sport-step': 1,
      dport: UDP_PORT,
      'payload-size': 64,
      count: RATE * FIRE_SECONDS,
      rate: RATE,
    });
  }

  test.each(Array.from({ length: ROUNDS }, (_, i) => [i + 1, Math.round(Math.random() * LATEST_MS)] as const))(
    'round %i, after %i ms',
    async (round, ms) => {
      const victim = nodes[round % 2] as ClusterNode;
      const wire = await Wire.listen(cluster, MARKER);
      const fired = fire();
      // Other service accounts, of which nothing is proven yet.
      cluster.announce(client, `c${round}`, { side: 'client' });
      cluster.announce(server, `s${round}`, { side: 'server' });
      await delay(ms);
      await victim.agent.killHard();
      await victim.start();
      await expect
        .poll(() => proofsOf(nodes[0]), { timeout: PROVEN_MS })
        .toEqual([`ours c${round}`, `theirs s${round}`]);
      await expect
        .poll(() => proofsOf(nodes[1]), { timeout: PROVEN_MS })
        .toEqual([`ours s${round}`, `theirs c${round}`]);
      for (const family of FAMILIES)
        expect(await askUdp(client, server, family, UDP_PORT)).toMatchObject({ outcome: 'answered' });
      expect(await fired).toBe(RATE * FIRE_SECONDS);
      expect(await wire.stop()).toMatchObject({ others: [] });
    },
  );

  test('nothing is left of it', async () => {
    for (const node of nodes) {
      await expect.poll(async () => (await authenticationOf(node)).held.waiting, { timeout: PROVEN_MS }).toBe(0);
      const { peers, trouble } = await authenticationOf(node);
      expect(peers).toMatchObject([{ state: 'open', waiting: 0 }]);
      expect(trouble).toEqual([]);
      expect((await tunnelOf(node)).peers).toHaveLength(1);
    }
  });
});
