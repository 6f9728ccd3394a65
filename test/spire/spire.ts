/** A real SPIRE server and agent in a folder of their own, as long as a test runs. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
export const TRUST_DOMAIN = 'mesh.test';
/** What the processes of this test are to SPIRE: they run as root. */
export const OWN_ID = `spiffe://${TRUST_DOMAIN}/sidestep/a`;
export const OWN_SELECTORS = ['unix:uid:0'];
const PARENT_ID = `spiffe://${TRUST_DOMAIN}/agent-of-a`;
/** Below SPIRE's defaults of 5 s, which would only make the tests longer. */
const SYNC = '500ms';

export class Spire {
  readonly #bin: string;
  readonly #folder: string;
  readonly #port: number;
  readonly #processes: ChildProcess[] = [];
  #agent: ChildProcess | undefined;

  private constructor(bin: string, folder: string, port: number) {
    this.#bin = bin;
    this.#folder = folder;
    this.#port = port;
  }

  static async start(): Promise<Spire> {
    const bin = execFileSync(join(ROOT, 'scripts/spire.sh'), ['--path'], { encoding: 'utf8' }).trim();
    for (const name of ['spire-server', 'spire-agent'])
      try {
        accessSync(join(bin, name), constants.X_OK);
      } catch {
        throw new Error(`${bin} has no ${name}: run \`make spire-test\`, which builds it`);
      }
    const spire = new Spire(bin, mkdtempSync(join(tmpdir(), 'spire-')), await freePort());
    try {
      await spire.#startServer();
      await spire.#startFirstAgent();
    } catch (error) {
      await spire.close();
      throw error;
    }
    return spire;
  }

  get workloadSocket(): string {
    return join(this.#folder, 'public', 'workload.sock');
  }

  get adminSocket(): string {
    return join(this.#folder, 'admin', 'admin.sock');
  }

  /** @returns its id */
  async createEntry(spiffeId: string, selectors: readonly string[], ttlSeconds = 3600): Promise<string> {
    const told = await this.#server(
      ['entry', 'create', '-parentID', PARENT_ID, '-spiffeID', spiffeId, '-x509SVIDTTL', String(ttlSeconds)].concat(
        selectors.flatMap((selector) => ['-selector', selector]),
      ),
    );
    return (JSON.parse(told) as { results: { entry: { id: string } }[] }).results[0]?.entry.id ?? '';
  }

  async deleteEntry(id: string): Promise<void> {
    await this.#server(['entry', 'delete', '-entryID', id]);
  }

  /** A second authority in the bundle, as before each change of SPIRE's key. */
  async prepareAuthority(): Promise<void> {
    await this.#server(['localauthority', 'x509', 'prepare']);
  }

  async stopAgent(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    if (agent !== undefined) await stop(agent);
  }

  async startAgent(token?: string): Promise<void> {
    const arguments_ = ['run', '-config', join(this.#folder, 'agent.conf')];
    this.#agent = this.#spawn('spire-agent', token === undefined ? arguments_ : [...arguments_, '-joinToken', token]);
    await this.#healthy('spire-agent', this.workloadSocket, this.#agent);
  }

  async close(): Promise<void> {
    for (const process of this.#processes.toReversed()) await stop(process);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #startServer(): Promise<void> {
    writeFileSync(
      join(this.#folder, 'server.conf'),
      `server {
  bind_address = "127.0.0.1"
  bind_port = "${this.#port}"
  socket_path = "${join(this.#folder, 'server.sock')}"
  trust_domain = "${TRUST_DOMAIN}"
  data_dir = "${join(this.#folder, 'server')}"
  log_level = "WARN"
  experimental { cache_reload_interval = "${SYNC}" }
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "${join(this.#folder, 'data.sqlite3')}" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
`,
    );
    const server = this.#spawn('spire-server', ['run', '-config', join(this.#folder, 'server.conf')]);
    await this.#healthy('spire-server', join(this.#folder, 'server.sock'), server);
  }

  async #startFirstAgent(): Promise<void> {
    writeFileSync(
      join(this.#folder, 'agent.conf'),
      `agent {
  server_address = "127.0.0.1"
  server_port = "${this.#port}"
  socket_path = "${this.workloadSocket}"
  admin_socket_path = "${this.adminSocket}"
  authorized_delegates = ["${OWN_ID}"]
  trust_bundle_path = "${join(this.#folder, 'bundle.pem')}"
  trust_domain = "${TRUST_DOMAIN}"
  data_dir = "${join(this.#folder, 'agent')}"
  log_level = "WARN"
  experimental { sync_interval = "${SYNC}" }
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "${join(this.#folder, 'agent')}" } }
  WorkloadAttestor "unix" { plugin_data {} }
}
`,
    );
    writeFileSync(join(this.#folder, 'bundle.pem'), await this.#server(['bundle', 'show'], []));
    const told = await this.#server(['token', 'generate', '-spiffeID', PARENT_ID]);
    await this.startAgent((JSON.parse(told) as { value: string }).value);
  }

  #spawn(name: string, arguments_: readonly string[]): ChildProcess {
    const log = openSync(join(this.#folder, `${name}.log`), 'a');
    const child = spawn(join(this.#bin, name), arguments_, { stdio: ['ignore', log, log] });
    this.#processes.push(child);
    return child;
  }

  async #healthy(name: string, socketPath: string, process: ChildProcess): Promise<void> {
    for (;;)
      try {
        await run(join(this.#bin, name), ['healthcheck', '-socketPath', socketPath]);
        return;
      } catch {
        if (process.exitCode !== null)
          throw new Error(`${name} has ended:\n${readFileSync(join(this.#folder, `${name}.log`), 'utf8')}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
  }

  async #server(command: readonly string[], output: readonly string[] = ['-output', 'json']): Promise<string> {
    const socket = ['-socketPath', join(this.#folder, 'server.sock')];
    return (await run(join(this.#bin, 'spire-server'), [...command, ...socket, ...output])).stdout;
  }
}

async function stop(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = once(process, 'exit');
  process.kill('SIGTERM');
  const kill = setTimeout(() => process.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(kill);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
