/** Several nodes on one machine, each a namespace with an agent of its own, joined by a link that can be listened to. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentProcess } from '../../control-plane/demo/agent-process.ts';
import { FlowFollower, type ObservedFlow } from '../../control-plane/demo/flows.ts';
import { ManifestFolder, namespaceManifest, podManifest } from '../../control-plane/demo/manifests.ts';
import {
  createNamespace,
  deleteNamespace,
  ipBatch,
  listNamespaces,
  orphans,
} from '../../control-plane/demo/namespaces.ts';
import { attachRouted, createNode, type NodeNetwork } from '../../control-plane/demo/network.ts';
import { NAMESPACE, removeInstance, sweepInstances } from './system.ts';
import { ROOT } from './tools.ts';
import { type Host, TEST_PREFIX } from './topology.ts';

export interface ClusterPod extends Host {
  readonly node: ClusterNode;
  readonly nodeInterface: string;
}

export class ClusterNode {
  readonly name: string;
  readonly number: number;
  readonly network: NodeNetwork;
  readonly agent: AgentProcess;
  #flows: FlowFollower | undefined;

  constructor(name: string, number: number, network: NodeNetwork, agent: AgentProcess) {
    this.name = name;
    this.number = number;
    this.network = network;
    this.agent = agent;
  }

  get namespace(): string {
    return this.network.namespace;
  }

  /** On the link between the nodes. */
  get address(): string {
    return linkAddress(this.number);
  }

  async start(): Promise<void> {
    await this.agent.start();
    await this.follow();
  }

  async follow(): Promise<void> {
    await this.#flows?.stop();
    this.#flows = FlowFollower.start(this.agent.settings.command, this.agent.settings.instance, this.namespace);
  }

  /** The first flow that `wanted` accepts. Rejects when none comes in time. @param what for the message */
  async flow(what: string, wanted: (flow: ObservedFlow) => boolean, timeoutMs = 5_000): Promise<ObservedFlow> {
    const flow = await this.#flows?.find(wanted, timeoutMs);
    if (flow) return flow;
    throw new Error(`${this.name}: no flow: ${what}. The last ones:\n${this.#flows?.last(8).join('\n')}`);
  }

  async close(): Promise<void> {
    await this.#flows?.stop();
    await this.agent.stop();
  }
}

export const linkAddress = (number: number): string => `198.51.100.${number}`;
const linkAddress6 = (number: number): string => `2001:db8:51::${number}`;
const WIRE = 'wire';

export class Cluster implements AsyncDisposable {
  readonly nodes: readonly ClusterNode[];
  readonly manifests: ManifestFolder;
  readonly folder: string;
  readonly #prefix: string;
  readonly #pods = new Map<string, ClusterPod>();

  private constructor(name: string, count: number, argumentsOf: (node: number, folder: string) => readonly string[]) {
    this.#prefix = `${TEST_PREFIX}-${process.pid}-${name}`;
    this.folder = mkdtempSync(join(tmpdir(), `${this.#prefix}-`));
    this.manifests = new ManifestFolder(join(this.folder, 'manifests'));
    this.manifests.write('namespace.yaml', namespaceManifest(NAMESPACE));
    this.nodes = Array.from({ length: count }, (_, i) => this.#node(i + 1, argumentsOf(i + 1, this.folder)));
  }

  #node(number: number, extraArguments: readonly string[]): ClusterNode {
    const name = `node-${number}`;
    const stateDirectory = join(this.folder, `state-${number}`);
    mkdirSync(stateDirectory);
    const network = {
      namespace: `${this.#prefix}-n${number}`,
      ipv4: `10.7${number}.255.1`,
      ipv6: `fd7${number}::ffff`,
    };
    const agent = new AgentProcess({
      command: [join(ROOT, 'bin/sidestep')],
      namespace: network.namespace,
      node: name,
      instance: `${this.#prefix}-n${number}`,
      source: this.manifests.path,
      stateDirectory,
      logFile: join(this.folder, `agent-${number}.log`),
      extraArguments,
    });
    return new ClusterNode(name, number, network, agent);
  }

  /**
   * The nodes and their link; no agent is started yet.
   * @param argumentsOf options of each node's agent, numbered from 1
   */
  static async create(
    name: string,
    count: number,
    argumentsOf: (node: number, folder: string) => readonly string[],
  ): Promise<Cluster> {
    await sweepInstances();
    for (const namespace of orphans(TEST_PREFIX)) await deleteNamespace(namespace);
    const cluster = new Cluster(name, count, argumentsOf);
    await cluster.#removeNamespaces();
    await cluster.#connect();
    return cluster;
  }

  /** What is between the nodes: a bridge named `wire`, where everything that they send each other passes. */
  get wire(): string {
    return `${this.#prefix}-${WIRE}`;
  }

  async #connect(): Promise<void> {
    await createNamespace(this.wire);
    await ipBatch(this.wire, [
      `link add ${WIRE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${WIRE} up`,
    ]);
    for (const { number, namespace, network } of this.nodes) {
      await createNode(network);
      await ipBatch(this.wire, [
        `link add port${number} type veth peer name uplink0 netns ${namespace}`,
        `link set port${number} master ${WIRE} up`,
      ]);
      await ipBatch(namespace, [
        'link set uplink0 up',
        `addr add ${linkAddress(number)}/24 dev uplink0`,
        `addr add ${linkAddress6(number)}/64 dev uplink0 nodad`,
      ]);
    }
    for (const { number, namespace } of this.nodes)
      await ipBatch(
        namespace,
        this.nodes
          .filter((other) => other.number !== number)
          .flatMap((other) => [
            `route add 10.7${other.number}.0.0/16 via ${linkAddress(other.number)}`,
            `route add fd7${other.number}::/64 via ${linkAddress6(other.number)}`,
          ]),
      );
  }

  /** A workload with its manifest, label `app=<app>`, service account <app>. */
  async pod(
    name: string,
    node: ClusterNode,
    app = name,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<ClusterPod> {
    const index = this.#pods.size + 10;
    const pod: ClusterPod = {
      name,
      node,
      namespace: `${this.#prefix}-${name}`,
      nodeInterface: `to-${name}`.slice(0, 15),
      ipv4: `10.7${node.number}.0.${index}`,
      ipv6: `fd7${node.number}::${index}`,
    };
    await attachRouted(node.network, pod);
    this.#pods.set(name, pod);
    this.announce(pod, app, labels);
    return pod;
  }

  announce(
    { name, namespace: netns, node, ipv4, ipv6 }: ClusterPod,
    app = name,
    labels: Readonly<Record<string, string>> = {},
  ): void {
    this.manifests.write(
      `pod-${name}.yaml`,
      podManifest({
        namespace: NAMESPACE,
        name,
        labels: { app, ...labels },
        addresses: [ipv4, ipv6],
        netns,
        node: node.name,
        serviceAccount: app,
      }),
    );
  }

  withdraw(name: string): void {
    this.manifests.remove(`pod-${name}.yaml`);
  }

  /** Writes a CiliumNetworkPolicy into the shared folder. */
  policy(name: string, spec: object): void {
    const head = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: NAMESPACE } };
    this.manifests.write(`policy-${name}.yaml`, JSON.stringify({ ...head, spec }, undefined, 2));
  }

  removePolicy(name: string): void {
    this.manifests.remove(`policy-${name}.yaml`);
  }

  async start(): Promise<void> {
    for (const node of this.nodes) await node.start();
  }

  async #removeNamespaces(): Promise<void> {
    for (const namespace of listNamespaces().filter((each) => each.startsWith(`${this.#prefix}-`)))
      await deleteNamespace(namespace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async remove(): Promise<void> {
    for (const node of this.nodes) await node.close();
    await this.#removeNamespaces();
    for (const { agent } of this.nodes) await removeInstance(agent.settings.instance);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Nodes whose agents have certificates: node 1 holds the authority, the others join by token. */
export async function meshed(name: string, count: number, more: readonly string[] = []): Promise<Cluster> {
  const token = (folder: string, node: number): string => join(folder, `join-token-${node}`);
  const cluster = await Cluster.create(name, count, (node, folder) => [
    '--node-addresses',
    linkAddress(node),
    ...(node === 1 ? ['--ca', 'true'] : ['--ca', 'false', '--join-token-file', token(folder, node)]),
    ...more,
  ]);
  const [first, ...others] = cluster.nodes;
  await first?.start();
  for (const node of others) {
    const made = await first?.agent.cli(['ca', 'token', node.name]);
    writeFileSync(token(cluster.folder, node.number), made?.stdout ?? '', { mode: 0o600 });
    await node.start();
  }
  return cluster;
}
