/** Which identities have pods on this node, and which on others? */
import { type Labels, NAMESPACE_KEY, SERVICE_ACCOUNT_KEY } from '../model/labels.ts';
import type { ServiceAccountRef } from '../model/snapshot.ts';
import type { KnownPod } from './pods.ts';
import { remember } from './remember.ts';

export interface Placed {
  readonly identity: number;
  readonly labels: Labels;
  /** What its certificate names: namespace and service account are labels of every identity. */
  readonly account: ServiceAccountRef;
  /** It has workloads here. */
  readonly here: boolean;
  /** Other nodes with pods of it. */
  readonly nodes: ReadonlySet<string>;
}

/** A pod that this node enforces policy for. */
export function isWorkload({ local, pod, addresses }: KnownPod): boolean {
  return local && pod.netns !== '' && addresses.length > 0;
}

function isElsewhere({ local, addresses }: KnownPod): boolean {
  return !local && addresses.length > 0;
}

export function placements(pods: readonly KnownPod[]): readonly Placed[] {
  const found = new Map<number, { labels: Labels; here: boolean; readonly nodes: Set<string> }>();
  for (const known of pods) {
    const here = isWorkload(known);
    if (!here && !isElsewhere(known)) continue;
    const entry = remember(found, known.identity, () => ({ labels: known.labels, here, nodes: new Set() }));
    if (here) entry.here = true;
    else entry.nodes.add(known.pod.nodeName);
  }
  return [...found].map(([identity, { labels, here, nodes }]) => ({
    identity,
    labels,
    account: {
      namespace: labels.get(`k8s:${NAMESPACE_KEY}`) ?? '',
      serviceAccount: labels.get(`k8s:${SERVICE_ACCOUNT_KEY}`) ?? '',
    },
    here,
    nodes,
  }));
}

/** Other nodes with pods. */
export function nodesOf(pods: readonly KnownPod[]): ReadonlySet<string> {
  return new Set(pods.flatMap((known) => (isElsewhere(known) ? known.pod.nodeName : [])));
}
