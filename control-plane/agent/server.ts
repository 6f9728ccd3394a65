/** The agent's local API: HTTP over a UNIX socket, and /metrics on TCP where wanted. Constructs nothing of the agent. */
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import * as z from 'zod/mini';
import type { EnvoyView } from '../envoy/status.ts';
import { SidestepError } from '../model/error.ts';
import { compileFilter, FILTER_OPTIONS } from '../observe/filter.ts';
import type { Flow } from '../observe/flow.ts';
import { timestamp } from '../observe/to-flow.ts';
import { pidFile } from './stop.ts';
import type { AgentView } from './view.ts';

export function socketPath(runDir: string): string {
  return join(runDir, 'agent.sock');
}

/** Does somebody answer? A socket file without a process behind it refuses. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** While no HTTP rule has needed one. */
const NO_ENVOY: EnvoyView = {
  state: 'stopped',
  since: new Date().toISOString(),
  wanted: false,
  adopted: false,
  restarts: 0,
  discovery: { rulesets: 0, revision: 0, acknowledged: 0, refused: [] },
};

/** Serves at once; before `show` it says that the agent is starting. */
export class AgentServer {
  readonly #runDir: string;
  readonly #servers: Server[] = [];
  #view: AgentView | undefined;

  private constructor(runDir: string) {
    this.#runDir = runDir;
  }

  /**
   * Takes the instance: one agent per run folder.
   * @throws INSTANCE_BUSY
   */
  static async open(runDir: string, instance: string, metricsAddress: string | undefined): Promise<AgentServer> {
    const server = new AgentServer(runDir);
    const path = socketPath(runDir);
    mkdirSync(runDir, { recursive: true, mode: 0o755 });
    if (existsSync(path)) {
      if (await answers(path))
        throw new SidestepError('INSTANCE_BUSY', `an agent already answers for instance ${instance} on ${path}`);
      rmSync(path);
    }
    await server.#listen({ path }, instance);
    chmodSync(path, 0o660);
    writeFileSync(pidFile(runDir), String(process.pid));
    if (metricsAddress !== undefined) {
      const at = metricsAddress.lastIndexOf(':');
      await server.#listen(
        {
          host: metricsAddress.slice(0, at).replace(/[[\]]/g, ''),
          port: Number(metricsAddress.slice(at + 1)),
          only: true,
        },
        instance,
      );
    }
    return server;
  }

  show(view: AgentView): void {
    this.#view = view;
  }

  #listen(where: { path: string } | { host: string; port: number; only: true }, instance: string): Promise<void> {
    const outside = 'only' in where;
    const server = createServer((request, response) => this.#answer(request, response, outside));
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const busy = cause.code === 'EADDRINUSE';
        reject(
          new SidestepError(
            busy && !outside ? 'INSTANCE_BUSY' : 'CONFIG_INVALID',
            busy && !outside
              ? `another agent took instance ${instance}`
              : `cannot listen on ${JSON.stringify(where)}: ${cause.message}`,
            { cause },
          ),
        );
      });
      server.listen(outside ? { host: where.host, port: where.port } : where, () => resolve());
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse, outside: boolean): void {
    this.#route(request.url ?? '/', response, outside).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else fail(response, error);
    });
  }

  async #route(target: string, response: ServerResponse, outside: boolean): Promise<void> {
    const view = this.#view;
    const url = URL.parse(target, 'http://agent');
    if (url === null) return text(response, 400, 'not a URL\n');
    if (url.pathname === '/healthz') return text(response, 200, 'ok\n');
    if (url.pathname === '/readyz') {
      const health = view?.status().health ?? 'starting';
      return text(response, health === 'starting' ? 503 : 200, `${health}\n`);
    }
    if (view === undefined) return text(response, 503, 'starting\n');
    if (url.pathname === '/metrics') return text(response, 200, await view.metrics(), view.metricsType);
    if (outside) return text(response, 404, 'not found\n');
    switch (url.pathname) {
      case '/v1/status':
        return json(response, view.status());
      case '/v1/endpoints':
        return json(response, view.endpoints());
      case '/v1/envoy':
        return json(response, view.envoy() ?? NO_ENVOY);
      case '/v1/authentication':
        return json(response, view.authentication() ?? null);
      case '/v1/tunnel':
        return json(response, await view.tunnel());
      case '/v1/tunnel/rotate':
        return json(response, await view.rotateTunnelKey());
      case '/v1/join-token':
        return json(response, { token: joinToken(view, url.searchParams) });
      case '/v1/identities':
        return json(response, view.identities());
      case '/v1/names':
        return json(response, view.names());
      case '/v1/policies':
        return json(response, view.policies());
      case '/v1/flows':
        return streamFlows(view, url.searchParams, response);
      default:
        return text(response, 404, 'not found\n');
    }
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    }
    rmSync(pidFile(this.#runDir), { force: true });
    rmSync(socketPath(this.#runDir), { force: true });
  }
}

function text(response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': type });
  response.end(body);
}

function json(response: ServerResponse, body: unknown): void {
  text(response, 200, `${JSON.stringify(body)}\n`, 'application/json');
}

function fail(response: ServerResponse, error: unknown): void {
  const known =
    error instanceof SidestepError
      ? error
      : new SidestepError('INPUT_INVALID', error instanceof Error ? error.message : String(error));
  text(response, 400, `${JSON.stringify({ error: known.toJSON() })}\n`, 'application/json');
}

const DAY_MS = 86_400_000;

/** The socket is root's alone. @throws INPUT_INVALID, NOT_FOUND */
function joinToken(view: AgentView, query: URLSearchParams): string {
  const ttl = z.coerce
    .number()
    .check(z.gte(1000), z.lte(DAY_MS))
    .safeParse(query.get('ttlMs') ?? 3_600_000);
  if (!ttl.success) throw new SidestepError('INPUT_INVALID', 'a token lives 1 second to 1 day');
  return view.createJoinToken(query.get('node') ?? '', ttl.data);
}

const number = z.optional(z.int().check(z.nonnegative()));
/** The query of /v1/flows, as the CLI sends it. */
const FlowQuery = z.strictObject({
  filter: z._default(
    z.array(z.strictObject({ option: z.enum(FILTER_OPTIONS), values: z.array(z.string()), not: z.boolean() })),
    [],
  ),
  last: number,
  first: number,
  since: z.optional(z.number()),
  until: z.optional(z.number()),
  follow: z._default(z.boolean(), false),
});
export type FlowQuery = z.input<typeof FlowQuery>;

async function streamFlows(view: AgentView, parameters: URLSearchParams, response: ServerResponse): Promise<void> {
  let query: z.output<typeof FlowQuery>;
  try {
    query = FlowQuery.parse(JSON.parse(parameters.get('query') ?? '{}'));
  } catch (cause) {
    throw new SidestepError('INPUT_INVALID', `query: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const { filter, follow, ...bounds } = query;
  const test = compileFilter(filter);
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  const line = (flow: Flow): string => `${JSON.stringify({ flow, node_name: view.nodeName, time: flow.time })}\n`;
  // Following begins before the history is read, both in one turn: nothing is missed and nothing comes twice.
  using following = follow ? view.flows.follow(test) : undefined;
  const history = view.flows.query({
    test,
    ...Object.fromEntries(Object.entries(bounds).filter(([, value]) => value !== undefined)),
  });
  await write(response, history.map(line).join(''));
  if (following) {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    response.flushHeaders();
    while (!gone.signal.aborted) {
      const { flows, lost } = await following.next(gone.signal);
      const time = timestamp(Date.now());
      const note =
        lost > 0
          ? `${JSON.stringify({ lost_events: { source: 'OBSERVER_EVENTS_QUEUE', num_events_lost: String(lost) }, node_name: view.nodeName, time })}\n`
          : '';
      await write(response, flows.map(line).join('') + note);
    }
  }
  response.end();
}

/** Waits for a slow reader; its queue fills meanwhile and counts what does not fit. */
async function write(response: ServerResponse, body: string): Promise<void> {
  if (body === '' || response.destroyed || response.write(body)) return;
  await new Promise<void>((resolve) => {
    const go = (): void => {
      response.off('drain', go).off('close', go);
      resolve();
    };
    response.once('drain', go).once('close', go);
  });
}
