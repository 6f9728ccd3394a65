/** A node with workloads in network namespaces, and a world beyond its uplink. The machine's own network is never touched. */
import {
  createNamespace,
  deleteNamespace,
  inside,
  ipBatch,
  listNamespaces,
  orphans,
  setSysctls,
} from '../../control-plane/demo/namespaces.ts';
import { attachRouted, createNode, type NodeNetwork } from '../../control-plane/demo/network.ts';
import { run } from '../../control-plane/demo/process.ts';

export type Attach = 'routed' | 'bridge';

/** First part of the names of the tests' namespaces. */
export const TEST_PREFIX = 'sst';
/** The interface of every workload, seen from inside. */
export const WORKLOAD_INTERFACE = 'eth0';
export const UPLINK = 'uplink0';

/** Anything with a namespace and addresses: a workload, the node, the far end. */
export interface Host {
  readonly name: string;
  readonly namespace: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface Workload extends Host {
  readonly attach: Attach;
  /** The node's side of its veth. */
  readonly nodeInterface: string;
}

const BRIDGE = { name: 'br0', ipv4: '10.61.0.1', ipv6: 'fd61::1' };
/** Pods that the far end plays: they are on another node. */
const FAR_RANGE = { ipv4: '10.62.0.0/16', ipv6: 'fd62::/64' };

export class Topology implements AsyncDisposable {
  readonly node: Host & NodeNetwork;
  readonly far: Host;
  readonly #name: string;
  #workloads = 0;
  #bridge = false;

  private constructor(name: string) {
    this.#name = name;
    this.node = { name: 'node', namespace: this.#namespace('node'), ipv4: '10.60.255.1', ipv6: 'fd60::ffff' };
    this.far = { name: 'far', namespace: this.#namespace('far'), ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
  }

  /** Builds node and far end; sweeps first what dead test runs have left. @param name distinguishes topologies of one process */
  static async create(name: string): Promise<Topology> {
    for (const namespace of orphans(TEST_PREFIX)) await deleteNamespace(namespace);
    const topology = new Topology(name);
    await topology.remove();
    await createNode(topology.node);
    // The kernel's own check of source addresses must not stand in for ours.
    await setSysctls(topology.node.namespace, {
      'net/ipv4/conf/all/rp_filter': 0,
      'net/ipv4/conf/default/rp_filter': 0,
    });
    await topology.#connectFar();
    return topology;
  }

  #namespace(name: string): string {
    return `${TEST_PREFIX}-${process.pid}-${this.#name}-${name}`;
  }

  async #connectFar(): Promise<void> {
    const { far, node } = this;
    await createNamespace(far.namespace);
    await setSysctls(far.namespace, { 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
    await ipBatch(node.namespace, [
      `link add ${UPLINK} type veth peer name ${UPLINK} netns ${far.namespace}`,
      `addr add 192.0.2.1/24 dev ${UPLINK}`,
      `addr add 2001:db8::1/64 dev ${UPLINK} nodad`,
      `link set ${UPLINK} up`,
    ]);
    await ipBatch(far.namespace, [
      `link set ${UPLINK} up`,
      `addr add ${far.ipv4}/24 dev ${UPLINK}`,
      `addr add ${far.ipv6}/64 dev ${UPLINK} nodad`,
      'route add default via 192.0.2.1',
      'route add ::/0 via 2001:db8::1',
    ]);
    await ipBatch(node.namespace, [
      `route add ${FAR_RANGE.ipv4} via ${far.ipv4}`,
      `route add ${FAR_RANGE.ipv6} via ${far.ipv6}`,
    ]);
  }

  /** A new workload, joined as asked. Names must be unique within the topology. */
  async workload(name: string, attach: Attach): Promise<Workload> {
    const index = ++this.#workloads;
    const subnet = attach === 'routed' ? '60' : '61';
    const workload: Workload = {
      name,
      attach,
      namespace: this.#namespace(name),
      nodeInterface: `to-${name}`.slice(0, 15),
      ipv4: `10.${subnet}.0.${index + 9}`,
      ipv6: `fd${subnet}::${index + 9}`,
    };
    if (attach === 'routed') await attachRouted(this.node, workload);
    else await this.#attachToBridge(workload);
    return workload;
  }

  async #attachToBridge({ namespace, nodeInterface, ipv4, ipv6 }: Workload): Promise<void> {
    await this.#createBridge();
    await createNamespace(namespace);
    await ipBatch(this.node.namespace, [
      `link add ${nodeInterface} type veth peer name ${WORKLOAD_INTERFACE} netns ${namespace}`,
      `link set ${nodeInterface} master ${BRIDGE.name} up`,
    ]);
    await ipBatch(namespace, [
      `link set ${WORKLOAD_INTERFACE} up`,
      `addr add ${ipv4}/24 dev ${WORKLOAD_INTERFACE}`,
      `addr add ${ipv6}/64 dev ${WORKLOAD_INTERFACE} nodad`,
      `route add default via ${BRIDGE.ipv4}`,
      `route add ::/0 via ${BRIDGE.ipv6}`,
    ]);
  }

  async #createBridge(): Promise<void> {
    if (this.#bridge) return;
    this.#bridge = true;
    await ipBatch(this.node.namespace, [
      `link add ${BRIDGE.name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `addr add ${BRIDGE.ipv4}/24 dev ${BRIDGE.name}`,
      `addr add ${BRIDGE.ipv6}/64 dev ${BRIDGE.name} nodad`,
      `link set ${BRIDGE.name} up`,
    ]);
  }

  /** A workload on another node: the far end plays that node. */
  async remoteWorkload(name: string): Promise<Host> {
    const index = ++this.#workloads + 9;
    const namespace = this.#namespace(name);
    const host: Host = { name, namespace, ipv4: `10.62.0.${index}`, ipv6: `fd62::${index}` };
    await attachRouted(this.far, { ...host, nodeInterface: `to-${name}`.slice(0, 15) });
    return host;
  }

  /** Deletes a workload as a CNI does when its pod is gone. */
  async removeWorkload(workload: Workload): Promise<void> {
    await deleteNamespace(workload.namespace);
  }

  /** A routed workload vanishes without a word, as with the crash of its sandbox, and another gets its addresses. */
  async replaceWorkload(old: Workload, name: string): Promise<Workload> {
    await ipBatch(this.node.namespace, [`link del ${old.nodeInterface}`]);
    await deleteNamespace(old.namespace);
    const workload = { ...old, name, namespace: this.#namespace(name), nodeInterface: `to-${name}`.slice(0, 15) };
    await attachRouted(this.node, workload);
    return workload;
  }

  /** Everything of it, processes inside included. May be called again. */
  async remove(): Promise<void> {
    const mine = listNamespaces().filter((namespace) => namespace.startsWith(this.#namespace('')));
    for (const namespace of mine) await deleteNamespace(namespace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}

/** Hardware address of an interface inside a namespace. */
export async function macOf(namespace: string, device: string): Promise<string> {
  const { stdout } = await run('nsenter', inside(namespace, ['ip', '-j', 'link', 'show', 'dev', device]));
  const [link] = JSON.parse(stdout) as { address: string }[];
  return link?.address ?? '';
}

/** Where a workload sends what leaves its subnet, or all for a routed one: MAC of the node's side. */
export async function gatewayMac(topology: Topology, workload: Workload): Promise<string> {
  return macOf(topology.node.namespace, workload.attach === 'routed' ? workload.nodeInterface : BRIDGE.name);
}

/** Counters of /proc/net/snmp in a namespace, e.g. `Tcp.RetransSegs`. */
export async function snmp(namespace: string): Promise<ReadonlyMap<string, number>> {
  const { stdout } = await run('nsenter', inside(namespace, ['cat', '/proc/net/snmp']));
  const lines = stdout.trim().split('\n');
  const counters = new Map<string, number>();
  // Lines come in pairs: names, then values.
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [group = '', ...names] = (lines[i] ?? '').split(' ');
    const [, ...values] = (lines[i + 1] ?? '').split(' ');
    for (const [j, name] of names.entries()) counters.set(`${group}${name}`.replace(':', '.'), Number(values[j]));
  }
  return counters;
}
