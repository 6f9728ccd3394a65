import { afterAll, beforeAll, expect, test } from 'vitest';
import { admit, TCP, TCP_PORT } from '../lib/policies.ts';
import { podName, System } from '../lib/system.ts';
import { gatewayMac, macOf, WORKLOAD_INTERFACE, type Workload } from '../lib/topology.ts';
import { connectTcp, HeldConnection, sendRaw, tcpEchoServer } from '../lib/traffic.ts';

let system: System;
let client: Workload;
let server: Workload;
let flooder: Workload;

beforeAll(async () => {
  system = await System.create('flood', ['--flows', '16384', '--flow-quota', '4096']);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  flooder = await system.pod('flooder', 'routed');
  system.policy('guard', admit('server', ['client', 'flooder'], TCP));
  await tcpEchoServer(server, TCP_PORT);
  await system.start();
});

afterAll(() => system?.remove());

test('a workload that floods with SYNs is limited by name, and established connections live on', async () => {
  const held = await HeldConnection.open(client, server, 'ipv4', TCP_PORT);
  const own = await HeldConnection.open(flooder, server, 'ipv4', TCP_PORT);
  await Promise.all([held.alive(), own.alive()]);

  // Every source port, towards an address that nobody has: each SYN asks for a flow of its own, and none is answered.
  // Without the quota they would push everything else out of the table several times over.
  const flood = {
    dev: WORKLOAD_INTERFACE,
    'src-mac': await macOf(flooder.namespace, WORKLOAD_INTERFACE),
    'dst-mac': await gatewayMac(system.topology, flooder),
    src: flooder.ipv4,
    dst: '10.60.0.250',
    sport: 1,
    'sport-step': 1,
    dport: TCP_PORT,
    flags: 'S',
  };
  expect(await sendRaw(flooder, { ...flood, count: 200_000, rate: 100_000 })).toBe(200_000);

  await Promise.all([held.alive(), own.alive()]);
  // Asked of the store: no follower keeps up with a flood, and what it misses is only counted.
  const limited = await system.agent.cli([
    'observe',
    '--last=1',
    '--from-pod',
    podName(flooder),
    '--drop-reason-desc',
    'DROP_RATE_LIMITED',
  ]);
  expect(limited.stdout).toContain('Rate limited DROPPED');
  // The quota is the flooder's own: another workload opens connections as ever.
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
  await Promise.all([held.close(), own.close()]);
});
