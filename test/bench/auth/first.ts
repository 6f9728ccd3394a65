/** What the first connection of two workloads costs while nothing of them is proven: with a session of their nodes, and without. */
import { connectAll } from '../../lib/pairs.ts';
import { interval, percentile } from '../statistics.ts';
import { type Bed, type Pair, PLAIN_PORT, PORT, viewOf } from './bed.ts';

export interface Distribution {
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly p99Interval: readonly [number, number];
  readonly worst: number;
  readonly count: number;
}

export interface FirstConnections {
  /** The same pairs' connections without authentication, through the same tunnel. */
  readonly plain: Distribution;
  /** Unproven less plain, of one pair each. */
  readonly added: Distribution;
  readonly firstContact: Distribution;
  /** Segments that clients sent again, of all. */
  readonly sentAgain: number;
  /** First packets that waited, of as many connections of both kinds. */
  readonly waited: number;
}

export interface FirstPlan {
  /** Of all pairs of the bed. */
  readonly rounds: number;
  readonly contacts: number;
}

export async function firstConnections(bed: Bed, { rounds, contacts }: FirstPlan): Promise<FirstConnections> {
  let sentAgain = 0;
  /** @returns milliseconds until the first byte came back */
  const connect = async ({ client, server }: Pair, port: number): Promise<number> => {
    const { micros, segments } = await connectAll([client], [server], 'ipv4', port);
    sentAgain += segments;
    const [taken] = micros;
    if (taken === undefined) throw new Error(`no answer: ${client.name} to ${server.name}, port ${port}`);
    return taken / 1000;
  };
  const [plain, unproven, firstContact]: [number[], number[], number[]] = [[], [], []];
  await connect(bed.pairs[0] as Pair, PORT);
  const before = await released(bed);
  for (let round = 0; round < rounds; round++) {
    await bed.renew(round + 1);
    for (const [i, pair] of bed.pairs.entries()) {
      // Neighbours are found, the tunnel is warm.
      await connect(pair, PLAIN_PORT);
      const order = (i + round) % 2 === 0 ? [PORT, PLAIN_PORT] : [PLAIN_PORT, PORT];
      for (const port of order) (port === PORT ? unproven : plain).push(await connect(pair, port));
    }
  }
  for (let i = 0; i < contacts; i++) {
    await bed.part();
    firstContact.push(await connect(bed.pairs[i % bed.pairs.length] as Pair, PORT));
  }
  return {
    plain: distribution(plain),
    added: distribution(unproven.map((ms, i) => ms - (plain[i] ?? Number.NaN))),
    firstContact: distribution(firstContact),
    sentAgain,
    waited: (await released(bed)) - before,
  };
}

async function released({ first }: Bed): Promise<number> {
  return (await viewOf(first)).held.released;
}

function distribution(ms: readonly number[]): Distribution {
  const p99 = (values: readonly number[]): number => percentile(values, 0.99);
  return {
    p50: percentile(ms, 0.5),
    p99: p99(ms),
    p99Interval: interval(ms, p99),
    worst: Math.max(...ms),
    count: ms.length,
  };
}
