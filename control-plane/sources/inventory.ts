/**
 * What the files say together, and what still counts of files and objects that have gone bad: an unreadable file keeps
 * its last content, an object edited into a bad one keeps its last good version, a new bad policy closes what it selects.
 */
import type { ApiObject, ParsedFile } from '../api/manifests.ts';
import { ERRORS } from '../model/error-codes.ts';
import type {
  CidrGroupObject,
  EndpointSliceObject,
  MeshNode,
  NamespaceObject,
  NodeObject,
  ObjectSet,
  PodObject,
  PolicyObject,
  ServiceObject,
} from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';

type PolicyEntry = ApiObject & { readonly kind: 'Policy' };

interface KnownFile extends ParsedFile {
  /** Why its objects are those of an earlier content; empty when they are not. */
  readonly stale: readonly Issue[];
}

export class Inventory {
  readonly #files = new Map<string, KnownFile>();
  /** Paths in order; made again after one came or went. */
  #order: readonly string[] | undefined;
  /** Last good version of each object that is still there. */
  #good = new Map<string, ApiObject>();

  /** @param parsed undefined: the file is gone */
  set(file: string, parsed: ParsedFile | undefined): void {
    const before = this.#files.get(file);
    if (parsed === undefined) this.#files.delete(file);
    else if (parsed.readable) this.#files.set(file, { ...parsed, stale: [] });
    else this.#files.set(file, { ...parsed, objects: before?.objects ?? [], stale: parsed.issues });
    if ((before === undefined) !== (parsed === undefined)) this.#order = undefined;
  }

  /** @param extra issues of the source itself */
  objects(extra: readonly Issue[] = []): ObjectSet {
    const issues = new Set<Issue>(extra);
    const seen = new Map<string, { object: ApiObject; stale: readonly Issue[] }>();
    this.#order ??= [...this.#files.keys()].sort();
    for (const path of this.#order) {
      const { objects, issues: wrong, stale } = this.#files.get(path) ?? { objects: [], issues: [], stale: [] };
      for (const each of wrong) issues.add(each);
      for (const object of objects) {
        const first = seen.get(object.key);
        if (first === undefined) seen.set(object.key, { object, stale });
        else issues.add(duplicate(object, first.object));
      }
    }
    const namespaces: NamespaceObject[] = [];
    const pods: PodObject[] = [];
    const nodes: NodeObject[] = [];
    const meshNodes: MeshNode[] = [];
    const services: ServiceObject[] = [];
    const endpointSlices: EndpointSliceObject[] = [];
    const cidrGroups: CidrGroupObject[] = [];
    const policies: PolicyObject[] = [];
    const good = new Map<string, ApiObject>();
    for (const [key, { object, stale }] of seen) {
      const counts = isGood(object) ? object : this.#good.get(key);
      if (counts) good.set(key, counts);
      if (object.kind === 'Policy') policies.push(...versionInForce(object, counts, stale));
      else if (counts?.kind === 'Namespace' && counts.object) namespaces.push(counts.object);
      else if (counts?.kind === 'Pod' && counts.object) pods.push(counts.object);
      else if (counts?.kind === 'Node' && counts.object) nodes.push(counts.object);
      else if (counts?.kind === 'SidestepNode' && counts.object) meshNodes.push(counts.object);
      else if (counts?.kind === 'Service' && counts.object) services.push(counts.object);
      else if (counts?.kind === 'EndpointSlice' && counts.object) endpointSlices.push(counts.object);
      else if (counts?.kind === 'CiliumCIDRGroup' && counts.object) cidrGroups.push(counts.object);
    }
    this.#good = good;
    for (const policy of policies) for (const each of policy.issues) issues.add(each);
    const others = { services, endpointSlices, cidrGroups };
    return { namespaces, pods, nodes, meshNodes, ...others, policies, issues: [...issues] };
  }
}

function isGood(object: ApiObject): boolean {
  return object.kind === 'Policy' ? object.object.issues.length === 0 : object.object !== undefined;
}

/**
 * @param counts its last good version, if there is one
 * @param stale what is wrong with its file
 */
function versionInForce(
  { origin, object }: PolicyEntry,
  counts: ApiObject | undefined,
  stale: readonly Issue[],
): PolicyObject[] {
  const issues = [...object.issues, ...stale];
  const head = { ref: object.ref, origin, issues };
  if (counts?.kind === 'Policy') {
    const state = issues.length === 0 ? 'accepted' : 'last-good';
    return counts.object.policies.map((policy) => ({ ...head, state, policy }));
  }
  // Nothing of it can be enforced where not even its selector can be read.
  const closed = object.closed.length === 0 ? [undefined] : object.closed;
  return closed.map((policy) => ({ ...head, state: 'refused', policy }));
}

function duplicate(object: ApiObject, first: ApiObject): Issue {
  return {
    code: 'OBJECT_DUPLICATE',
    path: '',
    message: `${object.key} is already defined in ${first.origin}, which counts`,
    hint: ERRORS.OBJECT_DUPLICATE.hint,
    origin: object.origin,
    object: object.key,
  };
}
