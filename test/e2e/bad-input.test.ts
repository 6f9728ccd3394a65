import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { podManifest } from '../../control-plane/demo/manifests.ts';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { admit, TCP_PORT } from '../lib/policies.ts';
import { NAMESPACE, NODE, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { connectTcp, tcpEchoServer } from '../lib/traffic.ts';

let system: System;
let client: Workload;
let server: Workload;
let stranger: Workload;

beforeAll(async () => {
  system = await System.create('bad');
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  stranger = await system.pod('stranger', 'routed');
  system.policy('guard', admit('server', ['client']));
  await tcpEchoServer(server, TCP_PORT);
  await system.start();
});

afterAll(() => system?.remove());

/** Whatever was wrong, the rest keeps working: the agent is ready and the good policy in force. */
afterEach(async () => {
  system.manifests.remove('bad.yaml');
  expect(system.agent.running).toBe(true);
  expect((await system.agent.get('/readyz')).status).toBe(200);
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
  expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  await expect.poll(() => statusExit()).toBe(0);
});

async function statusExit(): Promise<number> {
  return (await system.agent.cli(['status'], { tolerate: true })).code;
}

/** The status names code and place, in the API and in the command, which exits 79. */
async function reported(code: string, place: string): Promise<void> {
  await expect.poll(() => system.status()).toContain(code);
  expect(await system.status()).toContain(place);
  const { code: exit, stdout } = await system.agent.cli(['status', '-o', 'json'], { tolerate: true });
  expect({ exit, stdout }).toEqual({ exit: 79, stdout: expect.stringContaining(code) });
}

test('a file that is not YAML is named with its line', async () => {
  system.manifests.write('bad.yaml', 'kind: Pod\n  metadata: [\n');
  await reported('YAML_MALFORMED', 'bad.yaml');
});

test('a kind that nobody knows is refused by name', async () => {
  system.manifests.write('bad.yaml', 'apiVersion: v1\nkind: Spaceship\nmetadata: { name: x, namespace: shop }\n');
  await reported('OBJECT_UNKNOWN_KIND', 'Spaceship');
});

test('a field that nobody knows is refused by its path', async () => {
  const spec = { ...admit('stranger', ['client']), ingresss: [] };
  system.manifests.write('bad.yaml', policy('typo', spec));
  await reported('FIELD_UNKNOWN', 'spec.ingresss');
});

test('a field that is not supported yet is refused by its path, and what it selects is closed', async () => {
  await tcpEchoServer(stranger, TCP_PORT);
  system.manifests.write(
    'bad.yaml',
    policy('groups', { endpointSelector: { matchLabels: { app: 'stranger' } }, ingress: [{ fromGroups: [] }] }),
  );
  await reported('FIELD_NOT_SUPPORTED', 'spec.ingress[0].fromGroups');
  expect(await connectTcp(client, stranger, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
});

test('a good policy whose edit is bad stays in force as it was', async () => {
  const file = 'policy-guard.yaml';
  const good = readFileSync(`${system.manifests.path}/${file}`, 'utf8');
  system.manifests.write(file, good.replace('"ingress"', '"ingresss"'));
  await reported('FIELD_UNKNOWN', 'spec.ingresss');
  expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  system.manifests.write(file, good);
});

test('a pod whose network namespace is gone is named', async () => {
  system.manifests.write('bad.yaml', pod('ghost', ['10.60.0.250'], 'sst-nowhere'));
  await reported('POD_NETNS_MISSING', 'ghost');
});

test('a second pod with the same address is named, and the first keeps it', async () => {
  system.manifests.write('bad.yaml', pod('double', [client.ipv4], stranger.namespace));
  await reported('POD_ADDRESS_CONFLICT', 'double');
});

test('a pod without an address is named', async () => {
  system.manifests.write('bad.yaml', pod('homeless', [], stranger.namespace));
  await reported('POD_NO_ADDRESS', 'homeless');
});

test('a second agent on one instance is refused', async () => {
  const [program = '', ...args] = system.agent.commandLine;
  const second = await run('nsenter', inside(system.topology.node.namespace, [program, ...args]), {
    tolerate: true,
    timeoutMs: 20_000,
  });
  expect(second.code).toBe(1);
  expect(second.stderr + second.stdout).toContain('INSTANCE_BUSY');
});

test('an agent that is not root is refused with the privilege it lacks', async () => {
  const [program = '', ...args] = system.agent.commandLine.map((word) =>
    word === system.instance ? `${word}-nobody` : word,
  );
  const command = [
    ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
    // It may not be root, but it must be able to walk to a checkout that only root may enter.
    ...['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search', program, ...args],
  ];
  const unprivileged = await run('nsenter', inside(system.topology.node.namespace, command), {
    tolerate: true,
    timeoutMs: 20_000,
  });
  expect(unprivileged.code).toBe(1);
  expect(unprivileged.stderr + unprivileged.stdout).toContain('KERNEL_PERMISSION');
});

test('a policy that does not fit into the kernel is named, and the last complete one stays in force', async () => {
  await using small = await System.create('full', ['--policy-entries', '256']);
  const [asker, guarded, other] = [
    await small.pod('client', 'routed'),
    await small.pod('server', 'routed'),
    await small.pod('stranger', 'routed'),
  ];
  small.policy('guard', admit('server', ['client']));
  await tcpEchoServer(guarded, TCP_PORT);
  await small.start();
  const enforced = async (): Promise<void> => {
    expect(await connectTcp(asker, guarded, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
    expect(await connectTcp(other, guarded, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  };
  await enforced();
  const ports = (from: number): object[] =>
    Array.from({ length: 40 }, (_, i) => ({ port: String(from + i), protocol: 'TCP' }));
  small.policy('many', {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: [{ toPorts: Array.from({ length: 8 }, (_, i) => ({ ports: ports(20_000 + i * 40) })) }],
  });
  await expect.poll(() => small.status()).toContain('MAP_FULL');
  await enforced();
  small.removePolicy('many');
  await expect.poll(() => small.status()).not.toContain('MAP_FULL');
  await enforced();
});

test('an option that does not exist is a usage error', async () => {
  expect((await system.agent.cli(['status', '--no-such-option'], { tolerate: true })).code).toBe(64);
});

function policy(name: string, spec: object): string {
  return JSON.stringify({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name, namespace: NAMESPACE },
    spec,
  });
}

function pod(name: string, addresses: readonly string[], netns: string): string {
  return podManifest({ namespace: NAMESPACE, name, labels: { app: name }, addresses, netns, node: NODE });
}
