/**
 * One resource type of one stream: what the client asked for, what it has, what it refused, and what it must be told
 * next. Knows the protocol and no transport.
 */
import type { CachedResource } from './resource-cache.ts';
import type { DeltaRequest } from './wire.ts';

const WILDCARD = '*';

type Content = ReadonlyMap<string, CachedResource>;
/** A name and the version it is to have; undefined: it is to go. */
type Change = readonly [name: string, version: string | undefined];

/** What a client said about a response. */
export type Answer =
  | { readonly kind: 'ack'; readonly changes: readonly Change[] }
  | { readonly kind: 'nack'; readonly names: readonly string[]; readonly code: number; readonly message: string };

export interface Refusal {
  /** Of the refused content; undefined when the client refused to let the resource go. */
  readonly version: string | undefined;
  /** In the client's own words. */
  readonly message: string;
}

interface InFlight {
  readonly nonce: string;
  readonly changes: readonly Change[];
  /** With it the client has everything of this revision; undefined if something was held back. */
  readonly revision: number | undefined;
}

export interface Limits {
  readonly additions: boolean;
  readonly removals: boolean;
}

export class Subscription {
  /** Whether the client asked for all there is. */
  wildcard = false;
  readonly names = new Set<string>();
  readonly refusals = new Map<string, Refusal>();
  /** What the client has: last acknowledged, or brought along from an earlier stream. */
  readonly held = new Map<string, string>();
  /** Names that must be answered even if nothing about them is new. */
  readonly #owed = new Set<string>();
  /** What was in a refused response with others, so that the client may have taken it. */
  readonly #uncertain = new Map<string, Set<string | undefined>>();
  /** A response is owed even if it is empty: a client waits for it before it starts. */
  #owesResponse = false;
  /** Parts of refused responses, to be sent one by one until each bad resource stands alone. */
  readonly #suspects: (readonly string[])[] = [];
  #inFlight: InFlight | undefined;
  /** The newest revision of which the client has everything. */
  #acknowledged = -1;
  /** The newest revision of which it has or refused everything. */
  #settled = -1;

  get inFlight(): boolean {
    return this.#inFlight !== undefined;
  }

  /** How far the client is with a revision. */
  progress(revision: number): 'pending' | 'acknowledged' | 'refused' {
    if (this.#acknowledged >= revision) return 'acknowledged';
    return this.#settled >= revision && this.refusals.size > 0 ? 'refused' : 'pending';
  }

  /** The stream's first request for this type. */
  begin(request: DeltaRequest, wildcardByDefault: boolean): void {
    this.wildcard = request.subscribe.includes(WILDCARD) || (wildcardByDefault && request.subscribe.length === 0);
    for (const name of request.subscribe) if (name !== WILDCARD) this.names.add(name);
    for (const [name, version] of request.initialVersions)
      if (this.wildcard || this.names.has(name)) this.held.set(name, version);
    for (const name of this.names) if (!this.held.has(name)) this.#owed.add(name);
    this.#owesResponse = this.wildcard && this.held.size === 0;
  }

  /** Every later request. @returns undefined when it answers nothing that is awaited, or does not yet say what is bad */
  update(request: DeltaRequest): Answer | undefined {
    // The edits count whatever the request answers, a response long superseded included.
    for (const name of request.subscribe) this.#subscribe(name);
    for (const name of request.unsubscribe) this.#unsubscribe(name);
    const sent = this.#inFlight;
    if (sent === undefined || request.nonce !== sent.nonce) return undefined;
    this.#inFlight = undefined;
    return request.error === undefined ? this.#accepted(sent) : this.#refused(sent, request.error);
  }

  #subscribe(name: string): void {
    // More is wanted than what was sent or acknowledged so far.
    this.#acknowledged = -1;
    this.#settled = -1;
    if (this.#inFlight !== undefined) this.#inFlight = { ...this.#inFlight, revision: undefined };
    if (name === WILDCARD) {
      this.wildcard = true;
      this.#owesResponse = true;
      return;
    }
    this.names.add(name);
    // The client may have forgotten what it had.
    this.#owed.add(name);
  }

  #unsubscribe(name: string): void {
    if (name === WILDCARD) {
      this.wildcard = false;
      for (const each of this.#mentioned()) if (!this.names.has(each)) this.#forget(each);
      return;
    }
    this.names.delete(name);
    // Still wanted through the wildcard, so the client must be told what holds for it now.
    if (this.wildcard) this.#owed.add(name);
    else this.#forget(name);
  }

  #forget(name: string): void {
    this.held.delete(name);
    this.refusals.delete(name);
    this.#owed.delete(name);
    this.#uncertain.delete(name);
  }

  /** Names that this has something about. */
  #mentioned(): Set<string> {
    return new Set([...this.held.keys(), ...this.refusals.keys(), ...this.#uncertain.keys(), ...this.#owed]);
  }

  #wants(name: string): boolean {
    return this.wildcard || this.names.has(name);
  }

  #accepted(sent: InFlight): Answer {
    for (const [name, version] of sent.changes) {
      this.refusals.delete(name);
      this.#uncertain.delete(name);
      // It may have been unsubscribed while the response was under way.
      if (version === undefined || !this.#wants(name)) this.held.delete(name);
      else this.held.set(name, version);
    }
    if (sent.revision !== undefined) this.#settle(sent.revision);
    return { kind: 'ack', changes: sent.changes };
  }

  /** A client may have taken the good resources of a refused response or none, and does not say which were bad. */
  #refused(sent: InFlight, error: { readonly code: number; readonly message: string }): Answer | undefined {
    const names = sent.changes.map(([name]) => name);
    if (names.length > 1) {
      const middle = names.length >> 1;
      this.#suspects.unshift(names.slice(0, middle), names.slice(middle));
      for (const [name, version] of sent.changes) if (this.#wants(name)) this.#doubt(name).add(version);
      return undefined;
    }
    const message = error.message.trim();
    for (const [name, version] of sent.changes) {
      if (!this.#wants(name)) continue;
      this.refusals.set(name, { version, message });
      const doubt = this.#doubt(name);
      doubt.delete(version);
      if (doubt.size === 0) this.#uncertain.delete(name);
    }
    if (sent.revision !== undefined) this.#settle(sent.revision);
    return { kind: 'nack', names, code: error.code, message };
  }

  #doubt(name: string): Set<string | undefined> {
    const versions = this.#uncertain.get(name) ?? new Set();
    this.#uncertain.set(name, versions);
    return versions;
  }

  #settle(revision: number): void {
    this.#settled = revision;
    if (this.refusals.size === 0) this.#acknowledged = revision;
  }

  /** Whether something is under way or still to be told; `additions`: removals do not count. */
  busy(content: Content | undefined, which: 'all' | 'additions'): boolean {
    if (content === undefined) return false;
    if (this.inFlight || this.#owesResponse) return true;
    return this.#changes(content).some(([, version]) => which === 'all' || version !== undefined);
  }

  /**
   * What to send now. Undefined: nothing, because nothing is new, one response is under way already, or what is new
   * has to wait for other types.
   */
  next(content: Content | undefined, revision: number, nonce: string, limits: Limits): readonly Change[] | undefined {
    if (content === undefined || this.#inFlight !== undefined) return undefined;
    const all = this.#changes(content);
    const allowed = all.filter(([, version]) => (version === undefined ? limits.removals : limits.additions));
    const changes = this.#nextPart(allowed) ?? allowed;
    const complete = changes.length === all.length;
    if (changes.length === 0 && !(this.#owesResponse && limits.additions)) {
      if (complete) this.#settle(revision);
      return undefined;
    }
    this.#owesResponse = false;
    for (const [name] of changes) this.#owed.delete(name);
    this.#inFlight = { nonce, changes, revision: complete ? revision : undefined };
    return changes;
  }

  /** The next part of a refused response of which something still needs sending. */
  #nextPart(changes: readonly Change[]): readonly Change[] | undefined {
    for (let names = this.#suspects.shift(); names !== undefined; names = this.#suspects.shift()) {
      const suspects = new Set(names);
      const part = changes.filter(([name]) => suspects.has(name));
      if (part.length > 0) return part;
    }
    return undefined;
  }

  /** Where what the client has differs from what it should have, and what is owed. */
  #changes(content: Content): Change[] {
    // What was refused is not what is wanted any more.
    for (const [name, { version }] of this.refusals)
      if (content.get(name)?.version !== version) this.refusals.delete(name);
    const changes: Change[] = [];
    const consider = (name: string): void => {
      const wanted = content.get(name)?.version;
      const differs = wanted !== this.held.get(name) || this.#uncertain.has(name);
      if (this.#owed.has(name) || (differs && !this.refusals.has(name))) changes.push([name, wanted]);
    };
    if (this.wildcard) for (const name of content.keys()) consider(name);
    else for (const name of this.names) consider(name);
    if (!this.wildcard) return changes;
    // What is gone, and what was asked for by name and is not there.
    for (const name of this.#mentioned()) if (!content.has(name)) consider(name);
    return changes;
  }
}
