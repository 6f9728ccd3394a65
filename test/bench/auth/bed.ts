/** Two nodes that prove what they are told to, and pairs of workloads on them with one port that is authenticated and one that is not. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SecureView } from '../../../control-plane/agent/secure-plane.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../../lib/cluster.ts';
import { echoServers } from '../../lib/pairs.ts';
import { ROOT } from '../../lib/tools.ts';

/** Authenticated, and as it is. Both through the tunnel. */
export const PORT = 9300;
export const PLAIN_PORT = 9301;
const PATIENCE_MS = 30_000;
/** As bin/sidestep starts it. */
const NODE = [process.execPath, '--max-semi-space-size=1', '--v8-pool-size=1'];

export interface Pair {
  readonly client: ClusterPod;
  readonly server: ClusterPod;
}

export class Bed implements AsyncDisposable {
  readonly first: ClusterNode;
  readonly second: ClusterNode;
  readonly pairs: readonly Pair[];
  readonly #cluster: Cluster;

  private constructor(cluster: Cluster, pairs: readonly Pair[]) {
    this.#cluster = cluster;
    [this.first, this.second] = cluster.nodes as [ClusterNode, ClusterNode];
    this.pairs = pairs;
  }

  /** @param count pods on each node, each with a service account of its own */
  static async create(name: string, count: number): Promise<Bed> {
    const command = [
      ...NODE,
      '--import',
      join(import.meta.dirname, 'on-demand.ts'),
      join(ROOT, 'control-plane/cli/main.ts'),
    ];
    const cluster = await meshed(name, 2, ['--encryption', 'on'], () => command);
    // Nobody reads its flows: that would be measured, too.
    for (const node of cluster.nodes) await node.unfollow();
    const [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    const pods = (end: 'client' | 'server', node: ClusterNode): Promise<ClusterPod[]> =>
      Promise.all(
        Array.from({ length: count }, (_, i) => cluster.pod(`${end}-${i}`, node, `${end}-${i}`, { tier: end })),
      );
    const [clients, servers] = [await pods('client', first), await pods('server', second)];
    for (const port of [PORT, PLAIN_PORT]) await echoServers(servers, port);
    const from = { fromEndpoints: [{ matchLabels: { tier: 'client' } }] };
    const at = (port: number): object => ({ toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }] });
    cluster.policy('both', {
      endpointSelector: { matchLabels: { tier: 'server' } },
      ingress: [
        { ...from, ...at(PORT), authentication: { mode: 'required' } },
        { ...from, ...at(PLAIN_PORT) },
      ],
    });
    const bed = new Bed(
      cluster,
      clients.map((client, i) => ({ client, server: servers[i] as ClusterPod })),
    );
    await bed.#until(({ certificates }) => certificates.length === count);
    return bed;
  }

  /** Each pod has another service account now, of which nobody has proven anything. @param generation a number not used before */
  async renew(generation: number): Promise<void> {
    const names = new Set<string>();
    for (const [i, pair] of this.pairs.entries())
      for (const end of ['client', 'server'] as const) {
        const name = `${end}-${i}-${generation}`;
        this.#cluster.announce(pair[end], name, { tier: end });
        names.add(name);
      }
    await this.#until(
      ({ certificates }) =>
        certificates.filter(({ spiffeId }) => names.has(spiffeId.split('/').at(-1) ?? '')).length === this.pairs.length,
    );
    // What follows a change of the folder is over.
    await sleep(200);
  }

  /** The nodes have no session, and nothing is proven. */
  async part(): Promise<void> {
    this.#signal('SIGUSR2');
    await this.#until(({ peers, proofs }) => proofs.length === 0 && peers.every(({ state }) => state !== 'open'));
    await sleep(100);
  }

  /** Both begin to prove all. */
  prove(): void {
    this.#signal('SIGURG');
  }

  get agents(): readonly number[] {
    return this.#cluster.nodes.map(({ agent: { pid } }) => {
      if (pid === undefined) throw new Error('an agent does not run');
      return pid;
    });
  }

  #signal(name: 'SIGUSR2' | 'SIGURG'): void {
    for (const pid of this.agents) process.kill(pid, name);
  }

  /** Both nodes say so. */
  async #until(isSo: (view: SecureView) => boolean): Promise<void> {
    for (const node of this.#cluster.nodes)
      for (const deadline = Date.now() + PATIENCE_MS; !isSo(await viewOf(node)); await sleep(10))
        if (Date.now() > deadline)
          throw new Error(`${node.name}: ${JSON.stringify(await viewOf(node)).slice(0, 2000)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster.remove();
  }
}

export async function viewOf(node: ClusterNode): Promise<SecureView> {
  return JSON.parse((await node.agent.get('/v1/authentication')).body) as SecureView;
}
