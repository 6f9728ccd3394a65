/** From a pod to the labels that policy sees, and the reserved identities. Cilium's keys (cilium.io/v2 label reference). */
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

export const RESERVED_IDENTITIES: ReadonlyMap<number, Labels> = new Map([
  [HOST, reservedLabels('host')],
  [WORLD, reservedLabels('world')],
  [UNMANAGED, reservedLabels('unmanaged')],
]);

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
