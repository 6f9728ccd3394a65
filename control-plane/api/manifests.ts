/** One file's text -> our objects and everything that is wrong with them. */
import type { NamespaceObject, NodeObject, PodObject } from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';
import { CILIUM_POLICY, type ParsedPolicy, parseCiliumPolicy } from './cilium-policy.ts';
import { type Parsed, parseNamespace, parseNode, parsePod } from './core-objects.ts';
import { issue, type Manifest, readDocuments } from './document.ts';

export type ApiObject =
  | { readonly kind: 'Namespace'; readonly key: string; readonly origin: string; readonly object: NamespaceObject }
  | { readonly kind: 'Pod'; readonly key: string; readonly origin: string; readonly object: PodObject }
  | { readonly kind: 'Node'; readonly key: string; readonly origin: string; readonly object: NodeObject }
  | { readonly kind: 'Policy'; readonly key: string; readonly origin: string; readonly object: ParsedPolicy };

export interface ParsedFile {
  readonly file: string;
  /** false: not YAML; what it held before stays in force. */
  readonly readable: boolean;
  readonly objects: readonly ApiObject[];
  /** Policies' issues are with the policies. */
  readonly issues: readonly Issue[];
}

export function parseManifests(text: string, file: string): ParsedFile {
  const { manifests, issues, readable } = readDocuments(text, file);
  const objects: ApiObject[] = [];
  const found: Issue[] = [...issues];
  for (const manifest of manifests) {
    const object = parseManifest(manifest, found);
    if (object) objects.push(object);
  }
  return { file, readable, objects, issues: found };
}

function parseManifest(manifest: Manifest, issues: Issue[]): ApiObject | undefined {
  const { kind, apiVersion, origin } = manifest;
  const key = `${kind}/${manifest.namespace || (kind === 'Namespace' || kind === 'Node' ? '' : 'default')}/${manifest.name}`;
  if (kind === CILIUM_POLICY.kind && apiVersion === CILIUM_POLICY.apiVersion)
    return { kind: 'Policy', key, origin, object: parseCiliumPolicy(manifest) };
  if (apiVersion === 'v1') {
    if (kind === 'Namespace') return keep({ kind, key, origin }, parseNamespace(manifest), issues);
    if (kind === 'Pod') return keep({ kind, key, origin }, parsePod(manifest), issues);
    if (kind === 'Node') return keep({ kind, key, origin }, parseNode(manifest), issues);
  }
  const what = kind === '' ? 'an object without kind' : `${apiVersion || '(no apiVersion)'} ${kind}`;
  issues.push(issue('OBJECT_UNKNOWN_KIND', 'kind', `${what} is not one that Sidestep reads`, origin, key));
  return undefined;
}

function keep<K extends 'Namespace' | 'Pod' | 'Node', T>(
  head: { kind: K; key: string; origin: string },
  parsed: Parsed<T>,
  issues: Issue[],
): ApiObject | undefined {
  issues.push(...parsed.issues);
  return parsed.object === undefined ? undefined : ({ ...head, object: parsed.object } as ApiObject);
}
