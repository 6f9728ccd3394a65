/** What each variant can do, and what it adds: closed loop, then open loop at half the knee of the slowest. */
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds, idleSeconds } from '../processes.ts';
import { interval, median } from '../statistics.ts';
import { type Bed, load, VARIANTS, type Variant, type VariantName } from './bed.ts';

export interface Plan {
  /** Runs of each variant per figure. */
  readonly rounds: number;
  /** Seconds per run. */
  readonly seconds: number;
}

export const CONNECTIONS = 16;
/** The access log of a run is read by then; what that takes belongs to the run. */
const LOG_MS = 400;

/** One run at a steady rate. */
interface Paced {
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Microseconds per request: of Envoys and log, of the log alone, and of everything on the machine. */
  readonly cpu: number;
  readonly logCpu: number;
  readonly machineCpu: number;
}

export interface Row {
  readonly name: VariantName;
  /** Requests per second, closed loop. */
  readonly rate: number;
  /** Microseconds, as they are for `direct`, as what is added to it for the others. */
  readonly p50: number;
  readonly p99: number;
  readonly cpu: number;
  readonly logCpu: number;
  readonly machineCpu: number;
}

/** Sidestep's figure, for latency and CPU what it adds, divided by another variant's. */
export interface Ratio {
  readonly figure: 'rate' | 'p50' | 'p99' | 'cpu' | 'machineCpu';
  readonly than: VariantName;
  readonly goal: string | undefined;
  readonly ratio: number;
  readonly interval: readonly [number, number];
}

export interface Comparison {
  readonly rows: readonly Row[];
  readonly ratios: readonly Ratio[];
  /** Requests per second at which latency and CPU were measured. */
  readonly pace: number;
  /** Share of requests that the generator itself sent more than 1 ms late. */
  readonly late: number;
  readonly rounds: number;
}

type Results<T> = Record<VariantName, T[]>;

export async function compare(bed: Bed, plan: Plan, progress: (text: string) => void): Promise<Comparison> {
  progress(`requests per second: ${plan.rounds} rounds of ${VARIANTS.length} × ${plan.seconds} s`);
  const rates = await interleave(bed, plan, async (variant) => {
    const { rate = 0, refused } = await run(variant, 'closed', plan.seconds);
    if (refused !== 0) throw new Error(`${variant.name}: ${refused} requests were refused`);
    return rate;
  });
  const knees = VARIANTS.filter((name) => name !== 'direct').map((name) => median(rates[name]));
  const pace = Math.floor(Math.min(...knees) / 2);
  progress(`latency and CPU at ${pace} requests per second: as many rounds`);
  const late: number[] = [];
  const paced = await interleave(bed, plan, async (variant) => {
    const { share, ...figures } = await pacedRun(variant, plan.seconds, pace);
    late.push(share);
    return figures;
  });
  return {
    rows: VARIANTS.map((name) => row(name, rates, paced)),
    ratios: ratios(rates, paced),
    pace,
    late: late.reduce((sum, share) => sum + share, 0) / late.length,
    rounds: plan.rounds,
  };
}

/** A B C D D C B A …: a drift of the machine falls on all alike. */
async function interleave<T>(
  bed: Bed,
  { rounds }: Plan,
  measure: (variant: Variant) => Promise<T>,
): Promise<Results<T>> {
  const results: Results<T> = { direct: [], sidestep: [], pair: [], loggedPair: [], single: [] };
  for (let round = 0; round < rounds; round++)
    for (const variant of round % 2 === 0 ? bed.variants : bed.variants.toReversed())
      results[variant.name].push(await measure(variant));
  return results;
}

function run(variant: Variant, mode: 'closed' | 'pace', ...numbers: number[]): Promise<Record<string, number>> {
  const { address, port } = variant.target;
  const [seconds = 0, ...more] = numbers;
  return load(variant, [mode, address, port, seconds, CONNECTIONS, ...more]);
}

async function pacedRun(variant: Variant, seconds: number, pace: number): Promise<Paced & { readonly share: number }> {
  const look = (): Record<'time' | 'idle' | 'envoys' | 'log', number> => ({
    time: performance.now() / 1000,
    idle: idleSeconds(),
    envoys: cpuSeconds(variant.envoys),
    log: cpuSeconds(variant.keepers),
  });
  const before = look();
  const {
    count = 0,
    refused,
    late = 0,
    p50 = Number.NaN,
    p99 = Number.NaN,
  } = await run(variant, 'pace', seconds, pace);
  await sleep(LOG_MS);
  const after = look();
  if (refused !== 0) throw new Error(`${variant.name}: ${refused} requests were refused`);
  const perRequest = (spent: number): number => (spent / count) * 1e6;
  const log = after.log - before.log;
  const busy = (after.time - before.time) * availableParallelism() - (after.idle - before.idle);
  return {
    p50,
    p99,
    cpu: perRequest(after.envoys - before.envoys + log),
    logCpu: perRequest(log),
    machineCpu: perRequest(busy),
    share: late / count,
  };
}

/** Per round: what a variant had more than the direct way had. */
function added(paced: Results<Paced>, name: VariantName, figure: keyof Paced): number[] {
  return paced[name].map((each, i) => each[figure] - (paced.direct[i]?.[figure] ?? Number.NaN));
}

function row(name: VariantName, rates: Results<number>, paced: Results<Paced>): Row {
  const of = (figure: keyof Paced): number =>
    median(name === 'direct' ? paced.direct.map((each) => each[figure]) : added(paced, name, figure));
  return {
    name,
    rate: median(rates[name]),
    p50: of('p50'),
    p99: of('p99'),
    cpu: of('cpu'),
    logCpu: of('logCpu'),
    machineCpu: of('machineCpu'),
  };
}

function ratios(rates: Results<number>, paced: Results<Paced>): Ratio[] {
  const of = (
    figure: Ratio['figure'],
    than: VariantName,
    goal: string | undefined,
    ours: number[],
    theirs: number[],
  ) => {
    const each = ours.map((value, i) => value / (theirs[i] ?? Number.NaN));
    return { figure, than, goal, ratio: median(each), interval: interval(each) };
  };
  const rate = (than: VariantName, goal: string): Ratio => of('rate', than, goal, rates.sidestep, rates[than]);
  const pairs = (['pair', 'loggedPair'] as const).flatMap((than) => [
    rate(than, '≥ 2'),
    ...(['p50', 'p99', 'cpu', 'machineCpu'] as const).map((figure) => {
      const goal = figure === 'p50' ? undefined : '≤ 0.5';
      return of(figure, than, goal, added(paced, 'sidestep', figure), added(paced, than, figure));
    }),
  ]);
  return [...pairs, rate('single', '≥ 0.9')];
}
