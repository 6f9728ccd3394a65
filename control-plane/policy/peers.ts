/** Does a rule's peer part admit an identity, and does it name it or take everybody? Shared by compiler and evaluator. */
import { bareKey, CLUSTER, CLUSTER_KEY, type Labels, selects } from '../model/labels.ts';
import type { Entity, Peers } from '../model/policy.ts';

/** Entities of one identity. `cluster`: the host, unmanaged pods, and every pod of this cluster. */
function isEntity(entity: Entity, labels: Labels): boolean {
  switch (entity) {
    case 'all':
      return true;
    case 'host':
      return labels.has('reserved:host');
    case 'world':
      return labels.has('reserved:world');
    case 'cluster':
      return (
        labels.has('reserved:host') || labels.has('reserved:unmanaged') || labels.get(`k8s:${CLUSTER_KEY}`) === CLUSTER
      );
  }
}

/** Takes every peer, known or not. */
export function isWildcard(peers: Peers): boolean {
  return peers.kind === 'any' || peers.entities.includes('all');
}

/** Names the identity by a selector or an entity other than `all`. */
export function names(peers: Peers, labels: Labels): boolean {
  if (peers.kind === 'any') return false;
  if (peers.entities.some((entity) => entity !== 'all' && isEntity(entity, labels))) return true;
  // Reserved identities have no pod labels: a selector reaches them only by naming them.
  const reserved = [...labels.keys()].some((key) => key.startsWith('reserved:'));
  return peers.selectors.some(
    (selector) =>
      selects(selector, labels) &&
      (!reserved || [...selector.matchLabels.keys()].some((key) => labels.has(`reserved:${bareKey(key)}`))),
  );
}
