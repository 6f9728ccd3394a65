/** From a pod to the labels that policy sees, and the reserved identities. Cilium's keys (cilium.io/v2 label reference). */
import {
  CLUSTER,
  CLUSTER_KEY,
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

/** Labels that a controller gives to every revision or replica: with them each pod would be an identity of its own. */
const PER_REPLICA =
  /^(pod-template-hash|pod-template-generation|controller-revision-hash|statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index|batch\.kubernetes\.io\/.*|controller-uid|job-name)$/;

export function podLabels(pod: PodObject, namespace: NamespaceObject | undefined): Labels {
  const labels = new Map<string, string>();
  for (const [key, value] of pod.labels) if (!PER_REPLICA.test(key)) labels.set(`k8s:${key}`, value);
  for (const [key, value] of namespace?.labels ?? []) labels.set(`k8s:${NAMESPACE_LABELS_PREFIX}${key}`, value);
  labels.set(`k8s:${NAMESPACE_KEY}`, pod.namespace);
  labels.set(`k8s:${SERVICE_ACCOUNT_KEY}`, pod.serviceAccount);
  labels.set(`k8s:${CLUSTER_KEY}`, CLUSTER);
  return labels;
}
