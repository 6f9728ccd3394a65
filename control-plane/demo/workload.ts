/** What runs inside the demo's workloads: a small web server and a client that asks it again and again. */
import { Agent, createServer, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface RequestOutcome {
  /** Milliseconds since the epoch, at the start of the attempt. */
  readonly start: number;
  readonly milliseconds: number;
  readonly status?: number;
  /** Errno name, or TIMEOUT when nothing came back at all. */
  readonly error?: string;
  /** Our address as the server saw it. */
  readonly seenAs?: string;
  /** Our port: the same number twice is the same connection. */
  readonly port?: number;
}

/** The server says in this header whom it sees. */
const SEEN_AS = 'x-seen-as';

/** Answers every request with 200 until the signal; `ready` is called once it listens. */
export function serve(port: number, signal: AbortSignal, ready: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer((asked, response) => {
      response.setHeader('content-type', 'text/plain');
      response.setHeader(SEEN_AS, (asked.socket.remoteAddress ?? '').replace(/^::ffff:/, ''));
      response.end('hello from the backend\n');
    });
    // The client decides how long a connection lives.
    server.keepAliveTimeout = 0;
    server.on('error', reject);
    server.listen({ port, host: '::' }, ready);
    signal.addEventListener('abort', () => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  });
}

export interface ClientOptions {
  readonly url: string;
  /** Until the signal when absent. */
  readonly count: number | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** All requests over one connection; otherwise each over a new one. */
  readonly keepAlive: boolean;
  /** Default GET. */
  readonly method?: string;
}

/** Requests one after the other; `report` gets each outcome. */
export async function ask(
  options: ClientOptions,
  signal: AbortSignal,
  report: (outcome: RequestOutcome) => void,
): Promise<void> {
  const agent = new Agent({ keepAlive: options.keepAlive, maxSockets: 1 });
  for (let made = 0; made !== options.count && !signal.aborted; made++) {
    if (made > 0) await delay(options.intervalMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    report(await once(options, agent));
  }
  agent.destroy();
}

function once(options: ClientOptions, agent: Agent): Promise<RequestOutcome> {
  const start = Date.now();
  const began = performance.now();
  return new Promise((resolve) => {
    const settle = (outcome: { status?: number; error?: string; port?: number; seenAs?: string }): void => {
      clearTimeout(timer);
      resolve({ start, milliseconds: Math.round((performance.now() - began) * 10) / 10, ...outcome });
    };
    const asked = request(options.url, { agent, method: options.method ?? 'GET' }, (response) => {
      const port = response.socket.localPort;
      response.on('error', (error: NodeJS.ErrnoException) => settle({ error: error.code ?? error.message }));
      response.on('end', () =>
        settle({
          status: response.statusCode ?? 0,
          ...(port === undefined ? {} : { port }),
          ...(typeof response.headers[SEEN_AS] === 'string' ? { seenAs: response.headers[SEEN_AS] } : {}),
        }),
      );
      response.resume();
    });
    const timer = setTimeout(
      () => asked.destroy(Object.assign(new Error('nothing came back'), { code: 'TIMEOUT' })),
      options.timeoutMs,
    );
    asked.on('error', (error: NodeJS.ErrnoException) => settle({ error: error.code ?? error.message }));
    asked.end();
  });
}
