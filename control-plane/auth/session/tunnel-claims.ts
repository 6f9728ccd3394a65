/**
 * Whose is a WireGuard public key? A node says which is its own, and could say another's: it would have no use of it, but the
 * tunnel to the other would be lost. The node that has shown in the tunnel that it holds the private key keeps it.
 */
import { SidestepError } from '../../model/error.ts';

interface Claims {
  /** Packets went through under it. */
  readonly proven?: string;
  /** Named in a session whose tunnel is not there yet, or never was. */
  readonly named?: { readonly key: string; readonly giveUp: (why: SidestepError) => void };
}

export class TunnelClaims {
  readonly #own: () => Uint8Array;
  readonly #byNode = new Map<string, Claims>();

  /** @param own this node's */
  constructor(own: () => Uint8Array) {
    this.#own = own;
  }

  /**
   * @param giveUp ends the session: another node has named the same key, and neither has proven it
   * @returns AUTH_TUNNEL_KEY_TAKEN when it is another's
   */
  claim(node: string, publicKey: Uint8Array, giveUp: (why: SidestepError) => void): SidestepError | undefined {
    const key = Buffer.from(publicKey).toString('hex');
    if (Buffer.from(this.#own()).toString('hex') === key) return taken(node, 'this node');
    for (const [other, { proven, named }] of this.#byNode) {
      if (other === node) continue;
      if (proven === key) return taken(node, other);
      // Whoever was first may be the one that lies: the one that holds the key needs but a moment to prove it.
      if (named?.key === key) named.giveUp(taken(other, node));
    }
    this.#byNode.set(node, { ...this.#byNode.get(node), named: { key, giveUp } });
    return undefined;
  }

  /** Packets go through under this key. One that is only named for later is not proven by that. */
  prove(node: string, publicKey: Uint8Array): void {
    const key = Buffer.from(publicKey).toString('hex');
    const named = this.#byNode.get(node)?.named;
    if (named?.key === key) this.#byNode.set(node, { proven: key });
  }

  /** The node has left. */
  forget(node: string): void {
    this.#byNode.delete(node);
  }
}

function taken(node: string, owner: string): SidestepError {
  return new SidestepError('AUTH_TUNNEL_KEY_TAKEN', `${node} names the tunnel key of ${owner}`);
}
