/** Numbers and addresses -> names, for flow records. Keeps what is gone for a while: its last flows still need a name. */
import type { EndpointStatus } from '../datapath/endpoint-status.ts';
import { addressKey } from '../model/address.ts';
import type { Origin, RuleRef } from '../model/policy.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Resolver } from '../observe/to-flow.ts';
import { RESERVED_IDENTITIES } from '../policy/identities.ts';

/** Names of the past that are kept. */
const MOST_REMEMBERED = 65536;

function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  // Written again it is the youngest.
  map.delete(key);
  map.set(key, value);
  if (map.size <= MOST_REMEMBERED) return;
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
}

export class Directory implements Resolver {
  readonly nodeName: string;
  readonly version: string;
  readonly #labels = new Map<number, readonly string[]>();
  readonly #pods = new Map<string, { namespace: string; name: string }>();
  readonly #endpoints = new Map<number, { id: number; interface: string }>();
  readonly #rulesets = new Map<number, readonly RuleRef[]>();
  #unproven: Resolver['unproven'] = () => 'no certificates: authentication is not set up on this node';
  #origins: ReadonlyMap<number, Origin> = new Map();

  constructor(nodeName: string, version: string) {
    this.nodeName = nodeName;
    this.version = version;
    for (const [id, labels] of RESERVED_IDENTITIES) this.#labels.set(id, [...labels.keys()]);
  }

  update(snapshot: Snapshot, endpoints: readonly EndpointStatus[]): void {
    for (const [id, { labels }] of snapshot.identities)
      if (!RESERVED_IDENTITIES.has(id)) remember(this.#labels, id, labels);
    for (const { address, namespace, pod } of snapshot.addresses)
      remember(this.#pods, addressKey(address), { namespace, name: pod });
    for (const endpoint of endpoints)
      if (endpoint.interface)
        remember(this.#endpoints, endpoint.interface.ifindex, { id: endpoint.id, interface: endpoint.interface.name });
    for (const { id, rules } of snapshot.rulesets.values())
      remember(
        this.#rulesets,
        id,
        rules.map(({ ref }) => ref),
      );
    this.#origins = snapshot.origins;
  }

  labels(identity: number): readonly string[] | undefined {
    return this.#labels.get(identity);
  }
  pod(address: Uint8Array): { readonly namespace: string; readonly name: string } | undefined {
    return this.#pods.get(addressKey(address));
  }
  origin(rule: number): Origin | undefined {
    return this.#origins.get(rule);
  }
  ruleset(id: number): readonly RuleRef[] | undefined {
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
}
