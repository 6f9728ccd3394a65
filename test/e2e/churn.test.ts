import { afterAll, beforeAll, expect, test } from 'vitest';
import { admit, TCP_PORT } from '../lib/policies.ts';
import { podName, policyName, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { connectTcp, HeldConnection, tcpEchoServer } from '../lib/traffic.ts';

let system: System;
let client: Workload;
let server: Workload;

beforeAll(async () => {
  system = await System.create('churn');
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  await tcpEchoServer(server, TCP_PORT);
  await system.start();
});

afterAll(() => system?.remove());

/** Waits until attempts end as wanted: a change takes milliseconds, and nothing announces it to the outside. */
async function until(outcome: string, from: Workload, to: Workload): Promise<void> {
  await expect
    .poll(async () => (await connectTcp(from, to, 'ipv4', TCP_PORT)).outcome, { timeout: 15_000 })
    .toBe(outcome);
}

test('a policy that comes takes a live connection back, by name, and one that changes lets the next one in', async () => {
  const held = await HeldConnection.open(client, server, 'ipv4', TCP_PORT);
  await held.alive();

  const since = Date.now();
  system.policy('guard', admit('server', ['somebody-else']));
  expect(await held.ended()).toBe('ECONNRESET');
  const revoked = await system.flow(
    'the connection taken back',
    (flow) =>
      flow.time >= since - 20 &&
      flow.verdict === 'DROPPED' &&
      [flow.sourcePort, flow.destinationPort].includes(held.port),
  );
  expect(revoked.deniedBy).toContain(policyName('guard'));
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });

  system.policy('guard', admit('server', ['client']));
  await until('answered', client, server);
});

test('a policy that changes and still admits a live connection leaves it alone', async () => {
  const held = await HeldConnection.open(client, server, 'ipv4', TCP_PORT);
  await held.alive();
  system.policy('guard', admit('server', ['client', 'late']));
  const late = await system.pod('late', 'routed');
  await until('answered', late, server);
  await held.alive();
  await held.close();
});

test('a policy that goes opens the workload again', async () => {
  const visitor = await system.pod('visitor', 'routed');
  await until('timeout', visitor, server);
  system.removePolicy('guard');
  await until('answered', visitor, server);
  system.policy('guard', admit('server', ['client']));
  await until('timeout', visitor, server);
});

test('a pod that comes while the agent runs is known and guarded', async () => {
  const newcomer = await system.pod('newcomer', 'bridge', 'server');
  await tcpEchoServer(newcomer, TCP_PORT);
  await until('answered', client, newcomer);
  const since = Date.now();
  const stranger = await system.pod('stranger', 'routed');
  await until('timeout', stranger, newcomer);
  const flow = await system.flow(
    'the stranger',
    (each) => each.time >= since - 20 && each.source === podName(stranger) && each.verdict === 'DROPPED',
  );
  expect(flow).toMatchObject({ destination: podName(newcomer), deniedBy: [policyName('guard')] });
});

test('a pod whose manifest comes before its namespace is picked up when the namespace appears', async () => {
  const links = system.links().size;
  const announced = { name: 'early', namespace: `${system.topology.node.namespace.replace(/node$/, 'early')}` };
  system.announce({ ...announced, attach: 'routed', nodeInterface: '', ipv4: '10.60.0.200', ipv6: 'fd60::200' });
  await expect.poll(() => system.status()).toContain('POD_NETNS_MISSING');
  const early = await system.topology.workload('early', 'routed');
  system.announce(early);
  await expect.poll(() => system.links().size).toBe(links + 2);
  await until('timeout', early, server);
});

test('the flows of a pod that goes are no longer admitted', async () => {
  const leaving = await system.pod('leaving', 'routed', 'client');
  await until('answered', leaving, server);
  const held = await HeldConnection.open(leaving, server, 'ipv4', TCP_PORT);
  await held.alive();
  system.withdraw('leaving');
  await until('timeout', leaving, server);
  await expect(held.alive(1, 1_000)).rejects.toThrow();
});

test('a pod that is gone with its namespace leaves no link behind, and its address may be used again', async () => {
  const before = system.links();
  const brief = await system.pod('brief', 'routed', 'client');
  await until('answered', brief, server);
  expect(system.links().size).toBe(before.size + 2);
  await system.topology.removeWorkload(brief);
  system.withdraw('brief');
  await expect.poll(() => system.links()).toEqual(before);
});

test('a label that changes changes the identity and what it may do', async () => {
  const changing = await system.pod('changing', 'routed', 'client');
  await until('answered', changing, server);
  system.announce(changing, 'somebody-else');
  await until('timeout', changing, server);
  system.announce(changing, 'client');
  await until('answered', changing, server);
});
