/** Flow records -> text, as Hubble's CLI prints them: compact, dict, table, json. */
import { DROP_REASONS } from '../generated/reasons.ts';
import { EVENT_TYPE, type Flow, type FlowEndpoint, type FlowResponse } from './flow.ts';

export type OutputFormat = 'compact' | 'dict' | 'table' | 'json' | 'jsonpb';
export const OUTPUT_FORMATS: readonly OutputFormat[] = ['compact', 'dict', 'table', 'json', 'jsonpb'];

export interface FormatOptions {
  readonly color: boolean;
  /** Addresses instead of names. */
  readonly numeric: boolean;
  readonly printNodeName: boolean;
  readonly printPolicyNames: boolean;
}

const RESERVED_NAMES: Readonly<Record<number, string>> = {
  0: 'unknown',
  1: 'host',
  2: 'world',
  3: 'unmanaged',
  4: 'health',
  5: 'init',
  6: 'remote-node',
  7: 'kube-apiserver',
  8: 'ingress',
};
const MATCH_NAMES: Readonly<Record<number, string>> = {
  0: 'none',
  1: 'L3-Only',
  2: 'L3-L4',
  3: 'L4-Only',
  4: 'all',
  5: 'L3-Proto',
  6: 'Proto-Only',
};

const PAINT = { green: 32, red: 31, yellow: 33, cyan: 36, magenta: 35 } as const;

/** What came from the network must not speak to the terminal: control characters become visible. */
export function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) =>
    c === '\u001b' ? '^[' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Go's time.StampMilli in the local zone: `Jan _2 15:04:05.000`. */
export function stampMilli(time: string): string {
  const date = new Date(time);
  const month = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][date.getMonth()];
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${month} ${String(date.getDate()).padStart(2)} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** Hubble's printer says it of every flow whose ends were proven. */
function summaryOf({ Summary, auth_type }: Flow): string {
  return auth_type === undefined ? Summary : `${Summary}; Auth: ${auth_type}`;
}

export class FlowPrinter {
  readonly #format: OutputFormat;
  readonly #options: FormatOptions;
  #printed = 0;

  constructor(format: OutputFormat, options: FormatOptions) {
    this.#format = format;
    this.#options = options;
  }

  /** Text of one response, line end included. Tables are made whole by `table`. */
  print(response: FlowResponse): string {
    this.#printed++;
    if (this.#format === 'json' || this.#format === 'jsonpb') return `${JSON.stringify(response)}\n`;
    if (this.#format === 'dict') return this.#dict(response);
    return 'flow' in response ? this.#compact(response.flow) : this.#lost(response);
  }

  /** @see FormatOptions */
  table(responses: readonly FlowResponse[]): string {
    return align([this.#head(), ...responses.map((response) => this.#cells(response))]);
  }

  #head(): string[] {
    const node = this.#options.printNodeName ? ['NODE'] : [];
    return ['TIMESTAMP', ...node, 'SOURCE', 'DESTINATION', 'TYPE', 'VERDICT', 'SUMMARY'];
  }

  #cells(response: FlowResponse): string[] {
    const node = this.#options.printNodeName ? [escapeControls(response.node_name)] : [];
    const when = [stampMilli(response.time), ...node];
    if ('lost_events' in response) {
      const { source, num_events_lost } = response.lost_events;
      return [...when, escapeControls(source), '', 'EVENTS LOST', '', escapeControls(`CPU(0) - ${num_events_lost}`)];
    }
    const { flow } = response;
    return [
      ...when,
      this.#end(flow, 'source'),
      this.#end(flow, 'destination'),
      escapeControls(typeText(flow)),
      this.#verdict(flow),
      escapeControls(summaryOf(flow)),
    ];
  }

  #node(name: string): string {
    return this.#options.printNodeName ? ` [${escapeControls(name)}]` : '';
  }

  /** One ring serves all CPUs; Hubble prints 0 where it knows of none. */
  #lost({ lost_events, node_name, time }: Extract<FlowResponse, { readonly lost_events: unknown }>): string {
    const text = escapeControls(`${lost_events.source} CPU(0) ${lost_events.num_events_lost}`);
    return `${stampMilli(time)}${this.#node(node_name)} EVENTS LOST: ${text}\n`;
  }

  #compact(flow: Flow): string {
    const [left, right, arrow] =
      flow.is_reply === undefined
        ? (['source', 'destination', '<>'] as const)
        : flow.is_reply
          ? (['destination', 'source', '<-'] as const)
          : (['source', 'destination', '->'] as const);
    const ends = `${this.#end(flow, left)} ${this.#identity(flow[left])} ${arrow} ${this.#end(flow, right)} ${this.#identity(flow[right])}`;
    return `${stampMilli(flow.time)}${this.#node(flow.node_name)}: ${ends} ${escapeControls(typeText(flow))} ${this.#verdict(flow)} (${escapeControls(summaryOf(flow))})\n`;
  }

  #dict(response: FlowResponse): string {
    const cells = this.#cells(response);
    const text = this.#head()
      .map((key, i) => (cells[i] === '' ? '' : `${key.padStart(11)}: ${cells[i]}\n`))
      .join('');
    return this.#printed > 1 ? `------------\n${text}` : text;
  }

  #end(flow: Flow, side: 'source' | 'destination'): string {
    const end = flow[side];
    const name =
      !this.#options.numeric && end.pod_name !== undefined ? `${end.namespace}/${end.pod_name}` : flow.IP[side];
    const port = portOf(flow, side);
    // Brackets only around a bare IPv6 address with a port.
    const host = name.includes(':') && port !== undefined ? `[${name}]` : name;
    return escapeControls(port === undefined ? name : `${host}:${port}`);
  }

  #identity(end: FlowEndpoint): string {
    const reserved = RESERVED_NAMES[end.identity];
    const text = reserved === undefined ? `(ID:${end.identity})` : `(${reserved})`;
    return this.#paint(reserved === undefined ? 'magenta' : 'cyan', text);
  }

  #verdict(flow: Flow): string {
    const policy = flow.event_type.type === EVENT_TYPE.POLICY_VERDICT;
    const word = policy
      ? ({ FORWARDED: 'ALLOWED', DROPPED: 'DENIED', AUDIT: 'AUDITED', REDIRECTED: 'REDIRECTED' }[flow.verdict] ??
        flow.verdict)
      : flow.verdict;
    const painted = this.#paint(
      flow.verdict === 'FORWARDED' ? 'green' : flow.verdict === 'DROPPED' ? 'red' : 'yellow',
      escapeControls(word),
    );
    return policy && this.#options.printPolicyNames ? `${painted}${escapeControls(policyNames(flow))}` : painted;
  }

  #paint(color: keyof typeof PAINT, text: string): string {
    return this.#options.color ? `\u001b[${PAINT[color]}m${text}\u001b[0m` : text;
  }
}

function portOf(flow: Flow, side: 'source' | 'destination'): number | undefined {
  const { l4 } = flow;
  const ports = l4 && ('TCP' in l4 ? l4.TCP : 'UDP' in l4 ? l4.UDP : 'SCTP' in l4 ? l4.SCTP : undefined);
  // As in Hubble, 0 is no port.
  return ports?.[`${side}_port`] || undefined;
}

export function typeText(flow: Flow): string {
  switch (flow.event_type.type) {
    case EVENT_TYPE.DROP: {
      const reason = flow.drop_reason_desc;
      // A recording may be from a version with more reasons.
      return reason === undefined ? 'dropped' : reason in DROP_REASONS ? DROP_REASONS[reason].text : reason;
    }
    case EVENT_TYPE.L7:
      // Hubble names where it saw the message; ours are seen where its proxy would be.
      return `${flow.l7?.dns ? 'dns' : 'http'}-${flow.l7?.type === 'RESPONSE' ? 'response' : 'request'}${flow.l7?.dns ? ' proxy' : ''}`;
    case EVENT_TYPE.POLICY_VERDICT:
      return `policy-verdict:${MATCH_NAMES[flow.policy_match_type ?? 0] ?? 'none'} ${flow.traffic_direction}`;
    default:
      return flow.trace_observation_point === 'TO_ENDPOINT' ? 'to-endpoint' : 'to-stack';
  }
}

function policyNames(flow: Flow): string {
  const list =
    flow.traffic_direction === 'INGRESS'
      ? (flow.ingress_allowed_by ?? flow.ingress_denied_by)
      : (flow.egress_allowed_by ?? flow.egress_denied_by);
  return list && list.length > 0 ? ` BY ${list.map(({ name, kind }) => `${name} (${kind})`).join(', ')}` : '';
}

/** Columns three spaces apart; the last is not padded. */
export function align(rows: readonly (readonly string[])[]): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: our own colour sequences take no room
  const width = (text: string): number => text.replace(/\u001b\[\d+m/g, '').length;
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => width(row[i] ?? ''))));
  return rows
    .map(
      (row) =>
        `${row.map((cell, i) => (i === row.length - 1 ? cell : cell + ' '.repeat((widths[i] ?? 0) - width(cell) + 3))).join('')}\n`,
    )
    .join('');
}
