/** Numbers and addresses -> names, for flow records. Keeps what is gone for a while: its last flows still need a name. */
import type { EndpointStatus } from '../datapath/endpoint-status.ts';
import { addressKey } from '../model/address.ts';
import { changeBetween } from '../model/list-change.ts';
import { noteKey, type Origin, type PolicyNote, type PolicyRef, type RuleRef } from '../model/policy.ts';
import type { Admission, Snapshot } from '../model/snapshot.ts';
import type { Resolver } from '../observe/to-flow.ts';
import { RESERVED_IDENTITIES } from '../policy/identities.ts';

/** Names of the past that are kept. */
const MOST_REMEMBERED = 65536;
/** Revisions of the past: requests are told of within a second. */
const MOST_REVISIONS = 64;

function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  // Written again it is the youngest.
  map.delete(key);
  map.set(key, value);
  if (map.size <= MOST_REMEMBERED) return;
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
}

const refsOf = (rules: readonly { readonly ref: RuleRef }[]): readonly RuleRef[] => rules.map(({ ref }) => ref);

export class Directory implements Resolver {
  readonly nodeName: string;
  readonly version: string;
  readonly #labels = new Map<number, readonly string[]>();
  readonly #pods = new Map<string, { namespace: string; name: string }>();
  readonly #pastPods = new Map<string, { namespace: string; name: string }>();
  readonly #endpoints = new Map<number, { id: number; interface: string }>();
  readonly #rulesets = new Map<number, { enforced: Admission; shadow: Admission | undefined }>();
  #unproven: Resolver['unproven'] = () => 'no certificates: authentication is not set up on this node';
  /** By address. */
  readonly #ids = new Map<string, number>();
  /** In the order in which they came into force. */
  readonly #revisions: { readonly since: number; readonly revision: number }[] = [];
  #origins: ReadonlyMap<number, Origin> = new Map();
  #addresses: Snapshot['addresses'] = [];
  #notes: ReadonlyMap<string, PolicyNote> = new Map();

  constructor(nodeName: string, version: string) {
    this.nodeName = nodeName;
    this.version = version;
    for (const [id, labels] of RESERVED_IDENTITIES) this.#labels.set(id, [...labels.keys()]);
  }

  update(snapshot: Snapshot, endpoints: readonly EndpointStatus[]): void {
    for (const [id, { labels }] of snapshot.identities)
      if (!RESERVED_IDENTITIES.has(id)) remember(this.#labels, id, labels);
    const { removed, added } = changeBetween(this.#addresses, snapshot.addresses);
    this.#addresses = snapshot.addresses;
    for (const { address, namespace, pod } of removed) {
      this.#pods.delete(addressKey(address));
      remember(this.#pastPods, addressKey(address), { namespace, name: pod });
    }
    for (const { address, namespace, pod, node } of added) {
      this.#pods.set(addressKey(address), { namespace, name: pod });
      // It was an endpoint's of this node and is another node's now.
      if (node !== '') this.#ids.delete(addressKey(address));
    }
    for (const endpoint of endpoints) {
      for (const address of endpoint.addresses) remember(this.#ids, addressKey(address), endpoint.id);
      if (endpoint.interface)
        remember(this.#endpoints, endpoint.interface.ifindex, { id: endpoint.id, interface: endpoint.interface.name });
    }
    if (this.#revisions.at(-1)?.revision !== snapshot.revision) {
      this.#revisions.push({ since: Date.now(), revision: snapshot.revision });
      this.#revisions.splice(0, this.#revisions.length - MOST_REVISIONS);
    }
    for (const { id, shadow, ...enforced } of snapshot.rulesets.values())
      remember(this.#rulesets, id, { enforced, shadow });
    this.#origins = snapshot.origins;
    this.#notes = snapshot.notes;
  }

  labels(identity: number): readonly string[] | undefined {
    return this.#labels.get(identity);
  }
  pod(address: Uint8Array): { readonly namespace: string; readonly name: string } | undefined {
    const key = addressKey(address);
    return this.#pods.get(key) ?? this.#pastPods.get(key);
  }
  origin(rule: number): Origin | undefined {
    return this.#origins.get(rule);
  }
  note(ref: PolicyRef | RuleRef): PolicyNote | undefined {
    return this.#notes.get(noteKey(ref));
  }
  ruleset(id: number): readonly RuleRef[] | undefined {
    const known = this.#rulesets.get(id);
    return known && refsOf(known.enforced.rules);
  }
  shadow(id: number): readonly RuleRef[] | undefined {
    const shadow = this.#rulesets.get(id)?.shadow;
    return shadow && refsOf(shadow.rules);
  }
  admission(id: number): { readonly enforced: Admission; readonly shadow: Admission | undefined } | undefined {
    return this.#rulesets.get(id);
  }
  /** Told by whoever proves; replaced by what it says next. */
  explain(unproven: Resolver['unproven']): void {
    this.#unproven = unproven;
  }
  unproven(source: Uint8Array, destination: Uint8Array): string | undefined {
    return this.#unproven(source, destination);
  }
  endpoint(ifindex: number): { readonly id: number; readonly interface: string } | undefined {
    return this.#endpoints.get(ifindex);
  }
  endpointAt(address: Uint8Array): number | undefined {
    return this.#ids.get(addressKey(address));
  }
  revisionAt(time: number): number {
    return this.#revisions.findLast(({ since }) => since <= time)?.revision ?? this.#revisions[0]?.revision ?? 0;
  }
}
