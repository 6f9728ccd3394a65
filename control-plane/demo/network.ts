/** A node made of network namespaces: one is the node, each workload has its own, joined by a veth as a routing CNI would. */
import { createNamespace, ipBatch, setSysctls } from './namespaces.ts';

/** The gateway every workload has: its own side's neighbour, whatever its address (as Calico does). */
const GATEWAY = { ipv4: '169.254.1.1', ipv6: 'fe80::1' };

export interface NodeNetwork {
  readonly namespace: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface Attachment {
  readonly namespace: string;
  /** The node's side of the veth, at most 15 characters. */
  readonly nodeInterface: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A namespace that forwards, with its own addresses on loopback. Nothing of the machine's own network is touched. */
export async function createNode({ namespace, ipv4, ipv6 }: NodeNetwork): Promise<void> {
  await createNamespace(namespace);
  await setSysctls(namespace, { 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  await ipBatch(namespace, [`addr add ${ipv4}/32 dev lo`, `addr add ${ipv6}/128 dev lo nodad`]);
}

/** Makes the workload's namespace and joins it by a routed veth: host routes on the node, a link-local gateway in the workload. */
export async function attachRouted(node: NodeNetwork, workload: Attachment): Promise<void> {
  const { namespace, nodeInterface, ipv4, ipv6 } = workload;
  await createNamespace(namespace);
  await ipBatch(node.namespace, [
    `link add ${nodeInterface} type veth peer name eth0 netns ${namespace}`,
    `addr add ${GATEWAY.ipv4}/32 dev ${nodeInterface} scope link`,
    `addr add ${GATEWAY.ipv6}/64 dev ${nodeInterface} nodad`,
    `link set ${nodeInterface} up`,
    `route add ${ipv4}/32 dev ${nodeInterface} src ${node.ipv4}`,
    `route add ${ipv6}/128 dev ${nodeInterface}`,
  ]);
  await ipBatch(namespace, [
    'link set eth0 up',
    `addr add ${ipv4}/32 dev eth0`,
    `addr add ${ipv6}/128 dev eth0 nodad`,
    `route add ${GATEWAY.ipv4}/32 dev eth0 scope link`,
    `route add default via ${GATEWAY.ipv4} dev eth0`,
    `route add ::/0 via ${GATEWAY.ipv6} dev eth0`,
  ]);
}
