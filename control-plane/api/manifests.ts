/** One file's text -> our objects and everything that is wrong with them. */
import type { MeshNode, NamespaceObject, NodeObject, PodObject } from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';
import { CILIUM_POLICY, type ParsedPolicy, parseCiliumPolicy } from './cilium-policy.ts';
import { parseNamespace, parseNode, parsePod } from './core-objects.ts';
import { issue, type Manifest, readDocuments } from './document.ts';
import { parseMeshNode, SIDESTEP_NODE } from './mesh-node.ts';

interface Head<K extends string> {
  readonly kind: K;
  /** kind/namespace/name: the same object has the same key in every file. */
  readonly key: string;
  readonly origin: string;
}
/** `object` is undefined where something is wrong with it; of a policy the issues say so. */
export type ApiObject =
  | (Head<'Namespace'> & { readonly object: NamespaceObject | undefined })
  | (Head<'Pod'> & { readonly object: PodObject | undefined })
  | (Head<'Node'> & { readonly object: NodeObject | undefined })
  | (Head<'SidestepNode'> & { readonly object: MeshNode | undefined })
  | (Head<'Policy'> & { readonly object: ParsedPolicy });

export interface ParsedFile {
  /** false: not YAML; what it held before stays in force. */
  readonly readable: boolean;
  readonly objects: readonly ApiObject[];
  /** Policies' issues are with the policies. */
  readonly issues: readonly Issue[];
}

const OF_NO_NAMESPACE: readonly string[] = ['Namespace', 'Node', SIDESTEP_NODE.kind];

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
  const namespace = manifest.namespace || (OF_NO_NAMESPACE.includes(kind) ? '' : 'default');
  const key = `${kind}/${namespace}/${manifest.name}`;
  // With another apiVersion it still is the policy of that name, and a bad one: it must not just vanish.
  if (kind === CILIUM_POLICY.kind) return { kind: 'Policy', key, origin, object: parseCiliumPolicy(manifest) };
  const collect = <T>(parsed: { object: T; issues: readonly Issue[] }): T => {
    issues.push(...parsed.issues);
    return parsed.object;
  };
  if (apiVersion === 'v1') {
    if (kind === 'Namespace') return { kind, key, origin, object: collect(parseNamespace(manifest)) };
    if (kind === 'Pod') return { kind, key, origin, object: collect(parsePod(manifest)) };
    if (kind === 'Node') return { kind, key, origin, object: collect(parseNode(manifest)) };
  }
  if (kind === SIDESTEP_NODE.kind && apiVersion === SIDESTEP_NODE.apiVersion)
    return { kind: SIDESTEP_NODE.kind, key, origin, object: collect(parseMeshNode(manifest)) };
  const what = kind === '' ? 'an object without kind' : `${apiVersion || '(no apiVersion)'} ${kind}`;
  issues.push(issue('OBJECT_UNKNOWN_KIND', 'kind', `${what} is not one that Sidestep reads`, origin, key));
  return undefined;
}
