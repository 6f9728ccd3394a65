/** A topology with an agent on its node: what the whole-system suites run against. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { type Pins, pinsOf } from '../../control-plane/datapath/pins.ts';
import { AgentProcess } from '../../control-plane/demo/agent-process.ts';
import { removeByForce } from '../../control-plane/demo/cleanup.ts';
import { FlowFollower, type ObservedFlow } from '../../control-plane/demo/flows.ts';
import { readLinks } from '../../control-plane/demo/links.ts';
import { ManifestFolder, namespaceManifest, podManifest } from '../../control-plane/demo/manifests.ts';
import { ownerOf } from '../../control-plane/demo/namespaces.ts';
import { endEnvoy } from '../../control-plane/envoy/end.ts';
import { ROOT } from './tools.ts';
import { type Attach, type Host, TEST_PREFIX, Topology, type Workload } from './topology.ts';

export const NODE = 'node-1';
const BPFFS = '/sys/fs/bpf';
const SOCKETS = '/run/sidestep';

/** Every test policy and pod lives here. */
export const NAMESPACE = 'shop';

export class System implements AsyncDisposable {
  readonly topology: Topology;
  readonly manifests: ManifestFolder;
  readonly agent: AgentProcess;
  readonly #folder: string;
  #flows: FlowFollower | undefined;

  private constructor(topology: Topology, instance: string, agentArguments: readonly string[]) {
    this.topology = topology;
    this.#folder = mkdtempSync(join(tmpdir(), `${instance}-`));
    mkdirSync(join(this.#folder, 'state'));
    this.manifests = new ManifestFolder(join(this.#folder, 'manifests'));
    this.manifests.write('namespace.yaml', namespaceManifest(NAMESPACE));
    this.agent = new AgentProcess({
      command: [join(ROOT, 'bin/sidestep')],
      namespace: topology.node.namespace,
      node: NODE,
      instance,
      source: this.manifests.path,
      stateDirectory: join(this.#folder, 'state'),
      logFile: join(this.#folder, 'agent.log'),
      extraArguments: agentArguments,
    });
  }

  /** A node with its manifests; the agent is not started yet. @param name distinguishes systems of one process */
  static async create(name: string, agentArguments: readonly string[] = []): Promise<System> {
    await sweepInstances();
    return new System(await Topology.create(name), `${TEST_PREFIX}-${process.pid}-${name}`, agentArguments);
  }

  get instance(): string {
    return this.agent.settings.instance;
  }

  /** Where the instance keeps what survives the agent. */
  get pins(): Pins {
    return pinsOf(BPFFS, this.instance);
  }

  /** A workload and its manifest; its label is `app=<name>`, or <app> where given. */
  async pod(name: string, attach: Attach, app = name): Promise<Workload> {
    const workload = await this.topology.workload(name, attach);
    this.announce(workload, app);
    return workload;
  }

  /** A pod on another node. */
  async remotePod(name: string, app = name): Promise<Host> {
    const host = await this.topology.remoteWorkload(name);
    const addresses = [host.ipv4, host.ipv6];
    this.#writePod(name, podManifest({ namespace: NAMESPACE, name, labels: { app }, addresses, node: 'node-2' }));
    return host;
  }

  /** Writes (again) the manifest of a workload. */
  announce(workload: Workload, app = workload.name): void {
    const { name, namespace: netns } = workload;
    const addresses = [workload.ipv4, workload.ipv6];
    this.#writePod(name, podManifest({ namespace: NAMESPACE, name, labels: { app }, addresses, netns, node: NODE }));
  }

  #writePod(name: string, manifest: string): void {
    this.manifests.write(`pod-${name}.yaml`, manifest);
  }

  /** Takes the manifest away; the workload itself stays. */
  withdraw(name: string): void {
    this.manifests.remove(`pod-${name}.yaml`);
  }

  /** Writes a CiliumNetworkPolicy into the folder. */
  policy(name: string, spec: object, annotations: Readonly<Record<string, string>> = {}): void {
    const metadata = { name, namespace: NAMESPACE, annotations };
    const head = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata };
    this.manifests.write(`policy-${name}.yaml`, JSON.stringify({ ...head, spec }, undefined, 2));
  }

  /** Writes the manifest of the pods' namespace again. */
  namespace(metadata: { readonly labels?: object; readonly annotations?: object }): void {
    const manifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, ...metadata } };
    this.manifests.write('namespace.yaml', JSON.stringify(manifest));
  }

  removePolicy(name: string): void {
    this.manifests.remove(`policy-${name}.yaml`);
  }

  /** Starts the agent, waits until it is ready, and follows its flows. */
  async start(): Promise<void> {
    await this.agent.start();
    await this.follow();
  }

  /** Follows the flows of the agent that runs now. */
  async follow(): Promise<void> {
    await this.#flows?.stop();
    this.#flows = FlowFollower.start(this.agent.settings.command, this.instance, this.topology.node.namespace);
  }

  /** The first flow that `wanted` accepts. Rejects when none comes in time. @param what for the message */
  async flow(what: string, wanted: (flow: ObservedFlow) => boolean, timeoutMs = 5_000): Promise<ObservedFlow> {
    const flow = await this.#followed.find(wanted, timeoutMs);
    if (flow === undefined) throw new Error(`no flow: ${what}. The last ones:\n${this.#followed.last(5).join('\n')}`);
    return flow;
  }

  /** The line of a flow as `sidestep observe` prints it. */
  async lineOf(flow: ObservedFlow): Promise<string> {
    return (await this.#followed.lineOf(flow)) ?? '';
  }

  get #followed(): FlowFollower {
    if (this.#flows === undefined) throw new Error('the agent has not been started');
    return this.#flows;
  }

  /** Body of /v1/status. */
  async status(): Promise<string> {
    return (await this.agent.get('/v1/status')).body;
  }

  /** Ids of the pinned links, asked of the kernel. */
  links(): ReadonlyMap<string, number> {
    return readLinks(openKernel(), this.pins.links);
  }

  /** Takes the hooks out behind the agent's back. */
  detachAll(): void {
    const kernel = openKernel();
    for (const name of readdirSync(this.pins.links)) {
      const link = kernel.openLink(join(this.pins.links, name));
      link.detach();
      link.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  /** Everything of it, by force where it must be. */
  async remove(): Promise<void> {
    await this.#flows?.stop();
    await this.agent.stop();
    await this.topology.remove();
    await removeInstance(this.instance);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What a flow calls a pod of ours. */
export function podName(host: Host): string {
  return `${NAMESPACE}/${host.name}`;
}

/** What a flow calls a policy of ours. */
export function policyName(name: string): string {
  return `CiliumNetworkPolicy/${NAMESPACE}/${name}`;
}

/** Its folders too, and those above them that are empty then: what is left behind must not depend on the order of suites. */
export async function removeInstance(instance: string): Promise<void> {
  // The agent leaves it to the next one.
  await endEnvoy(join(SOCKETS, instance), instance);
  removeByForce(instance);
  for (const folder of [join(BPFFS, 'sidestep'), SOCKETS])
    if (existsSync(folder) && readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
}

/** Pins, sockets and Envoys of test runs that died. */
export async function sweepInstances(): Promise<void> {
  const instances = [join(BPFFS, 'sidestep'), SOCKETS].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder) : [],
  );
  for (const instance of new Set(instances)) {
    const pid = ownerOf(TEST_PREFIX, instance);
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await removeInstance(instance);
  }
}
