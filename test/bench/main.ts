/**
 * `make bench-packets`: Sidestep against the same topology without it, in one run. Prints ratios beside their budgets and
 * judges nothing: a miss is a number. --short runs the same with less of everything; -o json is for machines.
 */
import { loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import { ROOT } from '../lib/tools.ts';
import { type Footprint, footprint } from './footprint.ts';
import { measurePacketCost, type PacketCost } from './packet-cost.ts';
import { type Reaction, reaction } from './reaction.ts';
import { Rig } from './rig.ts';
import type { Paired } from './statistics.ts';
import { type AddedLatency, addedLatency, bulk, connections, datagrams, type Plan, roundTrips } from './throughput.ts';

interface Report {
  readonly kernel: string;
  readonly loadBefore: number;
  readonly packetCost: readonly PacketCost[];
  readonly throughput: readonly (Paired & { readonly budget: number })[];
  readonly latency: AddedLatency;
  readonly reaction: Reaction;
  readonly footprint: Footprint;
}

const { values } = parseArgs({
  options: { short: { type: 'boolean', default: false }, output: { type: 'string', short: 'o', default: 'text' } },
});
const plan: Plan = values.short ? { pairs: 2, seconds: 1 } : { pairs: 10, seconds: 5 };
const progress = (text: string): void => void process.stderr.write(`  … ${text}\n`);

async function measure(): Promise<Report> {
  const head = { kernel: release(), loadBefore: loadavg()[0] ?? 0 };
  progress('one packet through each hook');
  const packetCost = await measurePacketCost(ROOT);
  const throughput: (Paired & { budget: number })[] = [];
  let latency: AddedLatency;
  let reacted: Reaction;
  {
    await using rig = await Rig.create();
    for (const [name, figure, budget] of [
      ['round trips', roundTrips, 0.97],
      ['connections', connections, 0.92],
      ['datagrams', datagrams, 0.9],
    ] as const) {
      progress(`${name}: ${plan.pairs} pairs of ${plan.seconds} s`);
      throughput.push({ ...(await figure(rig, plan)), budget });
    }
    progress('latency at half the knee');
    latency = await addedLatency(rig, plan);
    progress('policy edits');
    reacted = await reaction(rig, values.short ? 20 : 200);
    progress(`bulk: ${plan.pairs} pairs of ${plan.seconds} s`);
    throughput.push({ ...(await bulk(rig, plan)), budget: 0.97 });
  }
  progress('an idle agent');
  const idle = await footprint(values.short ? 10 : 100, values.short ? 5 : 30, progress);
  return { ...head, packetCost, throughput, latency, reaction: reacted, footprint: idle };
}

function render(report: Report): string {
  const number = (value: number): string => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(2));
  const lines = [
    `Kernel ${report.kernel}, load average before ${report.loadBefore.toFixed(2)}. Ratios are with Sidestep / without, median of pairs [95 % interval].`,
    '',
    ...report.throughput.map(
      (r) =>
        `${r.name.padEnd(44)} ${r.ratio.toFixed(3)} [${r.interval.map((x) => x.toFixed(3)).join(', ')}]  budget ≥ ${r.budget}   ${number(r.baseline)} → ${number(r.measured)} ${r.unit}`,
    ),
    '',
    ...report.packetCost.map(
      (p) =>
        `${`one established packet, ${p.name}`.padEnd(44)} ${p.ratio.toFixed(2)} × a null program${/workload/.test(p.name) ? '  budget ≤ 8' : ''}   ${p.nanoseconds.toFixed(0)} ns`,
    ),
    '',
    `added latency at ${number(report.latency.rate)} requests/s: p50 ${report.latency.p50[2].toFixed(2)} µs (${report.latency.p50[0].toFixed(2)} → ${report.latency.p50[1].toFixed(2)}), p99 ${report.latency.p99[2].toFixed(2)} µs (${report.latency.p99[0].toFixed(2)} → ${report.latency.p99[1].toFixed(2)}); ${(report.latency.late * 100).toFixed(3)} % sent late`,
    `policy file renamed → first packet treated so: p50 ${report.reaction.p50.toFixed(2)} ms, p99 ${report.reaction.p99.toFixed(2)} ms, worst ${report.reaction.worst.toFixed(2)} ms over ${report.reaction.edits} edits (${report.reaction.unseen} not seen)  budget p50 ≤ 10, p99 ≤ 50`,
    `idle agent, ${report.footprint.pods} pods: ${report.footprint.rss.toFixed(1)} MB resident, ${(report.footprint.cpu * 100).toFixed(2)} % of a core over ${report.footprint.seconds} s  budget ≤ 90 MB, ≤ 0.5 %`,
    '',
  ];
  return lines.join('\n');
}

const report = await measure();
process.stdout.write(values.output === 'json' ? `${JSON.stringify(report)}\n` : render(report));
