/** The ports of the sessions between agents: whom there is to talk to, and who is told what was proven. */

/** Another node, as the resource source has it (SidestepNode). Nothing in it is proof of anything. */
export interface PeerNode {
  readonly name: string;
  /** Where its agent listens for sessions: addresses in text, tried in order, and the port. */
  readonly addresses: readonly string[];
  readonly port: number;
}

/** What the local source says about the world: a proof is held against it. */
export interface Whereabouts {
  /** Does this node run pods of this namespace and service account, as far as we know? */
  runs(node: string, namespace: string, serviceAccount: string): boolean;
}

/** One identity that its node has proven in a session that is alive or was when it was proven. */
export interface Proof {
  readonly node: string;
  readonly spiffeId: string;
  /** Of the leaf certificate. */
  readonly serial: string;
  /** Milliseconds since the epoch; the earlier of what the prover said and its certificate. */
  readonly expires: number;
  /** Of the tunnel key that the session carries. */
  readonly epoch: number;
}

/** What a peer's tunnel is to be keyed with. Comes out of the session and from nowhere else. */
export interface TunnelKey {
  readonly node: string;
  /** 32 bytes each. */
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  readonly epoch: number;
  /** UDP: the address that the session has its peer at, and the port that the peer named. */
  readonly endpoint: { readonly address: string; readonly port: number };
}

/**
 * Told by the sessions, in order; what it returns is waited for before the peer hears more. A rejection ends the session with
 * its error as the cause.
 */
export interface ProofSink {
  /** Phase one: keep it beside the one in use, take handshakes with it. `over`: its session has ended, nobody waits any more. */
  prepareKey(key: TunnelKey, over: AbortSignal): Promise<void>;
  /** Phase two: both ends have it. Resolves when packets can go through the tunnel under this key. `over`: as above. */
  commitKey(node: string, epoch: number, over: AbortSignal): Promise<void>;
  /** A peer has proven an identity of its own to us. */
  proven(proof: Proof): Promise<void>;
  /** A peer has, or is about to have, accepted an identity of ours: written before our last message about it leaves. */
  accepted(proof: Proof): Promise<void>;
  /** No longer: identity withdrawn, expired, refused; `cause` is a code of model/error-codes.ts. */
  withdrawn(node: string, spiffeId: string, side: 'theirs' | 'ours', cause: string): void;
}
