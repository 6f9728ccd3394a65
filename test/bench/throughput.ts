/** Round trips, connections, datagrams and bulk: what is left of them with Sidestep, in interleaved pairs (A B B A). */
import { offloadsOff, PORT, type Rig, type Variant } from './rig.ts';
import { median, type Paired, paired } from './statistics.ts';

export interface Plan {
  /** Pairs per figure. */
  readonly pairs: number;
  /** Seconds per run. */
  readonly seconds: number;
}

/** One run of one variant; the figure, per second. */
type Measure = (variant: Variant) => Promise<number>;

/** A B B A …: a drift of the machine falls on both alike. */
async function interleave(rig: Rig, plan: Plan, measure: Measure): Promise<[plain: number[], meshed: number[]]> {
  const results: [number[], number[]] = [[], []];
  for (let pair = 0; pair < plan.pairs; pair++)
    for (const side of pair % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const))
      results[side].push(await measure(side === 0 ? rig.plain : rig.meshed));
  return results;
}

/** Client and server share a core: a round trip is then work, not waiting for another core to wake. */
export async function roundTrips(rig: Rig, plan: Plan): Promise<Paired> {
  const [plain, meshed] = await served(rig, () =>
    interleave(rig, plan, async ({ client, server }) => {
      return (await rig.load(client, 0, ['rr', server.ipv4, PORT, plan.seconds]))['rate'] ?? Number.NaN;
    }),
  );
  return paired('TCP round trips (one connection, 1 byte)', '/s', plain, meshed);
}

export async function connections(rig: Rig, plan: Plan): Promise<Paired> {
  const [plain, meshed] = await served(rig, () =>
    interleave(rig, plan, async ({ client, server }) => {
      return (await rig.load(client, 0, ['crr', server.ipv4, PORT, plan.seconds]))['rate'] ?? Number.NaN;
    }),
  );
  return paired('TCP connections, each with one round trip', '/s', plain, meshed);
}

export async function datagrams(rig: Rig, plan: Plan): Promise<Paired> {
  const [plain, meshed] = await interleave(rig, plan, async ({ client, server }) => {
    const receiver = await rig.listen(server, 1, ['count', PORT + 1, plan.seconds + 1]);
    await rig.load(client, 0, ['udp', server.ipv4, PORT + 1, plan.seconds, 64]);
    return perSecond(receiver.exited, receiver, 'count');
  });
  return paired('UDP datagrams of 64 bytes, received', '/s', plain, meshed);
}

export async function bulk(rig: Rig, plan: Plan): Promise<Paired> {
  await offloadsOff(rig.plain, rig.plainNode);
  await offloadsOff(rig.meshed, rig.system.topology.node.namespace);
  const [plain, meshed] = await interleave(rig, plan, async ({ client, server }) => {
    const receiver = await rig.listen(server, 1, ['drain', PORT + 2, plan.seconds + 1]);
    await rig.load(client, 0, ['bulk', server.ipv4, PORT + 2, plan.seconds]);
    return perSecond(receiver.exited, receiver, 'bytes');
  });
  return paired('TCP bulk, TSO, GSO and GRO off', 'bytes/s', plain, meshed);
}

async function perSecond(
  exited: Promise<unknown>,
  receiver: { readonly lines: readonly string[] },
  what: 'count' | 'bytes',
): Promise<number> {
  await exited;
  const result = JSON.parse(receiver.lines.at(-1) ?? '{}') as Record<string, number>;
  return (result[what] ?? Number.NaN) / (result['seconds'] ?? Number.NaN);
}

async function served<T>(rig: Rig, measure: () => Promise<T>): Promise<T> {
  const servers = await Promise.all(
    [rig.plain, rig.meshed].map(({ server }) => rig.listen(server, 0, ['serve', PORT])),
  );
  try {
    return await measure();
  } finally {
    for (const server of servers) await server.stop();
  }
}

export interface AddedLatency {
  /** Requests per second: half of what the slower variant can do. */
  readonly rate: number;
  /** Microseconds, median over the pairs: plain, with Sidestep, and the median of the differences. */
  readonly p50: readonly [plain: number, meshed: number, added: number];
  readonly p99: readonly [plain: number, meshed: number, added: number];
  /** Share of requests that the generator itself sent more than 1 ms late. */
  readonly late: number;
  readonly pairs: number;
}

/**
 * Open loop at half the knee of the slower variant, latency counted from the intended send time. The generator spins
 * between sends, so client and server have a core each, and the knee is measured that way, too.
 */
export async function addedLatency(rig: Rig, plan: Plan): Promise<AddedLatency> {
  const knees = await served(rig, () =>
    interleave(rig, { pairs: 2, seconds: plan.seconds }, async ({ client, server }) => {
      return (await rig.load(client, 1, ['rr', server.ipv4, PORT, plan.seconds]))['rate'] ?? Number.NaN;
    }),
  );
  const rate = Math.floor(Math.min(...knees.flat()) / 2);
  let late = 0;
  let count = 0;
  const p99: [number[], number[]] = [[], []];
  const [plain, meshed] = await served(rig, () =>
    interleave(rig, plan, async (variant) => {
      const result = await rig.load(variant.client, 1, ['pace', variant.server.ipv4, PORT, plan.seconds, rate]);
      p99[variant === rig.plain ? 0 : 1].push(result['p99'] ?? Number.NaN);
      late += result['late'] ?? 0;
      count += result['count'] ?? 0;
      return result['p50'] ?? Number.NaN;
    }),
  );
  const row = (a: readonly number[], b: readonly number[]): readonly [number, number, number] => [
    median(a),
    median(b),
    median(b.map((value, i) => value - (a[i] ?? Number.NaN))),
  ];
  return { rate, p50: row(plain, meshed), p99: row(p99[0], p99[1]), late: late / count, pairs: plan.pairs };
}
