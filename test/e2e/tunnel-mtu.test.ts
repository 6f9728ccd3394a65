/** The tunnel takes smaller packets than a pod sends: pods are told, nothing is fragmented between the nodes, and everything arrives. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../control-plane/demo/process.ts';
import { ip, proofsOf, secured, tunnelOf } from '../lib/authentication.ts';
import { sendBulk, sink } from '../lib/bulk.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { askUdp, FAMILIES, type Family, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const UDP_PORT = 9800;
const BULK_PORT = 9801;
const BULK_BYTES = 5_000_000;
const MARKER = 'sidestep-marker-5be0';
const READY_MS = 20_000;
const POD_MTU = 1500;
/** Of WireGuard over IPv6. */
const OVERHEAD = 80;
const UDP_HEADERS: Readonly<Record<Family, number>> = { ipv4: 28, ipv6: 48 };

describe('packets that are larger than the tunnel', () => {
  let cluster: Cluster;
  let nodes: readonly [ClusterNode, ClusterNode];
  let client: ClusterPod;
  let server: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('mtu', 2);
    nodes = cluster.nodes as unknown as typeof nodes;
    client = await cluster.pod('client', nodes[0]);
    server = await cluster.pod('server', nodes[1]);
    await udpEchoServer(server, UDP_PORT);
    await sink(server, BULK_PORT);
    secured(cluster, 'server', 'client');
  }, 90_000);
  afterAll(() => cluster?.remove());

  test('wait for a proof', async () => {
    for (const node of nodes)
      await expect.poll(async () => (await proofsOf(node)).length, { timeout: READY_MS }).toBe(2);
  });

  /** That the client's kernel has learnt of its way to the server; undefined: none but its device's. */
  async function learnt(family: Family): Promise<number | undefined> {
    const { stdout } = await run('ip', ['-n', client.namespace, 'route', 'get', server[family]]);
    const mtu = /\bmtu (\d+)/.exec(stdout)?.[1];
    return mtu === undefined ? undefined : Number(mtu);
  }
  const forget = (): Promise<unknown> =>
    Promise.all(['-4', '-6'].map((family) => run('ip', ['-n', client.namespace, family, 'route', 'flush', 'cache'])));

  describe.each([POD_MTU, 1400])('where %i bytes fit between the nodes', (link) => {
    const mtu = link - OVERHEAD;

    test('the tunnel follows', async () => {
      for (const node of nodes) await ip(node, 'link', 'set', 'uplink0', 'mtu', String(link));
      for (const node of nodes)
        await expect.poll(async () => (await tunnelOf(node)).tunnel?.mtu, { timeout: READY_MS }).toBe(mtu);
      await forget();
    });

    test.each(FAMILIES)(
      'a datagram as large as fits passes whole over %s, and nobody is told of anything',
      async (family) => {
        const wire = await Wire.listen(cluster, MARKER);
        const largest = mtu - UDP_HEADERS[family];
        expect(await askUdp(client, server, family, UDP_PORT, largest)).toMatchObject({ outcome: 'answered' });
        expect(await learnt(family)).toBeUndefined();
        expect(await wire.stop()).toMatchObject({ others: [], fragments: 0 });
      },
    );

    test.each(FAMILIES)(
      'a datagram that is one byte larger is answered with the tunnel’s MTU over %s',
      async (family) => {
        const wire = await Wire.listen(cluster, MARKER);
        const size = mtu - UDP_HEADERS[family] + 1;
        expect(await askUdp(client, server, family, UDP_PORT, size)).not.toMatchObject({ outcome: 'answered' });
        expect(await learnt(family)).toBe(mtu);
        // The pod itself makes two of the next one, and the server learns by its answer: then it does the same.
        await askUdp(client, server, family, UDP_PORT, size);
        expect(await askUdp(client, server, family, UDP_PORT, size)).toMatchObject({ outcome: 'answered' });
        expect(await wire.stop()).toMatchObject({ others: [], fragments: 0 });
      },
    );

    test.each(FAMILIES)('datagrams of 4,000 and 60,000 bytes arrive over %s', async (family) => {
      const wire = await Wire.listen(cluster, MARKER);
      for (const size of [4_000, 60_000])
        expect(await askUdp(client, server, family, UDP_PORT, size)).toMatchObject({ outcome: 'answered' });
      expect(await wire.stop()).toMatchObject({ others: [], fragments: 0 });
    });

    test.each(FAMILIES)('5 MB of TCP arrive over %s when the client has yet to learn', async (family) => {
      await forget();
      const wire = await Wire.listen(cluster, MARKER);
      expect(await sendBulk(client, server, family, BULK_PORT, MARKER, BULK_BYTES)).toBe(BULK_BYTES);
      expect(await wire.stop()).toMatchObject({ others: [], fragments: 0, markers: 0 });
    });
  });
});
