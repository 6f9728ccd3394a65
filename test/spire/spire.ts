/** A real SPIRE server and its agents, in a network namespace and a folder of their own, as long as a test runs. */
import { execFileSync } from 'node:child_process';
import { accessSync, closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createNamespace, deleteNamespace, inside, orphans } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT } from '../lib/tools.ts';
import { TEST_PREFIX } from '../lib/topology.ts';

export const TRUST_DOMAIN = 'mesh.test';
/** What Sidestep's agents, and these tests in the place of one, are to SPIRE: they run as root. */
export const OWN_SELECTORS = ['unix:uid:0'];
/** Below SPIRE's defaults of 5 s, which would only make the tests longer. */
const SYNC = '500ms';
/** Of the server; in a namespace nobody else has it. */
const PORT = 8081;
/** Of what the server says of each certificate that it signs, at the level DEBUG. */
const SIGNED = 'Signed X509 SVID';

interface Where {
  readonly bin: string;
  readonly folder: string;
  readonly namespace: string;
}

/** spire-server or spire-agent, which can be ended and started again. */
class Daemon {
  readonly #program: string;
  readonly #config: string;
  readonly #socket: string;
  readonly #namespace: string;
  readonly #logFile: string;
  #child: Child | undefined;

  /** @param name of its configuration and log @param socket where it can be asked for its health */
  constructor({ bin, folder, namespace }: Where, program: string, name: string, socket: string) {
    this.#program = join(bin, program);
    this.#config = join(folder, `${name}.conf`);
    this.#logFile = join(folder, `${name}.log`);
    this.#socket = socket;
    this.#namespace = namespace;
  }

  get log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  configure(text: string): void {
    writeFileSync(this.#config, text);
  }

  /** Starts it and waits until it says that it is well. */
  async start(more: readonly string[] = []): Promise<void> {
    const log = openSync(this.#logFile, 'a');
    const command = [this.#program, 'run', '-config', this.#config, ...more];
    try {
      this.#child = Child.start('nsenter', inside(this.#namespace, command), ['ignore', log, log]);
    } finally {
      closeSync(log);
    }
    const asked = ['healthcheck', '-socketPath', this.#socket];
    while ((await run(this.#program, asked, { tolerate: true })).code !== 0) {
      if (this.#child.ended) throw new Error(`${this.#program} has ended:\n${this.log.slice(-2_000)}`);
      await delay(100);
    }
  }

  async stop(): Promise<void> {
    await this.#child?.stop(10_000);
  }

  /** kill -9, as the out-of-memory killer would. */
  async killHard(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#child?.exited;
  }
}

export interface SpireAgentOptions {
  readonly name: string;
  /** The SPIFFE ID of who may ask for others' certificates. */
  readonly delegate: string;
}

export class SpireAgent extends Daemon {
  readonly options: SpireAgentOptions;
  /** Under which its registration entries are. */
  readonly parentId: string;
  readonly workloadSocket: string;
  readonly adminSocket: string;

  constructor(where: Where, options: SpireAgentOptions) {
    const folder = join(where.folder, options.name);
    const workloadSocket = join(folder, 'public', 'workload.sock');
    super(where, 'spire-agent', options.name, workloadSocket);
    this.options = options;
    this.parentId = `spiffe://${TRUST_DOMAIN}/spire-agent/of-${options.name}`;
    this.workloadSocket = workloadSocket;
    this.adminSocket = join(folder, 'admin', 'admin.sock');
    this.configure(`agent {
  server_address = "127.0.0.1"
  server_port = "${PORT}"
  socket_path = "${this.workloadSocket}"
  admin_socket_path = "${this.adminSocket}"
  authorized_delegates = ["${options.delegate}"]
  trust_bundle_path = "${join(where.folder, 'bundle.pem')}"
  trust_domain = "${TRUST_DOMAIN}"
  data_dir = "${folder}"
  log_level = "WARN"
  experimental { sync_interval = "${SYNC}" }
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "${folder}" } }
  WorkloadAttestor "unix" { plugin_data {} }
}
`);
  }
}

export class Spire {
  readonly agents: readonly SpireAgent[];
  /** While it is away nothing but `startServer` may be asked. */
  readonly #server: Daemon;
  readonly #where: Where;

  private constructor(where: Where, agents: readonly SpireAgentOptions[]) {
    this.#where = where;
    this.#server = new Daemon(where, 'spire-server', 'server', this.#serverSocket);
    this.agents = agents.map((options) => new SpireAgent(where, options));
  }

  static async start(agents: readonly SpireAgentOptions[]): Promise<Spire> {
    const bin = execFileSync(join(ROOT, 'scripts/spire.sh'), ['--path'], { encoding: 'utf8' }).trim();
    for (const name of ['spire-server', 'spire-agent'])
      try {
        accessSync(join(bin, name), constants.X_OK);
      } catch {
        throw new Error(`${bin} has no ${name}: run \`make spire-test\`, which builds it`);
      }
    const namespace = `${TEST_PREFIX}-${process.pid}-spire`;
    for (const each of [...orphans(TEST_PREFIX), namespace]) await deleteNamespace(each);
    await createNamespace(namespace);
    const folder = mkdtempSync(join(tmpdir(), `${namespace}-`));
    const spire = new Spire({ bin, folder, namespace }, agents);
    try {
      await spire.#startAll();
    } catch (error) {
      await spire.close();
      throw error;
    }
    return spire;
  }

  /** @returns its id */
  async createEntry(
    agent: SpireAgent,
    spiffeId: string,
    selectors: readonly string[],
    ttlSeconds = 3600,
  ): Promise<string> {
    const what = ['-parentID', agent.parentId, '-spiffeID', spiffeId, '-x509SVIDTTL', String(ttlSeconds)];
    const told = await this.#ask(['entry', 'create', ...what, ...selectors.flatMap((each) => ['-selector', each])]);
    return (JSON.parse(told) as { results: { entry: { id: string } }[] }).results[0]?.entry.id ?? '';
  }

  async deleteEntry(id: string): Promise<void> {
    await this.#ask(['entry', 'delete', '-entryID', id]);
  }

  /** A second authority in the bundle, as before each change of SPIRE's key. */
  async prepareAuthority(): Promise<void> {
    await this.#ask(['localauthority', 'x509', 'prepare']);
  }

  /** Decimal serials of the certificates that the server has signed for a SPIFFE ID, by its own log, the oldest first. */
  issued(spiffeId: string): readonly string[] {
    const signed = this.#server.log.split('\n').filter((line) => line.includes(SIGNED));
    return signed
      .map((line) => JSON.parse(line) as { spiffe_id: string; serial_num: string })
      .filter((each) => each.spiffe_id === spiffeId)
      .map(({ serial_num: serial }) => serial);
  }

  killServer(): Promise<void> {
    return this.#server.killHard();
  }

  startServer(): Promise<void> {
    return this.#server.start();
  }

  async close(): Promise<void> {
    for (const daemon of [...this.agents, this.#server]) await daemon.stop();
    await deleteNamespace(this.#where.namespace);
    rmSync(this.#where.folder, { recursive: true, force: true });
  }

  get #serverSocket(): string {
    return join(this.#where.folder, 'server.sock');
  }

  async #startAll(): Promise<void> {
    const { folder } = this.#where;
    // Its keys on the disk: with a new authority at each start no agent would believe it.
    this.#server.configure(`server {
  bind_address = "127.0.0.1"
  bind_port = "${PORT}"
  socket_path = "${this.#serverSocket}"
  trust_domain = "${TRUST_DOMAIN}"
  data_dir = "${join(folder, 'server')}"
  log_level = "DEBUG"
  log_format = "json"
  experimental { cache_reload_interval = "${SYNC}" }
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "${join(folder, 'data.sqlite3')}" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { keys_path = "${join(folder, 'server-keys.json')}" } }
}
`);
    await this.startServer();
    writeFileSync(join(folder, 'bundle.pem'), await this.#ask(['bundle', 'show'], []));
    for (const agent of this.agents) {
      const told = await this.#ask(['token', 'generate', '-spiffeID', agent.parentId]);
      await agent.start(['-joinToken', (JSON.parse(told) as { value: string }).value]);
    }
  }

  async #ask(command: readonly string[], output: readonly string[] = ['-output', 'json']): Promise<string> {
    const asked = [...command, '-socketPath', this.#serverSocket, ...output];
    return (await run(join(this.#where.bin, 'spire-server'), asked)).stdout;
  }
}
