/**
 * What the files say together, and what still counts of files and objects that have gone bad: an unreadable file keeps
 * its last content, a policy edited into a bad one keeps its last good version, a new bad one closes what it selects.
 */
import type { ApiObject, ParsedFile } from '../api/manifests.ts';
import { ERRORS } from '../model/error-codes.ts';
import type { NamespaceObject, NodeObject, ObjectSet, PodObject, PolicyObject } from '../model/objects.ts';
import type { Policy } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';

export class Inventory {
  readonly #files = new Map<string, ParsedFile>();
  /** Last good version of each policy that is still there. */
  #good = new Map<string, readonly Policy[]>();

  /** @param parsed undefined: the file is gone */
  set(file: string, parsed: ParsedFile | undefined): void {
    if (parsed === undefined) this.#files.delete(file);
    else if (parsed.readable) this.#files.set(file, parsed);
    else {
      const before = this.#files.get(file);
      this.#files.set(file, { ...parsed, objects: before?.objects ?? [] });
    }
  }

  get files(): readonly string[] {
    return [...this.#files.keys()];
  }

  /** @param extra issues of the source itself */
  objects(extra: readonly Issue[] = []): ObjectSet {
    const issues: Issue[] = [...extra];
    const seen = new Map<string, ApiObject>();
    for (const [, file] of [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1))) {
      issues.push(...file.issues);
      for (const object of file.objects) {
        const first = seen.get(object.key);
        if (first === undefined) seen.set(object.key, object);
        else issues.push(duplicate(object, first));
      }
    }
    const namespaces: NamespaceObject[] = [];
    const pods: PodObject[] = [];
    const nodes: NodeObject[] = [];
    const policies: PolicyObject[] = [];
    const good = new Map<string, readonly Policy[]>();
    for (const object of seen.values()) {
      if (object.kind === 'Namespace') namespaces.push(object.object);
      else if (object.kind === 'Pod') pods.push(object.object);
      else if (object.kind === 'Node') nodes.push(object.object);
      else policies.push(...this.#policy(object, good));
    }
    this.#good = good;
    issues.push(...new Set(policies.flatMap((policy) => policy.issues)));
    return { namespaces, pods, nodes, policies, issues };
  }

  #policy(
    { key, origin, object }: ApiObject & { kind: 'Policy' },
    good: Map<string, readonly Policy[]>,
  ): PolicyObject[] {
    const { ref, issues } = object;
    const base = { ref, origin, issues };
    if (issues.length === 0) {
      good.set(key, object.policies);
      return object.policies.map((policy) => ({ ...base, state: 'accepted', policy }));
    }
    const last = this.#good.get(key);
    if (last) {
      good.set(key, last);
      return last.map((policy) => ({ ...base, state: 'last-good', policy }));
    }
    if (object.closed.length === 0) return [{ ...base, state: 'refused', policy: undefined }];
    return object.closed.map((policy) => ({ ...base, state: 'refused', policy }));
  }
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
