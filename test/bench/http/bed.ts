/** The same client and server, with this and that between them, side by side on one machine: what every comparison runs on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inside } from '../../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../../control-plane/demo/process.ts';
import { System } from '../../lib/system.ts';
import { ROOT } from '../../lib/tools.ts';
import { type Host, Topology, type Workload } from '../../lib/topology.ts';
import { program } from '../tool.ts';
import { issueCertificates } from './certificates.ts';
import { getOnly } from './rules.ts';
import { type Address, clientSidecar, plainHop, serverSidecar } from './stock-config.ts';
import { startStockEnvoy } from './stock-envoy.ts';

/** In the order in which they are run. */
export const VARIANTS = ['direct', 'sidestep', 'pair', 'loggedPair', 'single'] as const;
export type VariantName = (typeof VARIANTS)[number];

export const SERVER_PORT = 8080;
/** As Istio's published figures have it. */
export const BODY_BYTES = 1024;
const SIDECAR_OUT = 15001;
const SIDECAR_IN = 15006;
const GATEWAY = 15080;
/** As bin/sidestep starts the agent. */
const NODE_OPTIONS = ['--max-semi-space-size=1', '--v8-pool-size=1'];

export interface Variant {
  readonly name: VariantName;
  readonly client: Workload;
  readonly target: Address;
  /** Envoys on the way. */
  readonly envoys: readonly number[];
  /** Who takes their log, and for Sidestep does everything else, too. */
  readonly keepers: readonly number[];
}

export class Bed implements AsyncDisposable {
  readonly variants: readonly Variant[];
  readonly #topology: Topology;
  readonly #system: System;
  readonly #folder: string;

  private constructor(topology: Topology, system: System, folder: string, variants: readonly Variant[]) {
    this.#topology = topology;
    this.#system = system;
    this.#folder = folder;
    this.variants = variants;
  }

  static async create(): Promise<Bed> {
    const topology = await Topology.create('stock');
    const system = await System.create('mesh', ['--envoy-concurrency', '1']);
    const folder = mkdtempSync(join(tmpdir(), 'sst-bench-'));
    const variants = [...(await stockVariants(topology, folder)), await sidestepVariant(system)];
    const inOrder = VARIANTS.flatMap((name) => variants.filter((variant) => variant.name === name));
    return new Bed(topology, system, folder, inOrder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#system.remove();
    await this.#topology.remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Runs the load program in a workload to its end; its last line is its result. */
export async function load({ client }: Variant, args: readonly (string | number)[]): Promise<Record<string, number>> {
  const command = [await program('http-load'), ...args.map(String)];
  const { stdout } = await run('nsenter', inside(client.namespace, command), { timeoutMs: 60_000 });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, number>;
}

export async function startServer({ namespace }: Workload): Promise<Child> {
  return startListening(namespace, [await program('http-load'), 'serve', String(SERVER_PORT), String(BODY_BYTES)]);
}

async function startListening(namespace: string, command: readonly string[]): Promise<Child> {
  const child = Child.start('nsenter', inside(namespace, command));
  await child.waitForLine((line) => line.includes('"ready"'));
  return child;
}

/** All with the same client and server, and the same reader of access logs. */
async function stockVariants(topology: Topology, folder: string): Promise<Variant[]> {
  const [client, server] = [await topology.workload('client', 'routed'), await topology.workload('server', 'routed')];
  await startServer(server);
  const { node } = topology;
  const log = join(folder, 'log.sock');
  const sink = await startListening(node.namespace, [
    ...[process.execPath, ...NODE_OPTIONS],
    ...[join(ROOT, 'test/bench/http/log-sink.ts'), log],
  ]);
  const certificates = await issueCertificates(folder);
  const end = at(server.ipv4, SERVER_PORT);
  const start = async (name: string, where: Host, config: object): Promise<number> =>
    (await startStockEnvoy(folder, name, where.namespace, config)).pid;

  /** As sidecars do: one in the pod of each end, and the server's is the one that logs. */
  const pair = async (name: 'pair' | 'loggedPair', offset: number, logged: { log?: string }): Promise<Variant> => {
    const [out, inbound] = [at('127.0.0.1', SIDECAR_OUT + offset), at(server.ipv4, SIDECAR_IN + offset)];
    const first = clientSidecar({ listen: out, upstream: inbound }, certificates);
    const second = serverSidecar({ listen: inbound, upstream: at('127.0.0.1', SERVER_PORT), ...logged }, certificates);
    const envoys = [await start(`${name}-client`, client, first), await start(`${name}-server`, server, second)];
    return { name, client, target: out, envoys, keepers: logged.log === undefined ? [] : [sink.pid] };
  };

  const gateway = at(node.ipv4, GATEWAY);
  const single = await start('single', node, plainHop({ listen: gateway, upstream: end, log }));
  return [
    { name: 'direct', client, target: end, envoys: [], keepers: [] },
    await pair('pair', 0, {}),
    await pair('loggedPair', 100, { log }),
    { name: 'single', client, target: gateway, envoys: [single], keepers: [sink.pid] },
  ];
}

async function sidestepVariant(system: System): Promise<Variant> {
  const [client, server] = [await system.pod('client', 'routed'), await system.pod('server', 'routed')];
  await startServer(server);
  system.policy('http', getOnly('server', SERVER_PORT));
  // Nobody follows: a reader of every flow would be measured, too.
  await system.agent.start();
  const envoy = await envoyOf(system);
  const { pid: agent } = system.agent;
  if (agent === undefined) throw new Error('the agent does not run');
  return { name: 'sidestep', client, target: at(server.ipv4, SERVER_PORT), envoys: [envoy], keepers: [agent] };
}

/** Waits until it is ready and has its rules. */
export async function envoyOf({ agent }: Pick<System, 'agent'>, patienceMs = 20_000): Promise<number> {
  for (const deadline = Date.now() + patienceMs; Date.now() < deadline; await sleep(50)) {
    const { state, pid, discovery } = JSON.parse((await agent.get('/v1/envoy')).body) as {
      state: string;
      pid?: number;
      discovery: { revision: number; acknowledged: number };
    };
    if (state === 'ready' && pid !== undefined && discovery.acknowledged === discovery.revision) return pid;
  }
  throw new Error(`Envoy is not ready: ${agent.log().slice(-2000)}`);
}

function at(address: string, port: number): Address {
  return { address, port };
}
