/** What agents spend on proving many identities, and on further pairs of those that are proven. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterPod } from '../../lib/cluster.ts';
import { connectAll } from '../../lib/pairs.ts';
import { cpuSeconds } from '../processes.ts';
import { interval, median } from '../statistics.ts';
import { type Bed, PLAIN_PORT, PORT, viewOf } from './bed.ts';

/** In which both agents have proven all and gone quiet. */
const PROVE_MS = 1_500;
/** Flows are taken from the kernel in batches. */
const SETTLE_MS = 150;
/** Servers that all clients connect to at once. */
const AT_ONCE = 10;

export interface Cost {
  /** Milliseconds of processor time, of both agents together. */
  readonly each: number;
  readonly interval: readonly [number, number];
  readonly rounds: number;
}

export interface IdentityCosts {
  readonly identities: number;
  /** Prover and verifier, the session of the nodes included. */
  readonly identity: Cost;
  /** The first in the life of the agents. */
  readonly first: number;
  readonly pairs: number;
  /** Their connections, a tenth of them at once, less the same without authentication. */
  readonly pair: Cost;
  /** For one of the connections without authentication: their records. */
  readonly record: number;
}

export interface IdentityPlan {
  readonly proofs: number;
  readonly connections: number;
}

export async function identityCosts(bed: Bed, plan: IdentityPlan): Promise<IdentityCosts> {
  const identities = 2 * bed.pairs.length;
  const proving: number[] = [];
  for (let round = 0; round < plan.proofs; round++) {
    await bed.part();
    proving.push((1000 * (await proveAll(bed, identities))) / identities);
  }
  const clients = bed.pairs.map(({ client }) => client);
  const servers = bed.pairs.map(({ server }) => server);
  /** @returns milliseconds of both agents for each pair */
  const connect = async (targets: readonly ClusterPod[], port: number): Promise<number> => {
    const before = cpuSeconds(bed.agents);
    const { answered } = await connectAll(clients, targets, 'ipv4', port);
    const pairs = clients.length * targets.length;
    if (answered !== pairs) throw new Error(`${answered} of ${pairs} answers on port ${port}`);
    await sleep(SETTLE_MS);
    return (1000 * (cpuSeconds(bed.agents) - before)) / pairs;
  };
  const [plain, proven]: [number[], number[]] = [[], []];
  for (let round = 0; round <= plan.connections; round++)
    for (let i = 0; i < servers.length; i += AT_ONCE) {
      const targets = servers.slice(i, i + AT_ONCE);
      // Neighbours are found in the first round.
      if (round === 0) await connect(targets, PLAIN_PORT);
      else
        for (const port of (i / AT_ONCE + round) % 2 === 0 ? [PLAIN_PORT, PORT] : [PORT, PLAIN_PORT])
          (port === PORT ? proven : plain).push(await connect(targets, port));
    }
  return {
    identities,
    identity: cost(proving),
    first: proving[0] ?? Number.NaN,
    pairs: clients.length * servers.length,
    pair: cost(proven.map((each, i) => each - (plain[i] ?? Number.NaN))),
    record: median(plain),
  };
}

/** @returns seconds of both agents, less what they spend in as much time without it */
async function proveAll(bed: Bed, identities: number): Promise<number> {
  const start = cpuSeconds(bed.agents);
  await sleep(PROVE_MS);
  const idle = cpuSeconds(bed.agents);
  bed.prove();
  await sleep(PROVE_MS);
  const end = cpuSeconds(bed.agents);
  for (const node of [bed.first, bed.second]) {
    const { proofs } = await viewOf(node);
    if (proofs.length !== identities) throw new Error(`${node.name}: ${proofs.length} of ${identities} are proven`);
  }
  return end - idle - (idle - start);
}

function cost(values: readonly number[]): Cost {
  return { each: median(values), interval: interval(values), rounds: values.length };
}
