/** HTTP between workloads: servers that run until their topology is removed, and questions that are answered once. */
import { join } from 'node:path';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT } from './tools.ts';
import type { Host } from './topology.ts';
import type { Family } from './traffic.ts';

export const HTTP_PORT = 8080;

export interface HttpAnswer {
  readonly status?: number;
  readonly body?: string;
  /** An errno name, or TIMEOUT. */
  readonly error?: string;
  /** The asker's port: the same twice is the same connection. */
  readonly port?: number;
}

const peer = (args: readonly string[]): string[] => [process.execPath, join(ROOT, 'test/tools/http-peer.ts'), ...args];

export function urlOf(host: Host, family: Family, path: string, port = HTTP_PORT): string {
  return `http://${family === 'ipv6' ? `[${host.ipv6}]` : host.ipv4}:${port}${path}`;
}

export async function httpServer(host: Host, port = HTTP_PORT): Promise<Child> {
  const child = Child.start('nsenter', inside(host.namespace, peer(['serve', String(port)])));
  await child.waitForLine((line) => line === 'listening');
  return child;
}

/** One request over a connection of its own. @param headers NAME=VALUE */
export async function ask(
  from: Host,
  to: Host,
  family: Family,
  method: string,
  path: string,
  port = HTTP_PORT,
  headers: readonly string[] = [],
): Promise<HttpAnswer> {
  const question = peer(['ask', urlOf(to, family, path, port), method, ...headers]);
  const { stdout } = await run('nsenter', inside(from.namespace, question), { timeoutMs: 20_000 });
  return JSON.parse(stdout) as HttpAnswer;
}

/** Many connections that stay open; each round is one request over each. */
export class HeldHttp {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static start(from: Host, to: Host, family: Family, connections: number): HeldHttp {
    const args = peer(['hold', urlOf(to, family, '/'), String(connections)]);
    return new HeldHttp(Child.start('nsenter', inside(from.namespace, args)));
  }

  /** Begins a round; its answers are told by `answers`. */
  ask(method: string, path: string): void {
    this.#child.write(`${method} ${path}\n`);
  }

  /** One request over each connection. */
  async round(method: string, path: string): Promise<readonly HttpAnswer[]> {
    const from = this.#child.lines.length;
    this.ask(method, path);
    return this.answers(from);
  }

  async answers(from = 0): Promise<readonly HttpAnswer[]> {
    const line = await this.#child.waitForLine((each) => each.startsWith('['), { from, timeoutMs: 30_000 });
    return JSON.parse(line) as readonly HttpAnswer[];
  }

  async close(): Promise<void> {
    this.#child.endInput();
    await this.#child.exited;
  }
}

/** Requests of all kinds, one behind the other on each of some connections, until it is stopped. */
export class HttpLoad {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static start(from: Host, to: Host, family: Family, connections: number, seed = 1): HttpLoad {
    const tool = join(ROOT, 'test/tools/http-load.ts');
    const command = [process.execPath, tool, urlOf(to, family, '/'), String(connections), String(seed)];
    return new HttpLoad(Child.start('nsenter', inside(from.namespace, command)));
  }

  /** @returns how often it met what: `GET 200`, `POST ECONNRESET` */
  async stop(): Promise<Readonly<Record<string, number>>> {
    this.#child.endInput();
    await this.#child.exited;
    return JSON.parse(this.#child.lines.at(-1) ?? '{}') as Record<string, number>;
  }
}
