/** Policy by name: what a pod is told is in the kernel before it knows, whatever becomes of the agent; and what it may not ask. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NameRow } from '../../control-plane/agent/naming-plane.ts';
import type { AgentStatus } from '../../control-plane/agent/view.ts';
import { type AskOptions, askAndConnect, NamesServer, namedWorld } from '../lib/names.ts';
import { System } from '../lib/system.ts';
import { snmp, type Workload } from '../lib/topology.ts';
import { connectTcp, FAMILIES, HeldConnection } from '../lib/traffic.ts';

const PORT = 8443;
const FIRST_ANSWERS = 1000;
/** After it the kernel takes an agent that says nothing for none. */
const GONE_MS = 3_000;

let system: System;
let client: Workload;
/** Learns names, and may ask for everything. */
let free: Workload;
let dns: Workload;
let server: NamesServer;

const app = (name: string): object => ({ matchLabels: { app: name } });
const toDns = (rules?: object): object => ({
  toEndpoints: [app('dns')],
  toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], ...(rules ? { rules } : {}) }],
});
const toNames = (...names: readonly object[]): object => ({
  toFQDNs: names,
  toPorts: [{ ports: [{ port: String(PORT), protocol: 'TCP' }] }],
});

beforeAll(async () => {
  system = await System.create('names');
  client = await system.pod('client', 'routed');
  free = await system.pod('free', 'bridge');
  dns = await system.pod('dns', 'routed');
  await namedWorld(system.topology, PORT);
  server = await NamesServer.start(dns);
  system.policy('client', {
    endpointSelector: app('client'),
    egress: [
      toDns({ dns: [{ matchPattern: '*.example.test' }, { matchName: 'elsewhere.test' }] }),
      toNames({ matchPattern: 'n*.example.test' }, { matchPattern: 'alias*.example.test' }),
    ],
  });
  system.policy('free', {
    endpointSelector: app('free'),
    egress: [toDns(), toNames({ matchPattern: '**.open.test' })],
  });
  await system.start();
}, 60_000);
afterAll(() => system?.remove());

const ask = (from: Workload, name: string, options: AskOptions = {}): Promise<Readonly<Record<string, number>>> =>
  askAndConnect(from, dns, [name], { port: PORT, ...options });

test(`${FIRST_ANSWERS} names that nobody knew, each connected to at once: none fails, and no segment is sent twice`, async () => {
  const before = (await snmp(client.namespace)).get('Tcp.RetransSegs') ?? 0;
  const asked = server.queries.length;
  expect(await ask(client, `n{1..${FIRST_ANSWERS}}.example.test`)).toEqual({ connected: FIRST_ANSWERS });
  expect(((await snmp(client.namespace)).get('Tcp.RetransSegs') ?? 0) - before).toBe(0);
  // The agent has asked for nothing: what came to the server is what the client sent.
  const came = server.queries.slice(asked);
  expect(came).toHaveLength(FIRST_ANSWERS);
  expect(came.filter(({ from }) => !from.endsWith(client.ipv4))).toEqual([]);
}, 120_000);

describe.each(FAMILIES)('over %s', (family) => {
  const first = family === 'ipv4' ? 2000 : 3000;

  test('aliases, and answers over TCP', async () => {
    expect(await ask(client, `alias${first}.example.test`, { family })).toEqual({ connected: 1 });
    expect(await ask(client, `n${first + 1}.example.test`, { family, transport: 'tcp' })).toEqual({ connected: 1 });
    expect(await ask(free, `n${first + 2}.deep.open.test`, { family, transport: 'tcp' })).toEqual({ connected: 1 });
  });

  test('a name that no policy takes stands for nothing, although it was asked for', async () => {
    expect(await ask(client, `other${first + 3}.example.test`, { family })).toEqual({ timeout: 1 });
    expect(await ask(free, `n${first + 4}.example.test`, { family })).toEqual({ timeout: 1 });
    const flow = await system.flow(
      'to an address without a name that counts',
      ({ source, destinationPort, verdict }) =>
        source === 'shop/free' && destinationPort === PORT && verdict === 'DROPPED',
    );
    expect(flow).toMatchObject({ dropReason: 'POLICY_DENIED', deniedBy: ['CiliumNetworkPolicy/shop/free'] });
  });

  test('what one pod was told admits no other pod that is not admitted by that name', async () => {
    expect(await ask(client, `n${first + 5}.example.test`, { family })).toEqual({ connected: 1 });
    expect(await ask(free, `n${first + 5}.example.test`, { family })).toEqual({ timeout: 1 });
  });

  test.each(['udp', 'tcp'] as const)(
    'a name that may not be asked for is refused at once over %s, and the record says by what',
    async (transport) => {
      const name = `${transport}-${family}.forbidden.test`;
      expect(await ask(client, name, { family, transport })).toEqual({ REFUSED: 1 });
      expect(server.queries.map((query) => query.name)).not.toContain(name);
      const flow = await system.flow('refused', ({ summary }) => summary.includes(`DNS Query ${name}.`));
      expect(flow).toMatchObject({ verdict: 'DROPPED', source: 'shop/client', destination: 'shop/dns' });
      expect(flow.summary).toMatch(/not admitted by CiliumNetworkPolicy\/shop\/client#egress\[0\]/);
      expect(await ask(client, 'elsewhere.test', { family, transport, port: 0 })).toEqual({ answered: 1 });
    },
  );
});

test('answers are shown, with the names and addresses', async () => {
  await ask(client, 'n4000.example.test');
  const flow = await system.flow('the answer', ({ summary }) => summary.startsWith('DNS Answer "198.18.15.160"'));
  expect(flow).toMatchObject({ source: 'shop/dns', destination: 'shop/client', verdict: 'FORWARDED' });
});

test('`fqdn list` says what names stand for and what takes them, `status` what came by', async () => {
  await ask(client, 'n4001.example.test');
  await ask(free, 'other4002.example.test', { port: 0 });
  const { stdout } = await system.agent.cli(['fqdn', 'list', '-o', 'json']);
  const known = new Map((JSON.parse(stdout) as NameRow[]).map((row) => [row.name, row]));
  expect(known.get('n4001.example.test')).toMatchObject({
    taken: ['n*.example.test'],
    addresses: expect.arrayContaining([expect.objectContaining({ address: '198.18.15.161' })]),
  });
  expect(known.get('other4002.example.test')?.taken).toEqual([]);
  const text = (await system.agent.cli(['fqdn', 'list'])).stdout;
  expect(text).toMatch(/^NAME +ADDRESSES +UNTIL +TAKEN BY\n/);
  expect(text).toMatch(/^n4001\.example\.test +198\.18\.15\.161\S* +20\S+Z +n\*\.example\.test$/m);
  const { names, statistics } = JSON.parse(await system.status()) as AgentStatus;
  expect(names).toMatchObject({ active: true, unlearned: 0, unreadable: 0, forgotten: 0 });
  expect(names.learned).toBeGreaterThanOrEqual(FIRST_ANSWERS);
  expect(statistics['dns_answers']).toBeGreaterThanOrEqual(names.answers);
});

describe('without an agent', () => {
  test('names that are known go on, connections too; under rules nothing is asked, elsewhere answers come', async () => {
    expect(await ask(client, 'n5000.example.test')).toEqual({ connected: 1 });
    const far = { ...system.topology.far, ipv4: '198.18.19.136' };
    const held = await HeldConnection.open(client, far, 'ipv4', PORT);
    await system.agent.killHard();
    await new Promise((resolve) => setTimeout(resolve, GONE_MS));
    expect(await connectTcp(client, far, 'ipv4', PORT)).toMatchObject({ outcome: 'answered' });
    await held.alive();
    expect(await ask(client, 'n5001.example.test', { port: 0 })).toEqual({ 'no answer': 1 });
    expect(await ask(free, 'n5002.open.test', { port: 0 })).toEqual({ answered: 1 });
    await system.start();
    // What was known is known, before anybody asks again.
    expect(await connectTcp(client, far, 'ipv4', PORT)).toMatchObject({ outcome: 'answered' });
    await held.alive();
    await held.close();
    expect(await ask(client, 'n5001.example.test')).toEqual({ connected: 1 });
  }, 60_000);
});

test('a policy that takes a name lately needs no new question', async () => {
  expect(await ask(free, 'n6000.example.test', { port: 0 })).toEqual({ answered: 1 });
  const far = { ...system.topology.far, ipv4: '198.18.23.112' };
  expect(await connectTcp(free, far, 'ipv4', PORT)).toMatchObject({ outcome: 'timeout' });
  system.policy('later', { endpointSelector: app('free'), egress: [toNames({ matchName: 'n6000.example.test' })] });
  await expect
    .poll(() => connectTcp(free, far, 'ipv4', PORT), { timeout: 10_000 })
    .toMatchObject({ outcome: 'answered' });
});
