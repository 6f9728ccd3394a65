/** From a pod to the labels that policy sees, and the reserved identities. Cilium's keys (cilium.io/v2 label reference). */
import { LOCAL_IDENTITIES } from '../identity/late-ids.ts';
import {
  CLUSTER,
  CLUSTER_KEY,
  isIdentityLabel,
  type Labels,
  NAMESPACE_KEY,
  NAMESPACE_LABELS_PREFIX,
  reservedLabels,
  SERVICE_ACCOUNT_KEY,
} from '../model/labels.ts';
import type { NamespaceObject, PodObject } from '../model/objects.ts';

export const HOST = 1;
export const WORLD = 2;
export const UNMANAGED = 3;
export const REMOTE_NODE = 6;
/** An API server on another node. */
export const KUBE_APISERVER = 7;

export const RESERVED_IDENTITIES: ReadonlyMap<number, Labels> = new Map([
  [HOST, reservedLabels('host')],
  [WORLD, reservedLabels('world')],
  [UNMANAGED, reservedLabels('unmanaged')],
  [REMOTE_NODE, reservedLabels('remote-node')],
  [KUBE_APISERVER, new Map([...reservedLabels('kube-apiserver'), ...reservedLabels('remote-node')])],
]);

/** Labels of addresses outside: the range that they lie in, and names or patterns of policy that they go by. */
export const CIDR_SOURCE = 'cidr:';
export const FQDN_SOURCE = 'fqdn:';

/** Whether there is nobody who could prove anything: this node's own processes, and the world. */
export function isExempt(identity: number): boolean {
  return identity === HOST || identity === WORLD || identity >= LOCAL_IDENTITIES.first;
}

/** Keys that only we set: a pod must not claim a namespace or its labels for itself. */
function isOurs(key: string): boolean {
  return key === NAMESPACE_KEY || key.startsWith('io.cilium.k8s.');
}

export function podLabels(pod: PodObject, namespace: NamespaceObject | undefined): Labels {
  const labels = new Map<string, string>();
  for (const [key, value] of pod.labels) if (isIdentityLabel(key) && !isOurs(key)) labels.set(`k8s:${key}`, value);
  for (const [key, value] of namespace?.labels ?? []) labels.set(`k8s:${NAMESPACE_LABELS_PREFIX}${key}`, value);
  labels.set(`k8s:${NAMESPACE_KEY}`, pod.namespace);
  labels.set(`k8s:${SERVICE_ACCOUNT_KEY}`, pod.serviceAccount);
  labels.set(`k8s:${CLUSTER_KEY}`, CLUSTER);
  return labels;
}
