/**
 * Binds the tunnel to sessions: a peer has the key that came out of a session with its node, the addresses that our own source
 * has for pods of that node, and nothing else.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SidestepError } from '../model/error.ts';
import type { Tunnel, TunnelPeerState, TunnelPrefix } from './tunnel.ts';

/** What a session has agreed on, see auth/peers.ts. */
export interface AgreedKey {
  readonly node: string;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  readonly epoch: number;
  readonly endpoint: { readonly address: string; readonly port: number };
}

/** The end that begins handshakes says that it is there; the NAT and firewalls between keep the way open. */
const KEEPALIVE_SECONDS = 15;
/** WireGuard's REJECT_AFTER_TIME: an older session carries nothing. */
const SESSION_MS = 180_000;
const POLL_MS = 4;
/** A handshake that was lost is repeated after 5 s. */
const HANDSHAKE_MS = 12_000;

export class TunnelBinding {
  readonly #tunnel: Tunnel;
  readonly #node: string;
  readonly #prepared = new Map<string, AgreedKey>();
  readonly #keys = new Map<string, AgreedKey>();
  #allowed: ReadonlyMap<string, readonly TunnelPrefix[]> = new Map();

  /** @param node this node's name: of two, the lower begins handshakes */
  constructor(tunnel: Tunnel, node: string) {
    this.#tunnel = tunnel;
    this.#node = node;
  }

  /** Nodes with a key in use. */
  get nodes(): readonly string[] {
    return [...this.#keys.keys()];
  }

  publicKeyOf(node: string): Uint8Array | undefined {
    return this.#keys.get(node)?.publicKey;
  }

  /** Phase one. A key of the same peer waits; another peer is made known, without addresses while there is one that has them. */
  async prepare(key: AgreedKey): Promise<void> {
    const current = this.#keys.get(key.node);
    this.#prepared.set(key.node, key);
    if (current && isSame(current, key)) return;
    const known = (await this.#tunnel.peers()).find((peer) => equal(peer.publicKey, key.publicKey));
    // Of an earlier agent: its session goes on until the new key is committed.
    if (known) return;
    await this.#set(key, current ? [] : this.#allowedOf(key.node), 0);
  }

  /** Phase two. Resolves when packets can go through. @throws AUTH_KEY_FAILED, AUTH_KEY_TIMEOUT, TUNNEL_* */
  async commit(node: string, epoch: number, over: AbortSignal): Promise<void> {
    const key = this.#prepared.get(node);
    if (key?.epoch !== epoch)
      throw new SidestepError('AUTH_KEY_FAILED', `${node}: the key of epoch ${epoch} was never prepared`);
    const current = this.#keys.get(node);
    if (current && !isSame(current, key)) await this.#tunnel.removePeer(current.publicKey);
    this.#prepared.delete(node);
    this.#keys.set(node, key);
    await this.#set(key, this.#allowedOf(node), this.#node < node ? KEEPALIVE_SECONDS : 0);
    await this.#usable(key, over);
  }

  /** Our source has other addresses for the nodes now. @returns what went wrong, by node */
  async allow(byNode: ReadonlyMap<string, readonly TunnelPrefix[]>): Promise<ReadonlyMap<string, SidestepError>> {
    const before = this.#allowed;
    this.#allowed = byNode;
    const failures = new Map<string, SidestepError>();
    const changed = [...this.#keys].filter(([node]) => textOf(before.get(node)) !== textOf(byNode.get(node)));
    // What moves from one to another is taken from the one first.
    for (const keep of [true, false])
      for (const [node, key] of changed) {
        const had = new Set((before.get(node) ?? []).map(prefixText));
        const next = (byNode.get(node) ?? []).filter((each) => !keep || had.has(prefixText(each)));
        try {
          await this.#set(key, next, this.#node < node ? KEEPALIVE_SECONDS : 0);
        } catch (error) {
          if (!(error instanceof SidestepError)) throw error;
          failures.set(node, error);
        }
      }
    return failures;
  }

  /** The node has left. */
  async remove(node: string): Promise<void> {
    const key = this.#keys.get(node);
    this.#prepared.delete(node);
    this.#keys.delete(node);
    if (key) await this.#tunnel.removePeer(key.publicKey);
  }

  #allowedOf(node: string): readonly TunnelPrefix[] {
    return this.#allowed.get(node) ?? [];
  }

  #set(key: AgreedKey, allowed: readonly TunnelPrefix[], keepalive: number): Promise<void> {
    const { publicKey, presharedKey, endpoint } = key;
    return this.#tunnel.setPeer({ publicKey, presharedKey, endpoint, allowed, keepalive });
  }

  /** A session of WireGuard with this very key, or one of the peer's that still carries: its key was agreed on likewise. */
  async #usable(key: AgreedKey, over: AbortSignal): Promise<void> {
    const deadline = Date.now() + HANDSHAKE_MS;
    for (;;) {
      const peer = (await this.#tunnel.peers()).find((each) => equal(each.publicKey, key.publicKey));
      if (peer && carries(peer)) return;
      over.throwIfAborted();
      if (Date.now() > deadline)
        throw new SidestepError(
          'AUTH_KEY_TIMEOUT',
          `${key.node}: no handshake of the tunnel within ${HANDSHAKE_MS} ms`,
        );
      await delay(POLL_MS, undefined, { signal: over });
    }
  }
}

function carries({ lastHandshake }: TunnelPeerState): boolean {
  return Date.now() - lastHandshake < SESSION_MS;
}

function isSame(a: AgreedKey, b: AgreedKey): boolean {
  return equal(a.publicKey, b.publicKey);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function prefixText({ address, bits }: TunnelPrefix): string {
  return `${Buffer.from(address).toString('hex')}/${bits}`;
}

function textOf(prefixes: readonly TunnelPrefix[] | undefined): string {
  return (prefixes ?? []).map(prefixText).join(' ');
}
