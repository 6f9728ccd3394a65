/** What one Envoy for the node and the agent take, against one Envoy per pod. Nothing is asked meanwhile. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { System } from '../../lib/system.ts';
import { Topology } from '../../lib/topology.ts';
import { megabytes } from '../processes.ts';
import { median } from '../statistics.ts';
import { envoyOf, SERVER_PORT } from './bed.ts';
import { issueCertificates } from './certificates.ts';
import { getOnly } from './rules.ts';
import { serverSidecar } from './stock-config.ts';
import { startStockEnvoy } from './stock-envoy.ts';

/** What a start leaves behind is given back by then. */
const SETTLE_MS = 3000;

export interface Memory {
  readonly pods: readonly number[];
  /** Megabytes (10^6) of PSS: agent and Envoy together, the Envoy of them, and all sidecars together. */
  readonly sidestep: readonly number[];
  readonly envoy: readonly number[];
  readonly sidecars: readonly number[];
  /** Megabytes per pod, by least squares. */
  readonly slopes: { readonly sidestep: number; readonly sidecars: number };
}

export interface Sizes {
  /** Ascending. */
  readonly pods: readonly number[];
  /** Of the agent, per number: how much it holds is a matter of when it last collected garbage, too. */
  readonly starts: number;
}

export async function memory({ pods, starts }: Sizes): Promise<Memory> {
  const { sidestep, envoy } = await ours(pods, starts);
  const sidecars = await theirs(pods);
  const slopes = { sidestep: slope(pods, sidestep), sidecars: slope(pods, sidecars) };
  return { pods, sidestep, envoy, sidecars, slopes };
}

/** Each pod under an HTTP rule of its own. */
async function ours(pods: readonly number[], starts: number): Promise<Pick<Memory, 'sidestep' | 'envoy'>> {
  await using system = await System.create('memory', ['--envoy-concurrency', '1']);
  // Whom the rules admit: a rule that admits nobody who exists needs no Envoy.
  await system.pod('client', 'routed');
  const [sidestep, envoy]: [number[], number[]] = [[], []];
  let made = 0;
  for (const count of pods) {
    for (; made < count; made++) {
      await system.pod(`pod-${made}`, 'routed');
      system.policy(`policy-${made}`, getOnly(`pod-${made}`, SERVER_PORT));
    }
    const agents: number[] = [];
    let its = Number.NaN;
    for (let start = 0; start < starts; start++) {
      await system.agent.start();
      const pid = await envoyOf(system);
      await sleep(SETTLE_MS);
      its = megabytes([pid]);
      agents.push(megabytes(system.agent.pid === undefined ? [] : [system.agent.pid]));
      await system.agent.stop();
    }
    envoy.push(its);
    sidestep.push(its + median(agents));
  }
  return { sidestep, envoy };
}

async function theirs(pods: readonly number[]): Promise<number[]> {
  await using topology = await Topology.create('memory');
  const folder = mkdtempSync(join(tmpdir(), 'sst-bench-'));
  try {
    const certificates = await issueCertificates(folder);
    const upstream = { address: '127.0.0.1', port: SERVER_PORT };
    const measured: number[] = [];
    const pids: number[] = [];
    for (const count of pods) {
      while (pids.length < count) {
        const { name, namespace, ipv4 } = await topology.workload(`pod-${pids.length}`, 'routed');
        const config = serverSidecar({ listen: { address: ipv4, port: 15006 }, upstream }, certificates);
        pids.push((await startStockEnvoy(folder, name, namespace, config)).pid);
      }
      await sleep(SETTLE_MS);
      measured.push(megabytes(pids));
    }
    return measured;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function slope(xs: readonly number[], ys: readonly number[]): number {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(xs), mean(ys)];
  const pairs = xs.map((each, i) => [each - x, (ys[i] ?? Number.NaN) - y] as const);
  const sum = (of: (pair: readonly [number, number]) => number): number => pairs.reduce((s, pair) => s + of(pair), 0);
  return sum(([dx, dy]) => dx * dy) / sum(([dx]) => dx * dx);
}
