/** A real Envoy that takes its configuration from our discovery service, as strictly as it can. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type RequestOptions, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootstrap } from '../../control-plane/envoy/bootstrap.ts';
import type { EnvoyPaths } from '../../control-plane/envoy/paths.ts';

const root = join(import.meta.dirname, '../..');
const VERSION = process.env['SIDESTEP_ENVOY_VERSION'] ?? '1.40.0';
export const ENVOY = process.env['SIDESTEP_ENVOY'] ?? join(root, `build/envoy/${VERSION}/envoy`);
export const MODULE = join(root, 'native/libsidestep_identity.so');

/** @returns a folder with room for sockets: their paths are short */
export function runFolder(): string {
  return mkdtempSync(join(tmpdir(), 'sst-envoy-'));
}

function pathsIn(folder: string): EnvoyPaths {
  return {
    folder,
    admin: join(folder, 'admin.sock'),
    log: join(folder, 'envoy.log'),
    bootstrap: join(folder, 'envoy.json'),
    record: join(folder, 'envoy.pid'),
    discovery: join(folder, 'xds.sock'),
  };
}

export class RealEnvoy {
  readonly #paths: EnvoyPaths;
  readonly #child: ChildProcess;

  private constructor(paths: EnvoyPaths, child: ChildProcess) {
    this.#paths = paths;
    this.#child = child;
  }

  static start(folder: string, concurrency = 2): RealEnvoy {
    for (const file of [ENVOY, MODULE]) if (!existsSync(file)) throw new Error(`${file} is missing: run \`make deps\``);
    const paths = pathsIn(folder);
    writeFileSync(paths.bootstrap, JSON.stringify(bootstrap(paths)));
    const output = openSync(paths.log, 'a');
    const args = ['-c', paths.bootstrap, '--concurrency', String(concurrency), '--disable-hot-restart', '-l', 'warn'];
    const child = spawn(ENVOY, [...args, '--reject-unknown-dynamic-fields'], { stdio: ['ignore', output, output] });
    return new RealEnvoy(paths, child);
  }

  get log(): string {
    return readFileSync(this.#paths.log, 'utf8');
  }

  async admin(path: string): Promise<string> {
    return (await fetchText({ socketPath: this.#paths.admin, path })).body;
  }

  /** The value of one counter or gauge. */
  async stat(name: string): Promise<number> {
    const text = await this.admin(`/stats?usedonly&filter=^${name}$`);
    return Number(text.split(': ')[1] ?? 0);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}

export interface Reply {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export function fetchText(options: RequestOptions): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const asked = request(options, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }));
      response.on('error', reject);
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** Asks again until the answer is yes. */
export async function until(what: string, ask: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleep(20);
  }
}

/** A port that nobody listens on, on loopback of both families. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '::', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
