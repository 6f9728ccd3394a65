/** A cluster of any size, made from a seed: pods of some identities on some nodes, policies about them. */
import { parseAddress, parsePrefix } from '../../../control-plane/model/address.ts';
import { NAMESPACE_KEY } from '../../../control-plane/model/labels.ts';
import type { ObjectSet, PodObject, PolicyObject } from '../../../control-plane/model/objects.ts';
import {
  DIRECTIONS,
  type Peers,
  type Policy,
  type PortMatch,
  type Rule,
  type Selector,
} from '../../../control-plane/model/policy.ts';
import { random } from '../statistics.ts';

export interface ClusterSize {
  readonly policies: number;
  readonly pods: number;
  readonly identities: number;
}

/** Of this node: where its pods are. */
export interface OwnPod {
  readonly netns: string;
  readonly addresses: readonly string[];
}

export const NODE = 'here';
const APPS_PER_NAMESPACE = 50;
const NODES = 500;
const TCP = 6;

export const namespaceOf = (identity: number): string => `ns-${Math.floor(identity / APPS_PER_NAMESPACE)}`;
export const appOf = (identity: number): string => `app-${identity % APPS_PER_NAMESPACE}`;

export function podOf(
  index: number,
  identity: number,
  own?: OwnPod,
  more: readonly (readonly [string, string])[] = [],
): PodObject {
  const far = `10.${128 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
  return {
    namespace: namespaceOf(identity),
    name: `pod-${index}`,
    uid: `uid-${index}`,
    labels: new Map([['app', appOf(identity)], ['tier', `tier-${identity % 3}`], ...more]),
    serviceAccount: 'default',
    nodeName: own ? NODE : `node-${index % NODES}`,
    hostNetwork: false,
    namedPorts: [],
    netns: own?.netns ?? '',
    addresses: (own?.addresses ?? [far]).map(parseAddress),
    origin: 'made',
  };
}

/** The same for the same number and version. */
export function policyOf(index: number, identities: number, version = 0): PolicyObject {
  const next = random(index * 7919 + version * 104729 + 1);
  const below = (limit: number): number => Math.floor(next() * limit);
  const identity = below(identities);
  const namespace = namespaceOf(identity);
  const ref = { kind: 'CiliumNetworkPolicy', namespace, name: `policy-${index}` };
  const selector = (of: number, home: string): Selector => ({
    matchLabels: new Map([
      ['any:app', appOf(of)],
      [`k8s:${NAMESPACE_KEY}`, home],
    ]),
  });
  const peers = (): Peers => {
    if (below(20) === 0) {
      const prefix = parsePrefix(`198.${18 + below(2)}.${below(256)}.0/24`);
      return { kind: 'selected', selectors: [], entities: [], cidrs: [{ prefix, except: [] }] };
    }
    const of = [...Array(1 + below(3)).keys()].map(() => below(identities));
    return { kind: 'selected', selectors: of.map((each) => selector(each, namespaceOf(each))), entities: [] };
  };
  const ports = (): PortMatch[] =>
    [...Array(1 + below(2)).keys()].map(() => ({ protocol: TCP, port: 8000 + below(20) }));
  const rules = DIRECTIONS.flatMap((direction) =>
    [...Array(direction === 'ingress' ? 2 : below(2)).keys()].map(
      (i): Rule => ({ ref: { ...ref, rule: `${direction}[${i}]` }, direction, peers: peers(), ports: ports() }),
    ),
  );
  const policy: Policy = {
    ref,
    subject: selector(identity, namespace),
    defaultDeny: { egress: rules.some(({ direction }) => direction === 'egress'), ingress: true },
    rules,
    refused: false,
  };
  return { ref, origin: 'made', state: 'accepted', policy, issues: [] };
}

/** @param own pods of this node, each of another identity as far as there are so many */
export function clusterOf({ policies, pods, identities }: ClusterSize, own: readonly OwnPod[]): ObjectSet {
  const namespaces = new Set([...Array(identities).keys()].map(namespaceOf));
  return {
    namespaces: [...namespaces].map((name) => ({ name, labels: new Map(), audit: false })),
    pods: [...Array(pods).keys()].map((i) => podOf(i, i % identities, own[i])),
    nodes: [],
    meshNodes: [],
    services: [],
    endpointSlices: [],
    cidrGroups: [],
    policies: [...Array(policies).keys()].map((i) => policyOf(i, identities)),
    issues: [],
  };
}
