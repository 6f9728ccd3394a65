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
/** A peer that still sends under its old key is not waited for any longer. */
const MOST_LOOKS = 10;
/** A handshake that was lost is repeated after 5 s. */
const HANDSHAKE_MS = 12_000;

export class TunnelBinding {
  readonly #tunnel: Tunnel;
  readonly #node: string;
  readonly #prepared = new Map<string, AgreedKey>();
  readonly #keys = new Map<string, AgreedKey>();
  /** Has not taken this node's new key yet, which is in use since then: milliseconds since the epoch. */
  readonly #behind = new Map<string, number>();
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

  /** This node has another key, which every node is to be told of in its session. */
  rotated(): void {
    for (const node of this.#keys.keys()) this.#behind.set(node, Date.now());
  }

  /**
   * Phase one. A first key is made known. One that takes another's place waits, unknown to WireGuard: a handshake with it now
   * would bring packets whose source is not its own yet.
   */
  async prepare(key: AgreedKey): Promise<void> {
    this.#prepared.set(key.node, key);
    const current = this.#keys.get(key.node)?.publicKey;
    // There is no session any more with our old key, and the peer begins the handshake with the new one as soon as it hears of it.
    if (this.#behind.has(key.node) && current && equal(current, key.publicKey)) {
      await this.#set(key, this.#allowedOf(key.node), this.#keepaliveOf(key.node));
      return;
    }
    const peers = await this.#tunnel.peers();
    const known = peers.some((peer) => equal(peer.publicKey, key.publicKey));
    // Of an earlier agent, or in use: its session goes on until the new key is committed.
    if (known || this.#predecessors(key, peers).length > 0) return;
    await this.#set(key, this.#allowedOf(key.node), this.#keys.has(key.node) ? this.#keepaliveOf(key.node) : 0);
  }

  /** Phase two. Resolves when packets can go through. @throws AUTH_KEY_FAILED, AUTH_KEY_TIMEOUT, TUNNEL_* */
  async commit(node: string, epoch: number, over: AbortSignal): Promise<void> {
    const key = this.#prepared.get(node);
    if (key?.epoch !== epoch)
      throw new SidestepError('AUTH_KEY_FAILED', `${node}: the key of epoch ${epoch} was never prepared`);
    const olds = this.#predecessors(key, await this.#tunnel.peers());
    if (olds.length > 0) await this.#drained(olds);
    const behind = this.#behind.get(node);
    this.#prepared.delete(node);
    this.#keys.set(node, key);
    if (olds.length === 0) await this.#set(key, this.#allowedOf(node), this.#keepaliveOf(node));
    // One of both begins: the one that has kept its key, or the one that commits later.
    else await this.#succeed(olds, key, behind === undefined || node < this.#node);
    try {
      await this.#usable(key, behind ?? Date.now() - SESSION_MS, over);
      if (this.#behind.get(node) === behind) this.#behind.delete(node);
      if (olds.length > 0) await this.#set(key, this.#allowedOf(node), this.#keepaliveOf(node));
    } finally {
      // Only now: what was on its way to the old key has gone.
      for (const old of olds) await this.#tunnel.removePeer(old);
      await this.#sweep();
    }
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
          await this.#set(key, next, this.#keepaliveOf(node));
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
    this.#behind.delete(node);
    if (key) await this.#tunnel.removePeer(key.publicKey);
  }

  #allowedOf(node: string): readonly TunnelPrefix[] {
    return this.#allowed.get(node) ?? [];
  }

  #keepaliveOf(node: string): number {
    return this.#node < node ? KEEPALIVE_SECONDS : 0;
  }

  /** Keys that have what is this node's, and no other node: its own of before, also of before this agent. */
  #predecessors(key: AgreedKey, peers: readonly TunnelPeerState[]): Uint8Array[] {
    const mine = new Set(this.#allowedOf(key.node).map(prefixText));
    const before = this.#keys.get(key.node)?.publicKey;
    const others = [...this.#keys.values()].filter(({ node }) => node !== key.node);
    return peers
      .filter(({ publicKey, allowed }) => {
        if (equal(publicKey, key.publicKey) || others.some((other) => equal(other.publicKey, publicKey))) return false;
        return (before && equal(before, publicKey)) || allowed.some((each) => mine.has(prefixText(each)));
      })
      .map(({ publicKey }) => publicKey);
  }

  /** What the peer has sent under its old keys may still wait for WireGuard's process, and would have the wrong source then. */
  async #drained(olds: readonly Uint8Array[]): Promise<void> {
    const received = async (): Promise<number> =>
      (await this.#tunnel.peers())
        .filter(({ publicKey }) => olds.some((old) => equal(old, publicKey)))
        .reduce((sum, peer) => sum + peer.received, 0);
    let before = await received();
    for (let look = 0; look < MOST_LOOKS; look++) {
      await delay(POLL_MS);
      const now = await received();
      if (now === before) return;
      before = now;
    }
  }

  /** Old keys that an agent was about to remove when it was killed: they have nothing, and are nobody's. */
  async #sweep(): Promise<void> {
    const known = [...this.#keys.values(), ...this.#prepared.values()];
    for (const { publicKey, allowed } of await this.#tunnel.peers())
      if (allowed.length === 0 && !known.some((key) => equal(key.publicKey, publicKey)))
        await this.#tunnel.removePeer(publicKey);
  }

  #succeed(olds: readonly Uint8Array[], key: AgreedKey, wake: boolean): Promise<void> {
    const { node, publicKey, presharedKey, endpoint } = key;
    const [allowed, keepalive] = [this.#allowedOf(node), wake ? this.#keepaliveOf(node) : 0];
    return this.#tunnel.succeed(olds, { publicKey, presharedKey, endpoint, allowed, keepalive }, wake);
  }

  #set(key: AgreedKey, allowed: readonly TunnelPrefix[], keepalive: number): Promise<void> {
    const { publicKey, presharedKey, endpoint } = key;
    return this.#tunnel.setPeer({ publicKey, presharedKey, endpoint, allowed, keepalive });
  }

  /**
   * A session of WireGuard with this very key, or one of the peer's that still carries: its key was agreed on likewise.
   * @param since an earlier one carries nothing any more
   */
  async #usable(key: AgreedKey, since: number, over: AbortSignal): Promise<void> {
    const deadline = Date.now() + HANDSHAKE_MS;
    for (;;) {
      const peer = (await this.#tunnel.peers()).find((each) => equal(each.publicKey, key.publicKey));
      if (peer && peer.lastHandshake >= since) return;
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

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function prefixText({ address, bits }: TunnelPrefix): string {
  return `${Buffer.from(address).toString('hex')}/${bits}`;
}

function textOf(prefixes: readonly TunnelPrefix[] | undefined): string {
  return (prefixes ?? []).map(prefixText).join(' ');
}
