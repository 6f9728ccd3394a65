/** Reads `sidestep observe` from outside, as a user does: once as JSON to check, once as lines to show. */
import { inside } from './namespaces.ts';
import { Child } from './process.ts';

export interface ObservedFlow {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly verdict: string;
  /** namespace/pod, or the address where no pod has it. */
  readonly source: string;
  readonly destination: string;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly sourcePort: number | undefined;
  readonly destinationPort: number | undefined;
  readonly dropReason: string | undefined;
  readonly authenticated: boolean;
  readonly encrypted: boolean;
  /** What a line shows between its brackets. */
  readonly summary: string;
  /** Of an HTTP request. */
  readonly method: string | undefined;
  /** kind/namespace/name of every policy that the flow names. */
  readonly allowedBy: readonly string[];
  readonly deniedBy: readonly string[];
  /** The whole record as it was printed. */
  readonly raw: string;
}

interface JsonEndpoint {
  readonly namespace?: string;
  readonly pod_name?: string;
}

interface JsonPolicy {
  readonly name?: string;
  readonly namespace?: string;
  readonly kind?: string;
}

interface JsonPorts {
  readonly source_port?: number;
  readonly destination_port?: number;
}

interface JsonFlow {
  readonly time?: string;
  readonly verdict?: string;
  readonly IP?: { readonly source?: string; readonly destination?: string; readonly encrypted?: boolean };
  readonly auth_type?: string;
  readonly Summary?: string;
  readonly l4?: { readonly TCP?: JsonPorts; readonly UDP?: JsonPorts };
  readonly source?: JsonEndpoint;
  readonly destination?: JsonEndpoint;
  readonly drop_reason_desc?: string;
  readonly l7?: { readonly http?: { readonly method?: string } };
  readonly egress_allowed_by?: readonly JsonPolicy[];
  readonly ingress_allowed_by?: readonly JsonPolicy[];
  readonly egress_denied_by?: readonly JsonPolicy[];
  readonly ingress_denied_by?: readonly JsonPolicy[];
}

/** One line of `observe -o json` (a Hubble GetFlowsResponse); undefined for lines that are not flows. */
export function parseFlow(line: string): ObservedFlow | undefined {
  const flow = flowOf(line);
  if (flow === undefined) return undefined;
  const ports = flow.l4?.TCP ?? flow.l4?.UDP;
  return {
    time: Date.parse(flow.time ?? ''),
    verdict: flow.verdict ?? '',
    source: endName(flow.source, flow.IP?.source),
    destination: endName(flow.destination, flow.IP?.destination),
    sourceAddress: flow.IP?.source ?? '',
    destinationAddress: flow.IP?.destination ?? '',
    sourcePort: ports?.source_port,
    destinationPort: ports?.destination_port,
    dropReason: flow.drop_reason_desc,
    authenticated: flow.auth_type === 'SPIRE',
    encrypted: flow.IP?.encrypted === true,
    summary: flow.Summary ?? '',
    method: flow.l7?.http?.method,
    allowedBy: [...(flow.egress_allowed_by ?? []), ...(flow.ingress_allowed_by ?? [])].map(policyName),
    deniedBy: [...(flow.egress_denied_by ?? []), ...(flow.ingress_denied_by ?? [])].map(policyName),
    raw: line,
  };
}

function flowOf(line: string): JsonFlow | undefined {
  try {
    return (JSON.parse(line) as { flow?: JsonFlow }).flow;
  } catch {
    return undefined;
  }
}

function endName(end: JsonEndpoint | undefined, address: string | undefined): string {
  return end?.pod_name ? `${end.namespace}/${end.pod_name}` : (address ?? '');
}

function policyName({ kind, namespace, name }: JsonPolicy): string {
  return [kind, namespace, name].filter((part) => part).join('/');
}

/** Two followers of one agent. They end with the agent; make new ones for its successor. */
export class FlowFollower {
  readonly #json: Child;
  readonly #text: Child;

  private constructor(json: Child, text: Child) {
    this.#json = json;
    this.#text = text;
  }

  /** @param command the sidestep program and its first arguments */
  static start(command: readonly string[], instance: string, namespace: string): FlowFollower {
    const follow = (extra: readonly string[]): Child =>
      // Some history: a flow between the agent's start and ours must not be missed.
      Child.start(
        'nsenter',
        inside(namespace, [...command, 'observe', '--follow', '--last', '1000', '--instance', instance, ...extra]),
      );
    return new FlowFollower(follow(['-o', 'json']), follow([]));
  }

  /** The first flow that `wanted` accepts, or undefined when none comes within `timeoutMs`. */
  async find(wanted: (flow: ObservedFlow) => boolean, timeoutMs = 3_000): Promise<ObservedFlow | undefined> {
    const accept = (line: string): boolean => {
      const flow = parseFlow(line);
      return flow !== undefined && wanted(flow);
    };
    const line = await this.#json.waitForLine(accept, { timeoutMs }).catch(() => undefined);
    return line === undefined ? undefined : parseFlow(line);
  }

  /** The line a user sees for a flow, or undefined when none comes within `timeoutMs`. */
  async lineOf(flow: ObservedFlow, timeoutMs = 2_000): Promise<string | undefined> {
    const ends = [withPort(flow.source, flow.sourcePort), withPort(flow.destination, flow.destinationPort)];
    return this.#text
      .waitForLine(
        (line) =>
          ends.every((end) => line.includes(end)) &&
          verdictWords(flow.verdict).test(line) &&
          (flow.method === undefined || line.includes(`http-request`)),
        { timeoutMs },
      )
      .catch(() => undefined);
  }

  /** The newest `count` records, as JSON. */
  last(count: number): readonly string[] {
    return this.#json.lines.slice(-count);
  }

  kill(): void {
    this.#json.kill('SIGKILL');
    this.#text.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    await Promise.all([this.#json.stop(), this.#text.stop()]);
  }
}

function withPort(end: string, port: number | undefined): string {
  return port === undefined ? end : `${end}:${port}`;
}

/** Hubble words a policy's verdict differently from a packet's. */
function verdictWords(verdict: string): RegExp {
  return verdict === 'DROPPED' ? /\b(DROPPED|DENIED)\b/ : /\b(FORWARDED|ALLOWED)\b/;
}
