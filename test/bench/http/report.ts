/** The figures as lines of text. */
import { BODY_BYTES, type VariantName } from './bed.ts';
import { CONNECTIONS, type Comparison, type Ratio, type Row } from './comparison.ts';
import type { Distribution, Enforcement } from './enforcement.ts';
import type { Report } from './main.ts';
import type { Memory } from './memory.ts';
import { ENVOY_VERSION } from './stock-envoy.ts';

const NAMES: Record<VariantName, string> = {
  direct: 'nothing in between',
  sidestep: "Sidestep: one rule, the node's Envoy",
  pair: 'a pair of Envoys, mTLS, no log',
  loggedPair: "a pair of Envoys, mTLS, the server's logs",
  single: 'one Envoy, the same log',
};
const FIGURES: Record<Ratio['figure'], string> = {
  rate: 'requests/s',
  p50: 'added p50',
  p99: 'added p99',
  cpu: 'added CPU/request, Envoys and log',
  machineCpu: 'added CPU/request, whole machine',
};

export function render({ kernel, loadBefore, comparison, enforcement, memory }: Report): string {
  return [
    `Kernel ${kernel}, load average before ${loadBefore.toFixed(2)}, Envoy ${ENVOY_VERSION} with one worker everywhere.`,
    ...comparisonLines(comparison),
    '',
    ...enforcementLines(enforcement),
    '',
    ...memoryLines(memory),
    '',
  ].join('\n');
}

function comparisonLines({ rows, ratios, pace, late, rounds }: Comparison): string[] {
  const cells = ['requests/s', 'p50 µs', 'p99 µs', 'CPU µs', 'of it log', 'machine µs'].map((cell) =>
    cell.padStart(11),
  );
  return [
    `${CONNECTIONS} keep-alive connections, answers of ${BODY_BYTES} bytes, ${rounds} interleaved rounds, medians.`,
    'Closed loop: requests/s. Latency from the intended send time and CPU per request in an open loop,',
    `${pace} requests/s, half the knee of the slowest;`,
    `for "${NAMES.direct}" as they are, else what is added to it. ${(late * 100).toFixed(2)} % were sent late.`,
    '',
    `${''.padEnd(42)}${cells.join('')}`,
    ...rows.map(rowLine),
    '',
    'Sidestep compared, median of the rounds [95 % interval]:',
    ...ratios.map(ratioLine),
  ];
}

function rowLine({ name, rate, p50, p99, cpu, logCpu, machineCpu }: Row): string {
  const figures = [rate, p50, p99, cpu, logCpu, machineCpu].map((figure) =>
    Math.round(figure).toLocaleString('en').padStart(11),
  );
  return `${NAMES[name].padEnd(42)}${figures.join('')}`;
}

function ratioLine({ figure: what, than, goal, ratio, interval }: Ratio): string {
  const head = `${FIGURES[what]}, than ${NAMES[than]}`;
  const figure = `${ratio.toFixed(2)} × [${interval.map((x) => x.toFixed(2)).join(', ')}]`;
  return `${head.padEnd(82)} ${figure}${goal === undefined ? '' : `  goal ${goal}`}`;
}

function enforcementLines({ cold, warm, start, unanswered }: Enforcement): string[] {
  const line = (what: string, figures: string): string => `${what.padEnd(40)}${figures}`;
  return [
    'A file with an HTTP rule is renamed into place → the first request that it refuses:',
    line('  no Envoy runs', `${times(cold)}; the first of the agent's life ${cold.first.toFixed(0)} ms`),
    line('  one runs, for another rule', times(warm)),
    line("Envoy's process started → ready", times(start)),
    line('Edits around which a request got no answer', String(unanswered).padStart(3)),
  ];
}

function times({ p50, p90, worst, count }: Distribution): string {
  const [middle, most, last] = [p50, p90, worst].map((ms) => ms.toFixed(ms < 100 ? 1 : 0));
  return `p50 ${middle} ms, p90 ${most} ms, worst ${last} ms of ${count}`;
}

function memoryLines({ pods, sidestep, envoy, sidecars, slopes }: Memory): string[] {
  const line = (values: readonly number[]): string => values.map((value) => value.toFixed(1).padStart(7)).join('');
  return [
    `PSS in MB with so many pods:                         ${pods.map((count) => String(count).padStart(7)).join('')}   MB per pod`,
    `agent and one Envoy, each pod under an HTTP rule:    ${line(sidestep)}   ${slopes.sidestep.toFixed(2)}  goal ≤ 0.2`,
    `the Envoy of them:                                   ${line(envoy)}`,
    `one idle stock Envoy per pod:                        ${line(sidecars)}   ${slopes.sidecars.toFixed(2)}`,
  ];
}
