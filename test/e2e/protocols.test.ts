import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { admit, admitNobody, UDP, UDP_PORT } from '../lib/policies.ts';
import { podName, policyName, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { askUdp, FAMILIES, ping, udpEchoServer } from '../lib/traffic.ts';

const CLOSED_PORT = 7999;

describe.each(['routed', 'bridge'] as const)('what is not TCP, between %s workloads', (attach) => {
  let system: System;
  let client: Workload;
  let server: Workload;
  let open: Workload;
  let stranger: Workload;

  beforeAll(async () => {
    system = await System.create(`protocols-${attach}`);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    open = await system.pod('open', attach);
    stranger = await system.pod('stranger', attach);
    system.policy('datagrams', admit('server', ['client'], UDP));
    system.policy('all', admit('open', ['client']));
    // Nothing may come to the client but what belongs to its own flows.
    system.policy('closed', admitNobody('client'));
    for (const host of [server, open]) await udpEchoServer(host, UDP_PORT);
    await system.start();
  });

  afterAll(() => system?.remove());

  describe.each(FAMILIES)('over %s', (family) => {
    test('UDP is answered where a policy admits it, and refused by name where not', async () => {
      expect(await askUdp(client, server, family, UDP_PORT)).toMatchObject({ outcome: 'answered' });
      expect(await askUdp(stranger, server, family, UDP_PORT)).toMatchObject({ outcome: 'timeout' });
      const flow = await system.flow(
        'the refused datagram',
        (each) =>
          each.verdict === 'DROPPED' && each.sourceAddress === stranger[family] && each.destinationPort === UDP_PORT,
      );
      expect(flow).toMatchObject({ destination: podName(server), deniedBy: [policyName('datagrams')] });
    });

    test('an echo request is answered where a policy admits every protocol, and refused where it admits only UDP', async () => {
      expect(await ping(client, open, family, 2)).toBe(2);
      expect(await ping(client, server, family)).toBe(0);
      await system.flow(
        'the refused echo request',
        (each) =>
          each.verdict === 'DROPPED' &&
          each.sourceAddress === client[family] &&
          each.destination === podName(server) &&
          each.raw.includes('ICMP'),
      );
    });

    test('port unreachable reaches the owner of the flow, although nothing else may come in', async () => {
      expect(await askUdp(client, open, family, CLOSED_PORT)).toMatchObject({ outcome: 'ECONNREFUSED' });
    });

    test('a datagram of 4,000 bytes passes in fragments where it is admitted', async () => {
      expect(await askUdp(client, server, family, UDP_PORT, 4_000)).toMatchObject({ outcome: 'answered' });
    });

    test('a datagram of 4,000 bytes does not pass where it is not', async () => {
      expect(await askUdp(stranger, server, family, UDP_PORT, 4_000)).toMatchObject({ outcome: 'timeout' });
    });
  });
});
