/**
 * Either agent is killed at any moment of the first contact of two identities, and at each stage of the first session of two nodes:
 * in the end both are proven, and nothing went in the clear.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { authenticationOf, proofsOf, required, tunnelOf } from '../lib/authentication.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { nft } from '../lib/nftables.ts';
import { type Host, macOf } from '../lib/topology.ts';
import { askUdp, FAMILIES, sendRaw, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const UDP_PORT = 9400;
const MARKER = 'sidestep-marker-c3f8';
const PROVEN_MS = 20_000;
const ROUNDS = 3;
const SESSION_PORT = 4250;
/** Of a session's bytes, from nothing (not even its SYN arrives) until nearly all; how many it takes varies by some acknowledgements. */
const STAGES = [0, 1, 2, 3, 4, 5, 6] as const;
const WHOLE = 8;
/** Two identities, each at both ends. */
const ALL_PROOFS = 4;
const NODE_NUMBERS = [1, 2] as const;
/** From the word of the new identities until a pair is proven it takes about a tenth of a second. */
const LATEST_MS = 250;
const RATE = 100;
/** So that one comes while the tables are being written. */
const DENSE_RATE = 10_000;
const CHANGES = 10;
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
  async function fire(rate = RATE): Promise<number> {
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
      count: rate * FIRE_SECONDS,
      rate,
    });
  }

  /** Other service accounts, of which nothing is proven yet. */
  function become(name: string): void {
    cluster.announce(client, `c${name}`, { side: 'client' });
    cluster.announce(server, `s${name}`, { side: 'server' });
  }

  async function proven(name: string): Promise<void> {
    const of = (node: ClusterNode) => expect.poll(() => proofsOf(node), { timeout: PROVEN_MS });
    await of(nodes[0]).toEqual([`ours c${name}`, `theirs s${name}`]);
    await of(nodes[1]).toEqual([`ours s${name}`, `theirs c${name}`]);
  }

  /** While packets want to pass; what the client asks is answered in the end, and nothing was in the clear. */
  async function underFire(action: () => Promise<void>): Promise<void> {
    const wire = await Wire.listen(cluster, MARKER);
    const fired = fire();
    await action();
    for (const family of FAMILIES)
      expect(await askUdp(client, server, family, UDP_PORT)).toMatchObject({ outcome: 'answered' });
    expect(await fired).toBe(RATE * FIRE_SECONDS);
    expect(await wire.stop()).toMatchObject({ others: [] });
  }

  test('both become others under a dense fire, again and again, and nobody is killed: nothing in the clear', async () => {
    const wire = await Wire.listen(cluster, MARKER);
    const fired = fire(DENSE_RATE);
    for (let i = 0; i < CHANGES; i++) {
      become(`dense${i}`);
      await delay((FIRE_SECONDS * 1000) / CHANGES);
    }
    expect(await fired).toBe(DENSE_RATE * FIRE_SECONDS);
    expect(await wire.stop()).toMatchObject({ others: [] });
    await proven(`dense${CHANGES - 1}`);
  });

  test.each(Array.from({ length: ROUNDS }, (_, i) => [i + 1, Math.round(Math.random() * LATEST_MS)] as const))(
    'round %i, after %i ms',
    async (round, ms) => {
      const victim = nodes[round % 2] as ClusterNode;
      await underFire(async () => {
        become(`${round}`);
        await delay(ms);
        await victim.agent.killHard();
        await victim.start();
        await proven(`${round}`);
      });
    },
  );

  describe('in the middle of a new session, which comes no further than so many bytes', () => {
    let between: Host;
    /** A session until both identities are proven. */
    let bytes: number;

    /** After so many bytes of sessions nothing of them arrives any more. */
    const cutAfter = (most: number): Promise<void> =>
      nft(
        between,
        `table bridge cut {
          quota most { over ${most} bytes }
          counter lost { }
          chain between {
            type filter hook forward priority filter;
            tcp dport ${SESSION_PORT} quota name "most" counter name "lost" drop
            tcp sport ${SESSION_PORT} quota name "most" counter name "lost" drop
          }
        }`,
      );
    const mend = (): Promise<void> => nft(between, 'delete table bridge cut');

    async function listed(kind: 'quota' | 'counter', name: string, number: RegExp): Promise<number> {
      const command = ['nft', 'list', kind, 'bridge', 'cut', name];
      const { stdout } = await run('nsenter', inside(between.namespace, command));
      return Number(number.exec(stdout)?.[1] ?? 0);
    }
    const bytesPassed = (): Promise<number> => listed('quota', 'most', /used (\d+) bytes/);
    const packetsLost = (): Promise<number> => listed('counter', 'lost', /packets (\d+)/);

    beforeAll(() => {
      between = { name: 'wire', namespace: cluster.wire, ipv4: '', ipv6: '' };
    });

    test('how many a whole one is', async () => {
      await nodes[1].agent.killHard();
      await cutAfter(1_000_000_000);
      become('whole');
      await nodes[1].start();
      await proven('whole');
      bytes = await bytesPassed();
      expect(bytes).toBeGreaterThan(0);
      await mend();
    });

    test.each(STAGES.flatMap((stage) => NODE_NUMBERS.map((number) => [stage, number] as const)))(
      `%i/${WHOLE} of it have passed; node-%i is killed`,
      async (stage, number) => {
        const victim = nodes[number - 1] as ClusterNode;
        const name = `${number}at${stage}`;
        const most = Math.floor((bytes * stage) / WHOLE);
        await nodes[1].agent.killHard();
        await cutAfter(most);
        await underFire(async () => {
          become(name);
          await nodes[1].start();
          await expect.poll(packetsLost, { timeout: PROVEN_MS, interval: 10 }).toBeGreaterThan(0);
          const proofs = (await Promise.all(nodes.map(proofsOf))).flat().filter((proof) => proof.endsWith(name));
          expect(proofs.length).toBeLessThan(ALL_PROOFS);
          await victim.agent.killHard();
          await mend();
          await victim.start();
          await proven(name);
        });
      },
    );
  });

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
