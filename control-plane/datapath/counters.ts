/** What the programs counted: per CPU in the kernel, added up here. */
import { COUNTER_SIZE, readCounter, Statistic } from '../generated/bpf.ts';
import { DROP_REASON_BY_NUMBER, type DropReason } from '../generated/reasons.ts';
import type { KernelMap } from './kernel.ts';

export interface PacketCount {
  readonly packets: number;
  readonly bytes: number;
}

export interface DropCount extends PacketCount {
  readonly reason: DropReason;
  readonly direction: 'EGRESS' | 'INGRESS';
}

function index(value: number): Uint8Array {
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, value, true);
  return key;
}

function countAt(counters: KernelMap, reason: number, direction: 0 | 1): PacketCount {
  const value = counters.lookup(index(reason * 2 + direction));
  let packets = 0n;
  let bytes = 0n;
  if (value) {
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    for (let offset = 0; offset < value.length; offset += COUNTER_SIZE) {
      const one = readCounter(view, offset);
      packets += one.packets;
      bytes += one.bytes;
    }
  }
  return { packets: Number(packets), bytes: Number(bytes) };
}

/** Reasons that have occurred. */
export function readDrops(counters: KernelMap): DropCount[] {
  return [...DROP_REASON_BY_NUMBER].flatMap(([number, reason]) =>
    ([0, 1] as const).flatMap((direction) => {
      const count = countAt(counters, number, direction);
      return count.packets === 0
        ? []
        : [{ reason, direction: direction === 0 ? ('EGRESS' as const) : ('INGRESS' as const), ...count }];
    }),
  );
}

export function readForwarded(counters: KernelMap): PacketCount {
  const [out, back] = [countAt(counters, 0, 0), countAt(counters, 0, 1)];
  return { packets: out.packets + back.packets, bytes: out.bytes + back.bytes };
}

export type StatisticName = keyof typeof Statistic;

export function readStatistic(statistics: KernelMap, name: StatisticName): number {
  const value = statistics.lookup(index(Statistic[name]));
  if (!value) return 0;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  let sum = 0n;
  for (let offset = 0; offset < value.length; offset += 8) sum += view.getBigUint64(offset, true);
  return Number(sum);
}

/** All of them, by name: `tunnel_astray` of STATISTIC_TUNNEL_ASTRAY. */
export function readStatistics(statistics: KernelMap): Record<string, number> {
  const names = Object.keys(Statistic).filter((name): name is StatisticName => name !== 'STATISTIC_COUNT');
  return Object.fromEntries(
    names.map((name) => [name.slice('STATISTIC_'.length).toLowerCase(), readStatistic(statistics, name)]),
  );
}
