/** What the resource source says of the mesh: which pods run where, which numbers stand for which service accounts. */
import type { Mesh } from '../auth/embedded/certificate-authority.ts';
import type { PeerNode } from '../auth/peers.ts';
import type { Numbering } from '../auth/proof-book.ts';
import type { ServiceAccountRef } from '../auth/svid.ts';
import type { Claim } from '../encryption/allowed.ts';
import { addressKey } from '../model/address.ts';
import type { MeshNode, ObjectSet } from '../model/objects.ts';
import type { Snapshot } from '../model/snapshot.ts';

const accountText = (namespace: string, serviceAccount: string): string => `${namespace}/${serviceAccount}`;

/** Who has an address. */
export interface Owner {
  /** '' is this node. */
  readonly node: string;
  readonly account: ServiceAccountRef;
}

export class MeshView implements Mesh, Numbering {
  readonly #node: string;
  #nodes: ReadonlyMap<string, number> = new Map();
  #meshNodes: readonly MeshNode[] = [];
  /** Service accounts by node. */
  readonly #running = new Map<string, Set<string>>();
  readonly #identities = new Map<string, Set<number>>();
  /** By number of the node, this one is 0. */
  readonly #identitiesAt = new Map<number, Set<number>>();
  readonly #owners = new Map<string, Owner>();
  #claims: readonly Claim[] = [];

  /** @param node this node's name */
  constructor(node: string) {
    this.#node = node;
  }

  update(objects: ObjectSet, snapshot: Snapshot): void {
    this.#nodes = snapshot.nodes;
    this.#meshNodes = objects.meshNodes;
    this.#running.clear();
    this.#identities.clear();
    this.#identitiesAt.clear();
    this.#owners.clear();
    const accounts = new Map(
      objects.pods.map((pod) => [
        `${pod.namespace}/${pod.name}`,
        { namespace: pod.namespace, serviceAccount: pod.serviceAccount },
      ]),
    );
    for (const { address, identity, node, namespace, pod } of snapshot.addresses) {
      const account = accounts.get(`${namespace}/${pod}`);
      if (account === undefined) continue;
      const text = accountText(account.namespace, account.serviceAccount);
      const running = this.#running.get(node) ?? new Set();
      this.#running.set(node, running.add(text));
      const identities = this.#identities.get(text) ?? new Set();
      this.#identities.set(text, identities.add(identity));
      const number = node === '' ? 0 : snapshot.nodes.get(node);
      if (number !== undefined)
        this.#identitiesAt.set(number, (this.#identitiesAt.get(number) ?? new Set<number>()).add(identity));
      this.#owners.set(addressKey(address), { node, account });
    }
    this.#claims = snapshot.addresses.map(({ address, node }) => ({ node, address }));
  }

  runs(node: string, namespace: string, serviceAccount: string): boolean {
    const name = node === this.#node ? '' : node;
    return this.#running.get(name)?.has(accountText(namespace, serviceAccount)) ?? false;
  }

  /** @param node its number, 0 for this one */
  hasIdentity(node: number, identity: number): boolean {
    return this.#identitiesAt.get(node)?.has(identity) ?? false;
  }

  admits(node: string): boolean {
    return node === this.#node || this.#meshNodes.some(({ name }) => name === node);
  }

  identitiesOf({ namespace, serviceAccount }: ServiceAccountRef): readonly number[] {
    return [...(this.#identities.get(accountText(namespace, serviceAccount)) ?? [])];
  }

  nodeNumber(name: string): number | undefined {
    return this.#nodes.get(name);
  }

  ownerOf(address: Uint8Array): Owner | undefined {
    return this.#owners.get(addressKey(address));
  }

  /** All other nodes. */
  get peers(): readonly PeerNode[] {
    return this.others.map(({ name, addresses, port }) => ({ name, addresses, port }));
  }

  get others(): readonly MeshNode[] {
    return this.#meshNodes.filter(({ name }) => name !== this.#node);
  }

  /** Whose addresses are whose, for the tunnel. */
  get claims(): readonly Claim[] {
    return this.#claims;
  }
}
