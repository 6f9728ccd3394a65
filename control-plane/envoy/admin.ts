/** Asks Envoy's admin interface over its UNIX socket. Nothing here throws: no answer is an answer. */
import { request } from 'node:http';
import type { EnvoyAdmin, Readiness } from './ports.ts';

const TIMEOUT_MS = 1000;
/** Of a listener as a whole: each is told for each worker, too, and the admin interface is one. */
const COUNTED = /^listener\.(?!admin\.)(?!.*\.(?:worker_\d+|main_thread)\.downstream).*: \d+$/;
/** More than any answer that is asked for. */
const MOST_BYTES = 1 << 20;

interface Answer {
  readonly status: number;
  readonly body: string;
}

export class AdminClient implements EnvoyAdmin {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async ready(timeoutMs: number): Promise<Readiness> {
    const answer = await this.#ask('GET', '/ready', timeoutMs);
    if (answer === undefined) return 'silent';
    return answer.status === 200 ? 'ready' : 'not-ready';
  }

  async drain(): Promise<void> {
    // Not /drain_listeners: that cannot be taken back when a rule returns.
    await this.#ask('POST', '/healthcheck/fail');
  }

  async undrain(): Promise<void> {
    await this.#ask('POST', '/healthcheck/ok');
  }

  async quit(): Promise<void> {
    await this.#ask('POST', '/quitquitquit');
  }

  async connections(): Promise<number | undefined> {
    const answer = await this.#ask('GET', '/stats?filter=%5Elistener%5C..*%5C.downstream_cx_active%24');
    if (answer?.status !== 200) return undefined;
    const lines = answer.body.split('\n').filter((line) => COUNTED.test(line));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(':') + 1)), 0);
  }

  #ask(method: string, path: string, timeoutMs = TIMEOUT_MS): Promise<Answer | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    const asked = request({ socketPath: this.#socketPath, path, method, agent: false, headers: { host: 'envoy' } });
    const done = (answer: Answer | undefined): void => {
      clearTimeout(timer);
      resolve(answer);
      asked.destroy();
    };
    // When it is we who were busy, the answer is there already and only not read: sockets get their turn first.
    const timer = setTimeout(() => setImmediate(() => done(undefined)), timeoutMs);
    timer.unref();
    asked.on('error', () => done(undefined));
    asked.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
        if (body.length > MOST_BYTES) done(undefined);
      });
      response.on('error', () => done(undefined));
      response.on('end', () => done({ status: response.statusCode ?? 0, body }));
    });
    asked.end();
    return promise;
  }
}
