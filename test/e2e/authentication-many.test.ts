/** A thousand pairs of identities that nobody has proven yet, all at once: their first connections wait, and no segment is sent twice. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SecureView } from '../../control-plane/agent/secure-plane.ts';
import type { AgentStatus } from '../../control-plane/agent/view.ts';
import { required } from '../lib/authentication.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { type Connections, connectAll, echoServers } from '../lib/pairs.ts';
import { snmp } from '../lib/topology.ts';

const SIDE = 32;
/** Servers in a wave. */
const AT_ONCE = 4;
const PORT = 9300;

let cluster: Cluster;
let first: ClusterNode;
let second: ClusterNode;
let clients: readonly ClusterPod[];
let servers: readonly ClusterPod[];
let waited = 0;
let again = 0;
let worst = 0;

async function ask<T>(node: ClusterNode, path: string): Promise<T> {
  return JSON.parse((await node.agent.get(path)).body) as T;
}
const secureView = (node: ClusterNode): Promise<SecureView> => ask(node, '/v1/authentication');

async function retransmissions(): Promise<number> {
  const counters = await Promise.all(clients.map(({ namespace }) => snmp(namespace)));
  return counters.reduce((sum, each) => sum + (each.get('Tcp.RetransSegs') ?? 0), 0);
}

async function policies(node: ClusterNode): Promise<number> {
  return (await ask<AgentStatus>(node, '/v1/status')).policies.accepted;
}

/** Those of the pods that are proven to this node. */
async function provenTo(node: ClusterNode, pods: readonly ClusterPod[]): Promise<readonly string[]> {
  const { proofs } = await secureView(node);
  const names = proofs.flatMap(({ side, spiffeId }) => (side === 'theirs' ? [spiffeId.split('/').at(-1) ?? ''] : []));
  return names.filter((name) => pods.some((pod) => pod.name === name));
}

const tier = (name: string): object => ({ matchLabels: { tier: name } });
const open = (to: object, ...rules: readonly object[]): object => ({ endpointSelector: to, ingress: rules });
const requiredOf = (name: string): object => ({ fromEndpoints: [tier(name)], authentication: { mode: 'required' } });
const app = (name: string): object => ({ matchLabels: { app: name } });

beforeAll(async () => {
  cluster = await meshed('many', 2);
  [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
  // Two readers of every flow would share the processors with what has to be done within the second of a SYN's patience.
  for (const node of cluster.nodes) await node.unfollow();
  const side = (name: string, node: ClusterNode): Promise<ClusterPod[]> =>
    Promise.all(
      Array.from({ length: SIDE }, (_, i) =>
        cluster.pod(`${name}-${i}`, node, `${name}-${i}`, { tier: name, wave: `${Math.floor(i / AT_ONCE)}` }),
      ),
    );
  [clients, servers] = [await side('client', first), await side('server', second)];
  await cluster.pod('near', first);
  await cluster.pod('far', second);
  await echoServers(servers, PORT);
}, 60_000);
afterAll(() => cluster?.remove());

test('each has its certificate, for a peer on its own node, and there is a session; nothing of them is proven in it', async () => {
  cluster.policy('near', open(app('near'), requiredOf('client')));
  cluster.policy('servers', open(tier('server'), required('far')));
  cluster.policy('far', open(app('far'), required('near')));
  for (const node of cluster.nodes)
    await expect.poll(async () => (await secureView(node)).certificates.length, { timeout: 20_000 }).toBe(SIDE + 1);
  for (const node of cluster.nodes)
    await expect.poll(async () => (await secureView(node)).proofs.length, { timeout: 20_000 }).toBe(2);
});

const WAVES = Array.from({ length: SIDE / AT_ONCE }, (_, i) => i);

function signal({ agent: { pid } }: ClusterNode, name: 'SIGSTOP' | 'SIGCONT'): void {
  if (pid === undefined) throw new Error('the agent does not run');
  process.kill(pid, name);
}

/**
 * A policy that both kernels have and no agent has proven anything for: they are stopped in turns, so that the two never talk
 * about it. The first is stopped in the end.
 */
async function applyUnproven(wave: number, targets: readonly ClusterPod[]): Promise<void> {
  const count = (await policies(first)) + 1;
  signal(second, 'SIGSTOP');
  cluster.policy(`wave-${wave}`, open({ matchLabels: { tier: 'server', wave: `${wave}` } }, requiredOf('client')));
  await expect.poll(() => policies(first), { interval: 5, timeout: 10_000 }).toBe(count);
  expect(await provenTo(first, targets)).toEqual([]);
  signal(first, 'SIGSTOP');
  signal(second, 'SIGCONT');
  await expect.poll(() => policies(second), { interval: 5, timeout: 10_000 }).toBe(count);
}

/** Each wave has servers of its own: whatever was proven of the clients by then, their pairs with these are unproven. */
test.each(WAVES)('first connections of 32 clients to servers that nobody has proven, wave %i', async (wave) => {
  const targets = servers.slice(wave * AT_ONCE, (wave + 1) * AT_ONCE);
  const pairs = clients.length * targets.length;
  const [sentBefore, { held: before }] = [await retransmissions(), await secureView(first)];
  const letGo = (): void => {
    for (const node of cluster.nodes) signal(node, 'SIGCONT');
  };
  let connections: Connections;
  try {
    await applyUnproven(wave, targets);
    connections = await connectAll(clients, targets, 'ipv4', PORT, letGo);
  } finally {
    letGo();
  }
  const { answered, segments, micros } = connections;
  const sentAgain = (await retransmissions()) - sentBefore;
  const { held } = await secureView(first);
  again += sentAgain;
  waited += held.released - before.released;
  worst = Math.max(worst, ...micros);
  expect({ answered, segments, sentAgain }).toEqual({ answered: pairs, segments: 0, sentAgain: 0 });
  expect(held).toEqual({ ...before, held: before.held + pairs, released: before.released + pairs });
  expect(await provenTo(first, targets)).toHaveLength(targets.length);
});

test('that were 1,024 pairs, each of which waited', () => {
  console.log(
    `${waited} first packets waited, ${again} segments were sent again; the slowest answer came after ${Math.round(worst / 1000)} ms`,
  );
  expect(waited).toBe(SIDE * SIDE);
});
