/** `sidestep observe`: flows, with Hubble's flags and lines. */
import { type Command, Option } from 'commander';
import type { FlowQuery } from '../../agent/server.ts';
import { SidestepError } from '../../model/error.ts';
import { compileFilter, FILTER_OPTIONS, type FilterOption, type FilterTerm } from '../../observe/filter.ts';
import type { FlowResponse } from '../../observe/flow.ts';
import { FlowPrinter, OUTPUT_FORMATS, type OutputFormat } from '../../observe/format.ts';
import { withAgentOptions } from '../agent-options.ts';
import { getLines } from '../client.ts';
import { type Io, wantsColor } from '../io.ts';
import { readRecords } from './records.ts';

const DEFAULT_LAST = 20;
/** As in Hubble. */
const EXCLUSIVE = [
  ['first', 'last'],
  ['first', 'all'],
  ['first', 'follow'],
  ['last', 'all'],
] as const;

const FILTER_HELP: Partial<Record<FilterOption, string>> = {
  pod: 'either end: ns/prefix, or a bare name in every namespace',
  namespace: 'either end is in this namespace',
  ip: 'either end has this address or is in this prefix',
  verdict: 'FORWARDED, DROPPED, AUDIT',
  type: 'drop, trace, policy-verdict or l7',
  policy: 'decided by this policy: name, ns/name or kind/ns/name',
  protocol: 'tcp, udp, sctp, icmp, http',
  'http-method': 'GET, POST, …',
  'http-path': 'the path of a request matches this regular expression somewhere',
  'http-status': 'code of a response: 404, or 4+ and 50+ for all that begin so',
  'dns-query': 'regular expression in the name that is asked for, which ends with a dot',
  'tcp-flags': 'flags that are all set, e.g. SYN,ACK',
};
const SHORT: Partial<Record<FilterOption, string>> = { namespace: '-n, ', type: '-t, ', label: '-l, ' };

/** A comma inside belongs to the value. */
const WHOLE: ReadonlySet<FilterOption> = new Set(['label', 'tcp-flags', 'http-path']);

interface Options {
  readonly instance: string;
  readonly runDir?: string;
  readonly follow?: true;
  readonly last?: number;
  readonly first?: number;
  readonly all?: true;
  readonly since?: string;
  readonly until?: string;
  readonly output: OutputFormat;
  readonly inputFile?: string;
  readonly numeric?: true;
  readonly printNodeName?: true;
  readonly printPolicyNames?: true;
  readonly color: string;
}

export function addObserveCommand(program: Command, io: Io): void {
  const terms: FilterTerm[] = [];
  let negate = false;
  const command = withAgentOptions(
    program.command('observe').description('what happened on this node, and which policy decided it'),
  )
    .option('-f, --follow', 'go on as flows come')
    .option('--last <number>', `the newest N that match (default ${DEFAULT_LAST}; of a file all)`, count)
    .option('--first <number>', 'the oldest N that match', count)
    .option('--all', 'every flow that is kept')
    .option('--since <time>', 'from this time on: 5m, 2h, or RFC 3339')
    .option('--until <time>', 'up to this time')
    .option('--input-file <file>', 'read recorded lines (-o json) instead of asking the agent; - is stdin')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(OUTPUT_FORMATS).default('compact'))
    .option('--numeric', 'addresses instead of names')
    .option('--print-node-name', 'the node in every line')
    .option('--print-policy-names', 'policies behind the verdict, as Hubble prints them')
    .addOption(new Option('--color <when>', 'colour').choices(['auto', 'always', 'never']).default('auto'));
  command.addOption(new Option('--not', 'negates the next filter').argParser(() => undefined));
  command.on('option:not', () => {
    if (negate) throw new SidestepError('USAGE', '--not stands before another --not');
    negate = true;
  });
  for (const option of FILTER_OPTIONS) {
    command.option(`${SHORT[option] ?? ''}--${option} <value>`, FILTER_HELP[option] ?? '');
    command.on(`option:${option}`, (value: string) => {
      const values = WHOLE.has(option) ? [value] : value.split(',');
      // The same option again is an alternative; behind --not it is a filter of its own.
      const same = terms.findIndex((term) => term.option === option && !term.not);
      const term = terms[same];
      if (!negate && term) terms[same] = { ...term, values: [...term.values, ...values] };
      else terms.push({ option, values, not: negate });
      negate = false;
    });
  }
  command
    .addHelpText(
      'after',
      '\nExamples:\n  sidestep observe --follow\n  sidestep observe --pod production/backend-api --verdict DROPPED\n  sidestep observe --policy secure-app-access --since 5m -o json > flows.jsonl\n  sidestep observe --input-file flows.jsonl --not --protocol udp',
    )
    .action(async (options: Options) => {
      if (negate) throw new SidestepError('USAGE', 'no filter stands behind --not');
      await observe(options, terms, io);
    });
}

function count(text: string): number {
  if (!/^\d+$/.test(text)) throw new SidestepError('USAGE', `${text} is not a number`);
  return Number(text);
}

/** `5m` ago, or a point in time; milliseconds since the epoch. */
export function parseTime(text: string, now: number): number {
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length > 0 && parts.map(([whole]) => whole).join('') === text)
    return now - parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units[unit ?? ''] ?? 0), 0);
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw new SidestepError('USAGE', `${JSON.stringify(text)} is not a time`, {
      hint: 'Such as 90s, 5m, 2h30m, or 2026-01-24T10:15:00Z.',
    });
  return time;
}

async function observe(options: Options, filter: readonly FilterTerm[], io: Io): Promise<void> {
  if (options.output === 'table' && options.follow)
    throw new SidestepError('USAGE', 'a table cannot be followed', { hint: 'Use -o compact.' });
  for (const [one, other] of EXCLUSIVE)
    if (options[one] !== undefined && options[other] !== undefined)
      throw new SidestepError('USAGE', `--${one} and --${other} exclude each other`);
  compileFilter(filter); // so that a wrong value is an error here, not in the agent
  const query = queryOf(options, filter);
  const interrupted = new AbortController();
  process.once('SIGINT', () => {
    io.setExitCode(130);
    interrupted.abort();
  });
  const lines =
    options.inputFile === undefined
      ? getLines(
          { instance: options.instance, runDir: options.runDir },
          `/v1/flows?query=${encodeURIComponent(JSON.stringify(query))}`,
          interrupted.signal,
        )
      : readFile(options.inputFile, query);
  const printer = new FlowPrinter(options.output, {
    color: wantsColor(options.color, io.color, process.env),
    numeric: options.numeric ?? false,
    printNodeName: options.printNodeName ?? false,
    printPolicyNames: options.printPolicyNames ?? false,
  });
  const table: FlowResponse[] = [];
  try {
    for await (const line of lines) {
      const response = JSON.parse(line) as FlowResponse;
      if (options.output === 'table') table.push(response);
      else io.out(printer.print(response));
    }
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
  }
  if (options.output === 'table') io.out(printer.table(table));
}

function queryOf(options: Options, filter: readonly FilterTerm[]): FlowQuery {
  const now = Date.now();
  const bounded =
    options.last !== undefined ||
    options.first !== undefined ||
    options.all ||
    options.since !== undefined ||
    options.until !== undefined ||
    options.inputFile !== undefined;
  return {
    filter: filter.map((term) => ({ ...term, values: [...term.values] })),
    follow: options.follow ?? false,
    ...(options.first === undefined ? {} : { first: options.first }),
    ...(bounded
      ? options.last === undefined
        ? {}
        : { last: options.last }
      : { last: options.follow ? 0 : DEFAULT_LAST }),
    ...(options.since === undefined ? {} : { since: parseTime(options.since, now) }),
    ...(options.until === undefined ? {} : { until: parseTime(options.until, now) }),
  };
}

/** The same query over a recording. */
async function* readFile(file: string, query: FlowQuery): AsyncGenerator<string> {
  const test = compileFilter(query.filter ?? []);
  const found: string[] = [];
  for await (const { line, response } of readRecords(file)) if (matches(response, test, query)) found.push(line);
  const recorded = query.last === undefined ? found : found.slice(Math.max(0, found.length - query.last));
  yield* query.first === undefined ? recorded : recorded.slice(0, query.first);
}

/** A loss is shown whatever the filter: what was lost may have matched. */
function matches(response: FlowResponse, test: ReturnType<typeof compileFilter>, query: FlowQuery): boolean {
  if ('flow' in response && !test(response.flow)) return false;
  const time = Date.parse(response.time);
  return (query.since === undefined || time >= query.since) && (query.until === undefined || time <= query.until);
}
