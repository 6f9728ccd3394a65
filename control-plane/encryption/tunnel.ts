/** The port to WireGuard on this node. Real: kernel.ts (the kernel's own), user-space.ts (a process on a TUN device). */

export interface TunnelPrefix {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly bits: number;
}

export interface TunnelPeer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes. */
  readonly presharedKey: Uint8Array;
  readonly endpoint: { readonly address: string; readonly port: number };
  /** Inner addresses that are this peer's: sources it may use, destinations that go to it. */
  readonly allowed: readonly TunnelPrefix[];
  /**
   * Seconds between signs of life; 0 or undefined: none. Set where it was not before, it makes a handshake begin at once, and
   * with no other effect: only one of two peers should have it, as handshakes that both begin at one time spoil each other and
   * are repeated after 5 s (WireGuard's REKEY_TIMEOUT).
   */
  readonly keepalive?: number;
}

export interface TunnelPeerState {
  readonly publicKey: Uint8Array;
  readonly endpoint: { readonly address: string; readonly port: number } | undefined;
  readonly allowed: readonly TunnelPrefix[];
  /** Milliseconds since the epoch; 0: never. */
  readonly lastHandshake: number;
  readonly received: number;
  readonly sent: number;
}

export interface Tunnel {
  readonly kind: 'kernel' | 'user-space';
  /** 0 while the device is missing. */
  readonly ifindex: number;
  readonly name: string;
  /** This node's, 32 bytes; another after a rotation. */
  readonly publicKey: Uint8Array;
  /** UDP. */
  readonly port: number;
  /** Puts device, process, addresses and routes in place, or takes over what an earlier agent left. May be called again. */
  ensure(): Promise<readonly string[]>;
  /** Replaces everything about a peer at once; connections go on, as WireGuard's current session keys stay. */
  setPeer(peer: TunnelPeer): Promise<void>;
  /**
   * The same for a peer that has other keys than before: it gets their prefixes in the same moment, and its handshake begins at
   * once if `wake`. The old keys carry nothing from then on; they stay until they are removed.
   */
  succeed(olds: readonly Uint8Array[], peer: TunnelPeer, wake: boolean): Promise<void>;
  removePeer(publicKey: Uint8Array): Promise<void>;
  peers(): Promise<readonly TunnelPeerState[]>;
  /** Lets go of it; device, process and routes stay. */
  close(): void;
}
