import { afterAll, beforeAll, expect, test } from 'vitest';
import { admit, TCP, TCP_PORT } from '../lib/policies.ts';
import { System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { connectTcp, ManyConnections, tcpEchoServer } from '../lib/traffic.ts';

const CONNECTIONS = 1_000;

let system: System;
let client: Workload;
let server: Workload;
let stranger: Workload;

beforeAll(async () => {
  system = await System.create('adoption');
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  stranger = await system.pod('stranger', 'routed');
  system.policy('guard', admit('server', ['client'], TCP));
  await tcpEchoServer(server, TCP_PORT);
});

afterAll(() => system?.remove());

test('an agent that comes to a node with 1,000 live connections breaks none and records each as adopted', async () => {
  const many = await ManyConnections.open(client, server, 'ipv4', TCP_PORT, CONNECTIONS);
  const unwelcome = await ManyConnections.open(stranger, server, 'ipv4', TCP_PORT, 1);

  await system.start();
  expect(await many.check()).toEqual({ event: 'checked', alive: CONNECTIONS, broken: 0 });
  expect(await many.check()).toEqual({ event: 'checked', alive: CONNECTIONS, broken: 0 });

  const { stdout } = await system.agent.cli(['observe', '-o', 'json', '--last', '5000']);
  const adopted = stdout
    .split('\n')
    .filter((line) => line.includes('adopted mid-stream') && line.includes(client.ipv4));
  expect(new Set(adopted.map(portOf)).size).toBe(CONNECTIONS);
  // Adoption is judged by policy: it opens no door.
  expect(await unwelcome.check()).toMatchObject({ alive: 0 });
  expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  await Promise.all([many.close(), unwelcome.close()]);
});

/** The client's port, on whichever side of the packet it was when the connection was adopted. */
function portOf(line: string): number | undefined {
  const tcp = (JSON.parse(line) as { flow: { l4: { TCP: { source_port: number; destination_port: number } } } }).flow.l4
    .TCP;
  return [tcp.source_port, tcp.destination_port].find((port) => port !== TCP_PORT);
}
