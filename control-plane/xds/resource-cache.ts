/** What should every client have? Resources by type and name; a new content is a new version and a new revision. */
import { createHash } from 'node:crypto';
import { type EncodedResource, encodeResource } from './wire.ts';

/** Hexadecimal digits of a version. */
const VERSION_DIGITS = 16;

export interface Resource {
  readonly name: string;
  /** Hash of the content: the same bytes have the same version, also after a restart. */
  readonly version: string;
  /** The encoded message. */
  readonly bytes: Uint8Array;
}

export interface CachedResource extends Resource, EncodedResource {}

export type ResourceContent = Pick<Resource, 'name' | 'bytes'>;

export class ResourceCache {
  readonly #types = new Map<string, ReadonlyMap<string, CachedResource>>();
  readonly #listeners = new Set<() => void>();
  #revision = 0;

  /** Counts the changes of content. */
  get revision(): number {
    return this.#revision;
  }

  /** Undefined for a type that was never set: nothing is known about it, which is not the same as empty. */
  get(typeUrl: string): ReadonlyMap<string, CachedResource> | undefined {
    return this.#types.get(typeUrl);
  }

  types(): IterableIterator<string> {
    return this.#types.keys();
  }

  /**
   * Makes these the only resources of the type. What is set in one go (without awaiting in between) is sent together.
   * @returns the revision that holds them
   */
  set(typeUrl: string, resources: Iterable<ResourceContent>): number {
    const before = this.#types.get(typeUrl);
    const after = new Map<string, CachedResource>();
    let changed = before === undefined;
    for (const { name, bytes } of resources) {
      if (after.has(name)) throw new Error(`${typeUrl}: two resources have the name ${name}`);
      const known = before?.get(name);
      const same = known !== undefined && Buffer.compare(known.bytes, bytes) === 0;
      after.set(name, same ? known : makeResource(typeUrl, name, bytes));
      changed ||= !same;
    }
    if (!changed && after.size === before?.size) return this.#revision;
    this.#types.set(typeUrl, after);
    this.#revision++;
    for (const listener of this.#listeners) listener();
    return this.#revision;
  }

  /** @returns the way to stop listening */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

function makeResource(typeUrl: string, name: string, bytes: Uint8Array): CachedResource {
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, VERSION_DIGITS);
  return { name, version, ...encodeResource(typeUrl, name, version, bytes) };
}
