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
  inside,
  ipBatch,
  listNamespaces,
  orphans,
} from '../../control-plane/demo/namespaces.ts';
import { attachRouted, createNode, type NodeNetwork } from '../../control-plane/demo/network.ts';
import { run } from '../../control-plane/demo/process.ts';
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

  /** Nobody reads its flows any more: for what a reader would slow down. */
  async unfollow(): Promise<void> {
    await this.#flows?.stop();
    this.#flows = undefined;
  }

  async follow(): Promise<void> {
    await this.unfollow();
    this.#flows = FlowFollower.start(this.agent.settings.command, this.agent.settings.instance, this.namespace);
  }

  /** The first flow that `wanted` accepts. Rejects when none comes in time. @param what for the message */
  async flow(what: string, wanted: (flow: ObservedFlow) => boolean, timeoutMs = 5_000): Promise<ObservedFlow> {
    const flow = await this.#flows?.find(wanted, timeoutMs);
    if (flow) return flow;
    throw new Error(`${this.name}: no flow: ${what}. The last ones:\n${this.#flows?.last(8).join('\n')}`);
  }

  /** Takes everything of it off its namespace, as an operator does with a node that leaves for good. */
  async uninstall(): Promise<void> {
    await this.close();
    const { command, instance, stateDirectory } = this.agent.settings;
    await run(
      'nsenter',
      inside(this.namespace, [...command, 'uninstall', '--instance', instance, '--state-dir', stateDirectory]),
    );
  }

  async close(): Promise<void> {
    await this.#flows?.stop();
    await this.agent.stop();
  }
}

/** Of the agent of node `number`. */
export type ArgumentsOf = (number: number, folder: string) => readonly string[];
export type CommandOf = (number: number, folder: string) => readonly string[];

export const SIDESTEP = join(ROOT, 'bin/sidestep');

export const linkAddress = (number: number): string => `198.51.100.${number}`;
const linkAddress6 = (number: number): string => `2001:db8:51::${number}`;
const WIRE = 'wire';
/** The last byte of its addresses. */
const OUTSIDER = 66;

export class Cluster implements AsyncDisposable {
  readonly nodes: readonly ClusterNode[];
  readonly manifests: ManifestFolder;
  readonly folder: string;
  readonly #prefix: string;
  readonly #pods = new Map<string, ClusterPod>();
  /** Beside those that it began with. */
  readonly #more: ClusterNode[] = [];

  private constructor(name: string, count: number, argumentsOf: ArgumentsOf, commandOf: CommandOf) {
    this.#prefix = `${TEST_PREFIX}-${process.pid}-${name}`;
    this.folder = mkdtempSync(join(tmpdir(), `${this.#prefix}-`));
    this.manifests = new ManifestFolder(join(this.folder, 'manifests'));
    this.manifests.write('namespace.yaml', namespaceManifest(NAMESPACE));
    this.nodes = Array.from({ length: count }, (_, i) => {
      const command = commandOf(i + 1, this.folder);
      return this.#node(`node-${i + 1}`, i + 1, argumentsOf(i + 1, this.folder), command);
    });
  }

  #node(
    name: string,
    number: number,
    extraArguments: readonly string[],
    command: readonly string[] = [SIDESTEP],
  ): ClusterNode {
    const stateDirectory = join(this.folder, `state-of-${name}`);
    mkdirSync(stateDirectory);
    const network = {
      namespace: `${this.#prefix}-n${number}`,
      ipv4: `10.7${number}.255.1`,
      ipv6: `fd7${number}::ffff`,
    };
    const agent = new AgentProcess({
      command,
      namespace: network.namespace,
      node: name,
      instance: `${this.#prefix}-n${number}`,
      source: this.manifests.path,
      stateDirectory,
      logFile: join(this.folder, `agent-of-${name}.log`),
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
    argumentsOf: ArgumentsOf,
    commandOf: CommandOf = () => [SIDESTEP],
  ): Promise<Cluster> {
    await sweepInstances();
    for (const namespace of orphans(TEST_PREFIX)) await deleteNamespace(namespace);
    const cluster = new Cluster(name, count, argumentsOf, commandOf);
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
    // At once: several may be made at the same time.
    this.#pods.set(name, pod);
    await attachRouted(node.network, pod);
    this.announce(pod, app, labels);
    return pod;
  }

  /**
   * A pod that has `addresses` from now on, wherever they were before: their old holder must be deleted. Of an earlier pod of
   * the same name it is the successor, as a StatefulSet's on another node.
   */
  async podAt(
    name: string,
    node: ClusterNode,
    { ipv4, ipv6 }: Pick<Host, 'ipv4' | 'ipv6'>,
    app = name,
  ): Promise<ClusterPod> {
    const namespace = `${this.#prefix}-${name}-at${node.number}`;
    const pod: ClusterPod = { name, node, namespace, nodeInterface: `to-${name}`.slice(0, 15), ipv4, ipv6 };
    await attachRouted(node.network, pod);
    for (const other of this.nodes.filter(({ number }) => number !== node.number))
      await ipBatch(other.namespace, [
        `route replace ${ipv4}/32 via ${linkAddress(node.number)}`,
        `route replace ${ipv6}/128 via ${linkAddress6(node.number)}`,
      ]);
    this.announce(pod, app);
    return pod;
  }

  /** A pod with the name, the service account and the addresses of another, which only one node's own manifests know. */
  async impostor(of: ClusterPod, node: ClusterNode, manifests: ManifestFolder): Promise<ClusterPod> {
    const pod: ClusterPod = { ...of, node, namespace: `${of.namespace}-at${node.number}` };
    await attachRouted(node.network, pod);
    manifests.write(`pod-${pod.name}.yaml`, manifestOf(pod, pod.name, {}));
    return pod;
  }

  /** Its interface and namespace go, as a CNI does it; what the manifests say stays. */
  async deletePod({ namespace, node, nodeInterface }: ClusterPod): Promise<void> {
    // First: connections that are not closed yet keep a namespace alive behind its name.
    await ipBatch(node.namespace, [`link del ${nodeInterface}`]);
    await deleteNamespace(namespace);
  }

  /** Somebody on what is between the nodes who is none of them. */
  async outsider(name: string): Promise<Host> {
    const outsider: Host = {
      name,
      namespace: `${this.#prefix}-${name}`,
      ipv4: linkAddress(OUTSIDER),
      ipv6: linkAddress6(OUTSIDER),
    };
    await createNamespace(outsider.namespace);
    await ipBatch(this.wire, [
      `link add outside type veth peer name uplink0 netns ${outsider.namespace}`,
      `link set outside master ${WIRE} up`,
    ]);
    await ipBatch(outsider.namespace, [
      'link set uplink0 up',
      `addr add ${outsider.ipv4}/24 dev uplink0`,
      `addr add ${outsider.ipv6}/64 dev uplink0 nodad`,
    ]);
    return outsider;
  }

  /** The node is no longer one of the mesh, by what the others are told. */
  dismiss({ name }: ClusterNode): void {
    this.manifests.remove(`sidestepnode-${name}.yaml`);
  }

  /** Another node, with another name and state, that has the machine and the addresses of one that was uninstalled. */
  successor(node: ClusterNode, name: string, argumentsOf: ArgumentsOf): ClusterNode {
    const successor = this.#node(name, node.number, argumentsOf(node.number, this.folder));
    this.#more.push(successor);
    return successor;
  }

  announce(pod: ClusterPod, app = pod.name, labels: Readonly<Record<string, string>> = {}): void {
    this.manifests.write(`pod-${pod.name}.yaml`, manifestOf(pod, app, labels));
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
    for (const node of [...this.nodes, ...this.#more]) await node.close();
    await this.#removeNamespaces();
    for (const { agent } of this.nodes) await removeInstance(agent.settings.instance);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function manifestOf(
  { name, namespace: netns, node, ipv4, ipv6 }: ClusterPod,
  app: string,
  labels: Readonly<Record<string, string>>,
): string {
  return podManifest({
    namespace: NAMESPACE,
    name,
    labels: { app, ...labels },
    addresses: [ipv4, ipv6],
    netns,
    node: node.name,
    serviceAccount: app,
  });
}

const tokenFile = (folder: string, node: string): string => join(folder, `join-token-${node}`);

/** Options of an agent that joins by token. */
export function joining(name: string, address: string, folder: string): readonly string[] {
  return ['--node-addresses', address, '--ca', 'false', '--join-token-file', tokenFile(folder, name)];
}

/** Lets a node that was not started yet join. */
export async function admit(cluster: Cluster, { name }: ClusterNode): Promise<void> {
  const made = await cluster.nodes[0]?.agent.cli(['ca', 'token', name]);
  writeFileSync(tokenFile(cluster.folder, name), made?.stdout ?? '', { mode: 0o600 });
}

/** Nodes whose agents have certificates: node 1 holds the authority, the others join by token. */
export async function meshed(
  name: string,
  count: number,
  more: readonly string[] = [],
  commandOf?: CommandOf,
): Promise<Cluster> {
  const cluster = await Cluster.create(
    name,
    count,
    (node, folder) => [
      ...(node === 1
        ? ['--node-addresses', linkAddress(node), '--ca', 'true']
        : joining(`node-${node}`, linkAddress(node), folder)),
      ...more,
    ],
    commandOf,
  );
  const [first, ...others] = cluster.nodes;
  await first?.start();
  for (const node of others) {
    await admit(cluster, node);
    await node.start();
  }
  return cluster;
}
