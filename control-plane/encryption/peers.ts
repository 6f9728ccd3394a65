/** The peers that this agent's sessions have brought: what the tunnel is to know, whatever becomes of its device. */
import { SidestepError } from '../model/error.ts';
import { endpointText, parseEndpoint } from './endpoint.ts';
import { KEY_BYTES, keyText } from './keys.ts';
import type { EnginePeer } from './ports.ts';
import { prefixText, samePrefixes, without } from './prefixes.ts';
import type { TunnelPeer, TunnelPrefix } from './tunnel.ts';

/** Two bytes on the wire. */
const LONGEST_KEEPALIVE = 0xffff;

export type KnownPeer = TunnelPeer & { readonly keepalive: number };

export function peerId(publicKey: Uint8Array): string {
  return Buffer.from(publicKey).toString('hex');
}

export class PeerTable {
  readonly #own: () => Uint8Array;
  readonly #peers = new Map<string, KnownPeer>();
  /** Prefix -> the peer that has it. */
  readonly #owners = new Map<string, string>();

  /** @param own this node's public key */
  constructor(own: () => Uint8Array) {
    this.#own = own;
  }

  get size(): number {
    return this.#peers.size;
  }

  has(publicKey: Uint8Array): boolean {
    return this.#peers.has(peerId(publicKey));
  }

  all(): readonly KnownPeer[] {
    return [...this.#peers.values()];
  }

  /** What the peer has now and would lose by this. */
  lost({ publicKey, allowed }: TunnelPeer): TunnelPrefix[] {
    return without(this.#peers.get(peerId(publicKey))?.allowed ?? [], allowed);
  }

  remember(peer: TunnelPeer): void {
    this.forget(peer.publicKey);
    const id = peerId(peer.publicKey);
    this.#peers.set(id, { ...peer, keepalive: peer.keepalive ?? 0 });
    for (const each of peer.allowed) this.#owners.set(prefixText(each), id);
  }

  /** It has nothing any more, and is still there. */
  disinherit(publicKey: Uint8Array): void {
    const peer = this.#peers.get(peerId(publicKey));
    if (peer) this.remember({ ...peer, allowed: [], keepalive: 0 });
  }

  forget(publicKey: Uint8Array): void {
    const id = peerId(publicKey);
    for (const each of this.#peers.get(id)?.allowed ?? []) this.#owners.delete(prefixText(each));
    this.#peers.delete(id);
  }

  /**
   * What is told to WireGuard is text: nothing that is no key, endpoint or number may get into it.
   * @param heirOf peers whose prefixes it takes over
   * @throws TUNNEL_REFUSED for a peer that is none. TUNNEL_PREFIX_CONFLICT when another peer has one of its prefixes:
   *   WireGuard would move it without a word
   */
  require(
    { publicKey, presharedKey, endpoint, allowed, keepalive = 0 }: TunnelPeer,
    heirOf: readonly Uint8Array[] = [],
  ): void {
    const refuse = (what: string): never => {
      throw new SidestepError('TUNNEL_REFUSED', `peer ${keyText(publicKey)}: ${what}`);
    };
    if (publicKey.length !== KEY_BYTES || presharedKey.length !== KEY_BYTES) refuse('a key has 32 bytes');
    if (peerId(publicKey) === peerId(this.#own())) refuse('it is this node itself');
    if (parseEndpoint(endpointText(endpoint)) === undefined) refuse('its endpoint is none');
    if (!Number.isInteger(keepalive) || keepalive < 0 || keepalive > LONGEST_KEEPALIVE) refuse('its keepalive is none');
    for (const each of allowed) {
      const owner = this.#peers.get(this.#owners.get(prefixText(each)) ?? '');
      if (owner === undefined || [publicKey, ...heirOf].some((each) => peerId(each) === peerId(owner.publicKey)))
        continue;
      throw new SidestepError(
        'TUNNEL_PREFIX_CONFLICT',
        `${prefixText(each)} is peer ${keyText(owner.publicKey)}'s and stays so; ${keyText(publicKey)} does not get it`,
      );
    }
  }
}

/** @returns prefixes that the device has too many; undefined: it has the peer as it should be */
export function difference(peer: KnownPeer, there: EnginePeer | undefined): readonly TunnelPrefix[] | undefined {
  if (there === undefined) return [];
  const same =
    samePrefixes(peer.allowed, there.allowed) && Buffer.from(there.presharedKey).equals(Buffer.from(peer.presharedKey));
  return same ? undefined : without(there.allowed, peer.allowed);
}
