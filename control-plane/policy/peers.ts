/** Does a rule's peer part admit an identity, and does it name it or take everybody? */
import { type Prefix, parsePrefix } from '../model/address.ts';
import { nameMatchText } from '../model/dns-name.ts';
import { bareKey, CLUSTER, CLUSTER_KEY, keysOf, type Labels, selects } from '../model/labels.ts';
import type { CidrMatch, Entity, Peers } from '../model/policy.ts';
import { CidrSet } from './cidr-set.ts';
import { CIDR_SOURCE, FQDN_SOURCE } from './identities.ts';
import { remember } from './remember.ts';

const IN_CLUSTER = ['host', 'remote-node', 'kube-apiserver', 'unmanaged', 'ingress', 'init', 'health'].map(
  (name) => `reserved:${name}`,
);

/** Entities of one identity. `cluster`: the nodes, unmanaged pods, and every pod of this cluster. */
function isEntity(entity: Entity, labels: Labels): boolean {
  switch (entity) {
    case 'all':
      return true;
    case 'host':
    case 'remote-node':
    case 'kube-apiserver':
    case 'world':
    case 'unmanaged':
    case 'ingress':
    case 'init':
    case 'health':
      return labels.has(`reserved:${entity}`);
    case 'none':
      return false;
    case 'cluster':
      return IN_CLUSTER.some((label) => labels.has(label)) || labels.get(`k8s:${CLUSTER_KEY}`) === CLUSTER;
  }
}

/** Takes every peer, known or not. */
export function isWildcard(peers: Peers): boolean {
  return peers.kind === 'any' || peers.entities.includes('all');
}

/** Names it by a selector or an entity other than `all`: by its labels alone. Shared by compiler and evaluator. */
export function namesLabels(peers: Peers, labels: Labels): boolean {
  if (peers.kind === 'any') return false;
  if (peers.entities.some((entity) => entity !== 'all' && isEntity(entity, labels))) return true;
  if (peers.selectors.length === 0) return false;
  // Reserved identities have no pod labels: a selector reaches them only by naming them.
  const reserved = isReserved(labels);
  return peers.selectors.some(
    (selector) =>
      selects(selector, labels) &&
      (!reserved || keysOf(selector).some((key) => labels.has(`reserved:${bareKey(key)}`))),
  );
}

/**
 * Names the identity by any of its parts. The identity of addresses outside says in its labels in which range they lie, and
 * which names that policy knows they go by (outside.ts).
 */
export function names(peers: Peers, labels: Labels): boolean {
  if (peers.kind === 'any') return false;
  if (namesLabels(peers, labels)) return true;
  if (peers.names?.some((match) => labels.has(`${FQDN_SOURCE}${nameMatchText(match)}`))) return true;
  const { cidrs = [] } = peers;
  const range = cidrs.length === 0 ? undefined : rangeOf(labels);
  return range !== undefined && remember(SETS, cidrs, () => new CidrSet(cidrs)).takes(range);
}

/** Whether labels of pods can have a part in it at all; otherwise only addresses outside have. */
export function mayNamePods(peers: Peers): boolean {
  return peers.kind === 'selected' && peers.selectors.length + peers.entities.length > 0;
}

const SETS = new WeakMap<readonly CidrMatch[], CidrSet>();
const RANGES = new WeakMap<Labels, { readonly prefix: Prefix | undefined }>();
const RESERVED = new WeakMap<Labels, boolean>();

/** The range that an identity outside stands for. */
function rangeOf(labels: Labels): Prefix | undefined {
  return remember(RANGES, labels, () => {
    const label = [...labels.keys()].find((key) => key.startsWith(CIDR_SOURCE));
    return { prefix: label === undefined ? undefined : parsePrefix(label.slice(CIDR_SOURCE.length)) };
  }).prefix;
}

function isReserved(labels: Labels): boolean {
  return remember(RESERVED, labels, () => [...labels.keys()].some((key) => key.startsWith('reserved:')));
}
