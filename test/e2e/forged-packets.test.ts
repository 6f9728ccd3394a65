import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ObservedFlow } from '../../control-plane/demo/flows.ts';
import { admit, TCP_PORT, UDP_PORT } from '../lib/policies.ts';
import { System } from '../lib/system.ts';
import { gatewayMac, macOf, snmp, UPLINK, WORKLOAD_INTERFACE, type Workload } from '../lib/topology.ts';
import { connectTcp, FAMILIES, type Family, type RawPacket, sendRaw, tcpEchoServer } from '../lib/traffic.ts';

describe.each(['routed', 'bridge'] as const)('packets that no honest program sends, with %s workloads', (attach) => {
  let system: System;
  let client: Workload;
  let server: Workload;
  let stranger: Workload;

  beforeAll(async () => {
    system = await System.create(`forged-${attach}`);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    stranger = await system.pod('stranger', attach);
    system.policy('guard', admit('server', ['client']));
    await tcpEchoServer(server, TCP_PORT);
    await system.start();
  });

  afterAll(() => system?.remove());

  /** What an honest packet from a workload to the server has on layers 2 and 3. */
  async function honest(from: Workload, family: Family): Promise<RawPacket> {
    const toNode = await gatewayMac(system.topology, from);
    const toServer = await macOf(server.namespace, WORKLOAD_INTERFACE);
    return {
      dev: WORKLOAD_INTERFACE,
      'src-mac': await macOf(from.namespace, WORKLOAD_INTERFACE),
      'dst-mac': attach === 'routed' ? toNode : toServer,
      src: from[family],
      dst: server[family],
    };
  }

  /** A drop of this reason at or after `since`; the destination port, where there is one, tells whose it is. */
  function drop(reason: string, since: number, wanted: Partial<ObservedFlow>): Promise<ObservedFlow> {
    return system.flow(
      `${reason} ${JSON.stringify(wanted)}`,
      (flow) =>
        flow.time >= since - 20 &&
        flow.verdict === 'DROPPED' &&
        flow.dropReason === reason &&
        Object.entries(wanted).every(([field, value]) => flow[field as keyof ObservedFlow] === value),
    );
  }

  async function received(): Promise<number> {
    return (await snmp(server.namespace)).get('Tcp.InSegs') ?? 0;
  }

  describe.each(FAMILIES)('over %s', (family) => {
    test('a SYN from a raw socket is refused like any other and never reaches the server', async () => {
      const since = Date.now();
      const before = await received();
      await sendRaw(stranger, { ...(await honest(stranger, family)), sport: 41_001, dport: TCP_PORT, flags: 'S' });
      await drop('POLICY_DENIED', since, { sourceAddress: stranger[family], sourcePort: 41_001 });
      expect(await received()).toBe(before);
    });

    test("another pod's source address is no passport", async () => {
      const since = Date.now();
      const before = await received();
      const packet = { ...(await honest(stranger, family)), src: client[family] };
      await sendRaw(stranger, { ...packet, sport: 41_002, dport: TCP_PORT, flags: 'S' });
      await drop('INVALID_SOURCE_IP', since, { sourceAddress: client[family], sourcePort: 41_002 });
      expect(await received()).toBe(before);
    });

    test('an address of nobody is refused as a source, too', async () => {
      const since = Date.now();
      const nobody = family === 'ipv4' ? '198.51.100.7' : '2001:db8:ffff::7';
      await sendRaw(stranger, {
        ...(await honest(stranger, family)),
        src: nobody,
        sport: 41_003,
        dport: TCP_PORT,
        flags: 'S',
      });
      await drop('INVALID_SOURCE_IP', since, { sourceAddress: nobody });
    });

    test('a foreign source MAC is refused', async () => {
      const since = Date.now();
      const packet = { ...(await honest(client, family)), 'src-mac': '02:00:00:00:00:99' };
      await sendRaw(client, { ...packet, sport: 41_004, dport: TCP_PORT, flags: 'S' });
      await drop('INVALID_SOURCE_IP', since, { sourcePort: 41_004 });
    });

    test("a packet from beyond the uplink with a local pod's address is refused", async () => {
      const since = Date.now();
      const before = await received();
      await sendRaw(system.topology.far, {
        dev: UPLINK,
        'src-mac': await macOf(system.topology.far.namespace, UPLINK),
        'dst-mac': await macOf(system.topology.node.namespace, UPLINK),
        src: client[family],
        dst: server[family],
        sport: 41_005,
        dport: TCP_PORT,
        flags: 'S',
      });
      await drop('INVALID_SOURCE_IP', since, { sourceAddress: client[family], sourcePort: 41_005 });
      expect(await received()).toBe(before);
    });

    test('a later fragment without its first is refused', async () => {
      const since = Date.now();
      const packet = { ...(await honest(client, family)), proto: 'udp', dport: UDP_PORT, id: 4_711 };
      await sendRaw(client, { ...packet, 'frag-offset': 1_480, 'payload-size': 100 });
      await drop('IP_FRAGMENTATION_NOT_SUPPORTED', since, {
        sourceAddress: client[family],
        destinationAddress: server[family],
      });
    });

    test('a packet that ends inside its layer-4 header is refused', async () => {
      const since = Date.now();
      const headers = family === 'ipv4' ? 20 : 40;
      await sendRaw(client, { ...(await honest(client, family)), dport: TCP_PORT, flags: 'S', cut: headers + 10 });
      await system.flow(
        'a malformed packet',
        // Its length field lies as well: which of the two is found first is not the point.
        (flow) =>
          flow.time >= since - 20 &&
          ['INVALID_PACKET_DROPPED', 'CT_TRUNCATED_OR_INVALID_HEADER'].includes(flow.dropReason ?? ''),
      );
    });

    test('a frame with a VLAN tag is refused', async () => {
      const since = Date.now();
      await sendRaw(client, { ...(await honest(client, family)), dport: TCP_PORT, flags: 'S', vlan: 7 });
      await system.flow(
        'a tagged frame',
        (flow) => flow.time >= since - 20 && flow.dropReason === 'UNSUPPORTED_L2_PROTOCOL',
      );
    });

    test('and after all that an honest connection is answered', async () => {
      expect(await connectTcp(client, server, family, TCP_PORT)).toMatchObject({ outcome: 'answered' });
    });
  });
});
