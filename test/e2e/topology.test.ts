import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createNamespace, inside, listNamespaces } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { gatewayMac, macOf, snmp, Topology, WORKLOAD_INTERFACE, type Workload } from '../lib/topology.ts';
import {
  askUdp,
  connectTcp,
  FAMILIES,
  HeldConnection,
  ManyConnections,
  ping,
  sendRaw,
  tcpEchoServer,
  UdpStream,
  udpEchoServer,
} from '../lib/traffic.ts';

/** The ground that the other suites stand on: without an agent, everything reaches everything. */
describe.each(['routed', 'bridge'] as const)('a node with %s workloads', { timeout: 60_000 }, (attach) => {
  let topology: Topology;
  let client: Workload;
  let server: Workload;

  beforeAll(async () => {
    topology = await Topology.create(`ground-${attach}`);
    client = await topology.workload('client', attach);
    server = await topology.workload('server', attach);
    for (const host of [server, topology.far]) {
      await tcpEchoServer(host, 7000);
      await udpEchoServer(host, 7000);
    }
  }, 60_000);

  afterAll(() => topology?.remove());

  test.each(FAMILIES)('workloads reach each other, the far end and the other way round over %s', async (family) => {
    const pairs = [
      [client, server],
      [client, topology.far],
      [topology.far, server],
      [topology.node, server],
    ] as const;
    for (const [from, to] of pairs) {
      expect(await connectTcp(from, to, family, 7000), `${from.name} to ${to.name}`).toMatchObject({
        outcome: 'answered',
      });
      expect(await askUdp(from, to, family, 7000), `${from.name} to ${to.name}`).toMatchObject({ outcome: 'answered' });
      expect(await ping(from, to, family, 2), `${from.name} to ${to.name}`).toBe(2);
    }
  });

  test.each(FAMILIES)('a datagram of 4,000 bytes arrives in fragments over %s', async (family) => {
    expect(await askUdp(client, server, family, 7000, 4_000)).toMatchObject({ outcome: 'answered' });
  });

  test.each(FAMILIES)('a closed port refuses both TCP and UDP over %s', async (family) => {
    expect(await connectTcp(client, server, family, 7999)).toMatchObject({ outcome: 'ECONNREFUSED' });
    expect(await askUdp(client, server, family, 7999)).toMatchObject({ outcome: 'ECONNREFUSED' });
  });

  test.each(FAMILIES)('a stream of 10,000 datagrams a second arrives whole over %s', async (family) => {
    const stream = await UdpStream.start(client, server, family, 7001, 10_000);
    const held = await HeldConnection.open(client, server, family, 7000);
    await held.alive(50);
    await held.close();
    const report = await stream.stop();
    expect(report).toMatchObject({ received: report.sent, gaps: 0, duplicates: 0, reordered: 0, socketOverflow: 0 });
    expect(report.sent).toBeGreaterThan(5_000);
  });

  test.each(FAMILIES)(
    'a raw SYN opens nothing but is answered, and the kernel counts the reset over %s',
    async (family) => {
      const before = await snmp(client.namespace);
      await sendRaw(client, {
        dev: WORKLOAD_INTERFACE,
        'src-mac': await macOf(client.namespace, WORKLOAD_INTERFACE),
        'dst-mac':
          attach === 'routed' ? await gatewayMac(topology, client) : await macOf(server.namespace, WORKLOAD_INTERFACE),
        src: client[family],
        dst: server[family],
        sport: 41_000,
        dport: 7000,
        flags: 'S',
      });
      // The SYN/ACK meets no socket, so the client's kernel answers it with a reset.
      await expect
        .poll(async () => (await snmp(client.namespace)).get('Tcp.OutRsts'))
        .toBe((before.get('Tcp.OutRsts') ?? 0) + 1);
    },
  );

  test('a thousand connections stay open and can all be used', async () => {
    const many = await ManyConnections.open(client, server, 'ipv4', 7000, 1_000);
    expect(await many.check()).toMatchObject({ alive: 1_000, broken: 0 });
    await many.close();
  });
});

test('namespaces of a test run that died are swept', async () => {
  const dead = await run('sh', ['-c', 'echo $$']);
  const leftover = `sst-${dead.stdout.trim()}-old-node`;
  await createNamespace(leftover);
  await using topology = await Topology.create('sweep');
  expect(listNamespaces()).not.toContain(leftover);
  expect(listNamespaces()).toContain(topology.node.namespace);
});

test('removing a topology ends what runs in it', async () => {
  const topology = await Topology.create('ends');
  const workload = await topology.workload('w', 'routed');
  const server = await tcpEchoServer(workload, 7000);
  await topology.remove();
  expect((await server.exited).signal).toBe('SIGKILL');
  await expect(run('nsenter', inside(workload.namespace, ['true']))).rejects.toThrow();
});
