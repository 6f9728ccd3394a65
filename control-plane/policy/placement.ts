/** Which identities have pods on this node, and which on others? */
import { type Labels, NAMESPACE_KEY, SERVICE_ACCOUNT_KEY } from '../model/labels.ts';
import type { ServiceAccountRef } from '../model/snapshot.ts';
import type { KnownPod } from './pods.ts';
import { remember } from './remember.ts';

export interface Placed {
  readonly identity: number;
  readonly labels: Labels;
  /** Its namespace is only audited. */
  readonly audited: boolean;
  /** What its certificate names: namespace and service account are labels of every identity. */
  readonly account: ServiceAccountRef;
  /** It has workloads here. */
  readonly here: boolean;
  /** Other nodes with pods of it. */
  readonly nodes: ReadonlySet<string>;
}

/** A pod that this node enforces policy for. */
export function isWorkload({ local, enrolled, pod, addresses }: KnownPod): boolean {
  return local && enrolled && pod.netns !== '' && addresses.length > 0;
}

function isElsewhere({ local, enrolled, addresses }: KnownPod): boolean {
  return !local && enrolled && addresses.length > 0;
}

export function placements(pods: readonly KnownPod[]): readonly Placed[] {
  const found = new Map<number, { known: KnownPod; here: boolean; readonly nodes: Set<string> }>();
  for (const known of pods) {
    const here = isWorkload(known);
    if (!here && !isElsewhere(known)) continue;
    const entry = remember(found, known.identity, () => ({ known, here, nodes: new Set() }));
    if (here) entry.here = true;
    else entry.nodes.add(known.pod.nodeName);
  }
  return [...found].map(([identity, { known, here, nodes }]) => ({
    identity,
    labels: known.labels,
    audited: known.audited,
    account: {
      namespace: known.labels.get(`k8s:${NAMESPACE_KEY}`) ?? '',
      serviceAccount: known.labels.get(`k8s:${SERVICE_ACCOUNT_KEY}`) ?? '',
    },
    here,
    nodes,
  }));
}
