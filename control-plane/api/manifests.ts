/** One file's text -> our objects and everything that is wrong with them. */
import type {
  CidrGroupObject,
  EndpointSliceObject,
  MeshNode,
  NamespaceObject,
  NodeObject,
  PodObject,
  ServiceObject,
} from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';
import { CIDR_GROUP, parseCidrGroup } from './cidr-group.ts';
import { CILIUM_CLUSTERWIDE_POLICY, CILIUM_POLICY, parseCiliumPolicy } from './cilium-policy.ts';
import { parseNamespace, parseNode, parsePod } from './core-objects.ts';
import { issue, type Manifest, readDocuments } from './document.ts';
import { FOREIGN_POLICIES, refuseForeignPolicy } from './foreign-policy.ts';
import { parseMeshNode, SIDESTEP_NODE } from './mesh-node.ts';
import { NETWORK_POLICY, parseNetworkPolicy } from './network-policy.ts';
import type { Parsed } from './object-reader.ts';
import type { ParsedPolicy } from './parsed-policy.ts';
import { parseEndpointSlice, parseEndpoints, parseService } from './service-objects.ts';

interface Head<K extends string> {
  readonly kind: K;
  /** kind/namespace/name: the same object has the same key in every file. */
  readonly key: string;
  readonly origin: string;
}
/** Kinds of objects that are no policies, by what we make of them. */
interface Objects {
  readonly Namespace: NamespaceObject;
  readonly Pod: PodObject;
  readonly Node: NodeObject;
  readonly Service: ServiceObject;
  readonly EndpointSlice: EndpointSliceObject;
  readonly CiliumCIDRGroup: CidrGroupObject;
  readonly SidestepNode: MeshNode;
}
/** `object` is undefined where something is wrong with it; of a policy the issues say so. */
export type ApiObject =
  | { readonly [K in keyof Objects]: Head<K> & { readonly object: Objects[K] | undefined } }[keyof Objects]
  | (Head<'Policy'> & { readonly object: ParsedPolicy });

export interface ParsedFile {
  /** false: not YAML; what it held before stays in force. */
  readonly readable: boolean;
  readonly objects: readonly ApiObject[];
  /** Policies' issues are with the policies. */
  readonly issues: readonly Issue[];
}

const OF_NO_NAMESPACE: readonly string[] = [
  'Namespace',
  'Node',
  CILIUM_CLUSTERWIDE_POLICY,
  CIDR_GROUP,
  SIDESTEP_NODE.kind,
  ...Object.keys(FOREIGN_POLICIES),
];

/**
 * @param text YAML with any number of documents, or JSON
 * @param file its path, for messages
 */
export function parseManifests(text: string, file: string): ParsedFile {
  const { manifests, issues, readable } = readDocuments(text, file);
  const found: Issue[] = [...issues];
  const objects = manifests.flatMap((manifest) => parseManifest(manifest, found) ?? []);
  return { readable, objects, issues: found };
}

function parseManifest(manifest: Manifest, issues: Issue[]): ApiObject | undefined {
  const { kind, apiVersion, origin } = manifest;
  const namespace = OF_NO_NAMESPACE.includes(kind) ? '' : manifest.namespace || 'default';
  const key = `${kind}/${namespace}/${manifest.name}`;
  const head = { key, origin };
  const policy = parsePolicy(manifest);
  if (policy !== undefined) return { ...head, kind: 'Policy', object: policy };
  const collect = <T>(parsed: Parsed<T>): T | undefined => {
    issues.push(...parsed.issues);
    return parsed.object;
  };
  switch (`${apiVersion} ${kind}`) {
    case 'v1 Namespace':
      return { ...head, kind: 'Namespace', object: collect(parseNamespace(manifest)) };
    case 'v1 Pod':
      return { ...head, kind: 'Pod', object: collect(parsePod(manifest)) };
    case 'v1 Node':
      return { ...head, kind: 'Node', object: collect(parseNode(manifest)) };
    case 'v1 Service':
      return { ...head, kind: 'Service', object: collect(parseService(manifest)) };
    case 'v1 Endpoints':
      return { ...head, kind: 'EndpointSlice', object: collect(parseEndpoints(manifest)) };
    case 'discovery.k8s.io/v1 EndpointSlice':
      return { ...head, kind: 'EndpointSlice', object: collect(parseEndpointSlice(manifest)) };
    case `${SIDESTEP_NODE.apiVersion} ${SIDESTEP_NODE.kind}`:
      return { ...head, kind: 'SidestepNode', object: collect(parseMeshNode(manifest)) };
  }
  if (kind === CIDR_GROUP) return { ...head, kind: CIDR_GROUP, object: collect(parseCidrGroup(manifest)) };
  const what = kind === '' ? 'an object without kind' : `${apiVersion || '(no apiVersion)'} ${kind}`;
  issues.push(issue('OBJECT_UNKNOWN_KIND', 'kind', `${what} is not one that Sidestep reads`, origin, key));
  return undefined;
}

/** With another version of its API it still is the policy of that name, and a bad one: it must not just vanish. */
function parsePolicy(manifest: Manifest): ParsedPolicy | undefined {
  const { kind, apiVersion } = manifest;
  if (kind === CILIUM_POLICY || kind === CILIUM_CLUSTERWIDE_POLICY) return parseCiliumPolicy(manifest);
  // Others have kinds of this name, too (projectcalico.org).
  const [group] = apiVersion.split('/');
  if (kind === NETWORK_POLICY.kind && (group === 'networking.k8s.io' || group === 'extensions' || group === ''))
    return parseNetworkPolicy(manifest);
  return refuseForeignPolicy(manifest);
}
