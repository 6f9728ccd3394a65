/** Many bytes between two pods that are proven to each other, beside bare WireGuard; and what the nodes hold in memory by then. */
import { setTimeout as sleep } from 'node:timers/promises';
import { tunnelOf } from '../../lib/authentication.ts';
import { type Cluster, type ClusterNode, meshed } from '../../lib/cluster.ts';
import { envoyOf, SERVER_PORT } from '../http/bed.ts';
import { getOnly } from '../http/rules.ts';
import { megabytes } from '../processes.ts';
import { createBare } from './bare.ts';
import { type BulkPlan, bulk, type Throughput, throughput } from './bulk.ts';

const STREAMS = [1, 4] as const;
/** What a start or a transfer leaves behind is given back by then, or is not given back. */
const SETTLE_MS = 3_000;

/** Megabytes (10^6) of PSS. */
export interface NodeMemory {
  readonly when: string;
  readonly node: string;
  readonly agent: number;
  readonly tunnel: number;
  /** 0: there is none, as no rule needs one. */
  readonly envoy: number;
}

export interface Transfer {
  readonly throughput: readonly Throughput[];
  readonly memory: readonly NodeMemory[];
}

export async function transfer(plan: BulkPlan, progress: (text: string) => void): Promise<Transfer> {
  await using cluster = await meshed('bulk', 2, ['--envoy-concurrency', '1']);
  for (const node of cluster.nodes) await node.unfollow();
  const [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
  const sidestep = { client: await cluster.pod('client', first), server: await cluster.pod('server', second) };
  const [rule] = [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], authentication: { mode: 'required' } }];
  cluster.policy('bulk', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [rule] });
  // The first packet waits for the proof.
  await bulk(sidestep, 1, 0.2);
  await sleep(SETTLE_MS);
  const memory = await measure(cluster, 'idle');
  const measured: Throughput[] = [];
  {
    const bare = await createBare('bare');
    await using _ = bare.cluster;
    for (const each of [sidestep, bare]) await bulk(each, 4, 0.5);
    for (const streams of STREAMS) {
      progress(`tunnel throughput, ${streams} stream(s), ${plan.rounds} rounds of ${plan.seconds} s each`);
      measured.push(await throughput({ sidestep, bare }, streams, plan));
    }
  }
  await sleep(SETTLE_MS);
  memory.push(...(await measure(cluster, 'after the transfers')));
  progress('memory with an Envoy');
  cluster.policy('http', getOnly('server', SERVER_PORT));
  const envoy = await envoyOf(second);
  await sleep(SETTLE_MS);
  memory.push(...(await measure(cluster, 'with an HTTP rule on the second node', envoy)));
  return { throughput: measured, memory };
}

/** @param envoy of the second node */
async function measure(cluster: Cluster, when: string, envoy?: number): Promise<NodeMemory[]> {
  const measured: NodeMemory[] = [];
  for (const node of cluster.nodes) {
    const { tunnel } = await tunnelOf(node);
    const own = envoy !== undefined && node.number === 2 ? [envoy] : [];
    measured.push({
      when,
      node: node.name,
      agent: megabytes(node.agent.pid === undefined ? [] : [node.agent.pid]),
      // The kernel's own has no process.
      tunnel: megabytes(tunnel?.pid === undefined ? [] : [tunnel.pid]),
      envoy: megabytes(own),
    });
  }
  return measured;
}
