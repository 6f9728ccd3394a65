import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { setSysctls } from '../../control-plane/demo/namespaces.ts';
import { admit, TCP_PORT, UDP_PORT } from '../lib/policies.ts';
import { podName, policyName, System } from '../lib/system.ts';
import { snmp, type Workload } from '../lib/topology.ts';
import { connectTcp, HeldConnection, tcpEchoServer, UdpStream } from '../lib/traffic.ts';

const PACKETS_PER_SECOND = 10_000;

describe.each([
  ['routed', 'tcx'],
  ['bridge', 'tcx'],
  ['routed', 'clsact'],
] as const)('kill -9 of the agent under load, with %s workloads and %s', (attach, hooks) => {
  let system: System;
  let client: Workload;
  let server: Workload;
  let intruder: Workload;

  beforeAll(async () => {
    system = await System.create(`restart-${attach}-${hooks}`, ['--attach', hooks]);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    intruder = await system.pod('intruder', attach);
    system.policy('guard', admit('server', ['client']));
    // Without tail loss probes a retransmission means a loss: a probe is also sent when the echoing process is late.
    for (const { namespace } of [client, server]) await setSysctls(namespace, { 'net/ipv4/tcp_early_retrans': 0 });
    await tcpEchoServer(server, TCP_PORT);
    await system.start();
  });

  afterAll(() => system?.remove());

  test('loses no datagram and no segment, lets nobody in, and the same links serve the next agent', async () => {
    const links = system.links();
    expect(links.size).toBe(hooks === 'tcx' ? 6 : 0); // clsact filters have no link
    const stream = await UdpStream.start(client, server, 'ipv4', UDP_PORT, PACKETS_PER_SECOND);
    const held = await HeldConnection.open(client, server, 'ipv6', TCP_PORT);
    await held.alive();
    const before = await retransmitted();

    for (const _ of ['first', 'second']) {
      await system.agent.killHard();
      const [whileDead, admittedWhileDead] = await Promise.all([
        connectTcp(intruder, server, 'ipv4', TCP_PORT),
        connectTcp(client, server, 'ipv4', TCP_PORT),
        held.alive(20),
      ]);
      expect(whileDead).toMatchObject({ outcome: 'timeout' });
      expect(admittedWhileDead).toMatchObject({ outcome: 'answered' });

      await system.start();
      await held.alive(20);
      expect(system.links()).toEqual(links);
    }

    const report = await stream.stop();
    expect(report).toMatchObject({ received: report.sent, gaps: 0, duplicates: 0, socketOverflow: 0 });
    expect(report.sent).toBeGreaterThan(2 * PACKETS_PER_SECOND);
    expect(await retransmitted()).toEqual(before);
    await held.close();
  });

  test('flows after the restart carry names again', async () => {
    const since = Date.now() - 20;
    expect(await connectTcp(intruder, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
    const flow = await system.flow(
      'the intruder',
      (each) => each.time >= since && each.source === podName(intruder) && each.verdict === 'DROPPED',
    );
    expect(flow.deniedBy).toContain(policyName('guard'));
  });

  async function retransmitted(): Promise<readonly (number | undefined)[]> {
    return Promise.all([client, server].map(async ({ namespace }) => (await snmp(namespace)).get('Tcp.RetransSegs')));
  }
});

test('an agent that is asked to stop leaves the kernel enforcing', async () => {
  await using system = await System.create('stop');
  const client = await system.pod('client', 'routed');
  const server = await system.pod('server', 'routed');
  const intruder = await system.pod('intruder', 'routed');
  system.policy('guard', admit('server', ['client']));
  await tcpEchoServer(server, TCP_PORT);
  await system.start();
  const links = system.links();
  expect(await system.agent.stop()).toMatchObject({ code: 0 });
  expect(system.links()).toEqual(links);
  expect(await connectTcp(intruder, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
});

test('changes made while no agent ran are in force when the next one is ready', async () => {
  await using system = await System.create('away');
  const client = await system.pod('client', 'routed');
  const server = await system.pod('server', 'routed');
  system.policy('guard', admit('server', ['somebody-else']));
  await tcpEchoServer(server, TCP_PORT);
  await system.start();
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  await system.agent.killHard();
  system.policy('guard', admit('server', ['client']));
  await system.start();
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
});
