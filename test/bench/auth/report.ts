/** The figures as lines of text, each with its target. */
import type { Paired } from '../statistics.ts';
import type { Throughput } from './bulk.ts';
import type { Distribution, FirstConnections } from './first.ts';
import type { Cost, IdentityCosts } from './identities.ts';
import type { Report } from './main.ts';
import type { NodeMemory } from './transfer.ts';

type Range = readonly [number, number];

export function render({ kernel, load, first, proven, identities, transfer }: Report): string {
  const [before, after] = load;
  return [
    `Kernel ${kernel}, load average ${before.toFixed(2)} before and ${after.toFixed(2)} after. Two nodes on one machine.`,
    '[95 % interval], interleaved rounds.',
    '',
    ...firstLines(first),
    '',
    row(
      'connections/s of a proven pair, with / without authentication',
      ratio(proven),
      '≥ 0.98',
      isAtLeast(proven, 0.98),
    ),
    note(`${rates(proven)}, ${proven.pairs} pairs of runs`),
    '',
    ...identityLines(identities),
    '',
    ...transfer.throughput.flatMap(throughputLines),
    '',
    ...memoryLines(transfer.memory),
    '',
  ].join('\n');
}

function firstLines({ plain, added, firstContact, sentAgain, waited }: FirstConnections): string[] {
  return [
    row(
      'a pair on an open session, added to connect and one echo, p99',
      milliseconds(added),
      '≤ 10 ms',
      added.p99 <= 10,
    ),
    note(
      `p50 ${ms(added.p50)}, worst ${ms(added.worst)} of ${added.count}; without: p50 ${ms(plain.p50)}, p99 ${ms(plain.p99)}`,
    ),
    row(
      'first contact of two nodes: connect and one echo, p99',
      milliseconds(firstContact),
      '≤ 40 ms',
      firstContact.p99 <= 40,
    ),
    note(`p50 ${ms(firstContact.p50)}, worst ${ms(firstContact.worst)} of ${firstContact.count}`),
    row('segments sent again', String(sentAgain), '0', sentAgain === 0),
    note(`${waited} first packets waited, of ${added.count + firstContact.count}`),
  ];
}

function identityLines({ identities, identity, first, pairs, pair, record }: IdentityCosts): string[] {
  return [
    row('CPU of both agents for an identity proven', cost(identity, 2), '≤ 1 ms', identity.each <= 1),
    note(
      `${identities} identities and the session, ${identity.rounds} rounds; the first of the agents' life ${first.toFixed(2)} ms`,
    ),
    row('CPU of both agents for a further pair', cost(pair, 4), '≤ 0.02 ms', pair.each <= 0.02),
    note(
      `${pairs.toLocaleString('en')} connections, ${pair.rounds} turns, less the same without (${record.toFixed(3)} ms: their flow records)`,
    ),
  ];
}

function throughputLines({ streams, rate }: Throughput): string[] {
  const what = `tunnel throughput, ${streams} TCP ${streams === 1 ? 'stream' : 'streams'}`;
  return [
    row(`${what}, with Sidestep / bare wireguard-go`, ratio(rate), '≥ 0.95', isAtLeast(rate, 0.95)),
    note(`${rates(rate)}, ${rate.pairs} pairs of runs`),
  ];
}

function memoryLines(memory: readonly NodeMemory[]): string[] {
  const cells = (values: readonly (number | string)[]): string =>
    values.map((value) => (typeof value === 'number' ? value.toFixed(1) : value).padStart(9)).join('');
  return [
    `${'PSS of a node, MB'.padEnd(52)}${cells(['agent', 'tunnel', 'Envoy', 'together'])}`,
    ...memory.map(
      ({ when, node, agent, tunnel, envoy }) =>
        `  ${`${node}, ${when}`.padEnd(50)}${cells([agent, tunnel, envoy, agent + tunnel + envoy])}`,
    ),
  ];
}

function row(what: string, figure: string, target: string, met: boolean | undefined): string {
  const verdict = met === undefined ? '' : `target ${target.padEnd(10)} ${met ? 'met' : 'missed'}`;
  return `${what.padEnd(70)}${figure.padEnd(28)}${verdict}`.trimEnd();
}

const note = (text: string): string => `    ${text}`;
const ms = (value: number): string => `${value.toFixed(1)} ms`;
const range = ([low, high]: Range, digits: number): string => `[${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
const milliseconds = ({ p99, p99Interval }: Distribution): string => `${ms(p99)} ${range(p99Interval, 1)}`;
const cost = ({ each, interval }: Cost, digits: number): string =>
  `${each.toFixed(digits)} ms ${range(interval, digits)}`;
const ratio = ({ ratio: median, interval }: Paired): string => `${median.toFixed(3)} ${range(interval, 3)}`;
const rates = ({ baseline, measured, unit }: Paired): string =>
  `${Math.round(baseline).toLocaleString('en')} → ${Math.round(measured).toLocaleString('en')} ${unit}`;
const isAtLeast = ({ ratio: median }: Paired, least: number): boolean => median >= least;
