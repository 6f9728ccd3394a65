/** The part of the port to the kernel that makes devices of our own, in the own network namespace: WireGuard, and TAP devices. */

export interface WireGuardPrefix {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly bits: number;
}

export interface WireGuardPeerChange {
  /** 32 bytes each. */
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  /** Of its UDP endpoint, in text. */
  readonly address: string;
  readonly port: number;
  /** Seconds; 0: none. */
  readonly keepalive: number;
  /** All that it is to have: what it had of them it keeps throughout. */
  readonly allowed: readonly WireGuardPrefix[];
  /** What it has and is to lose. */
  readonly lost: readonly WireGuardPrefix[];
}

export interface WireGuardPeerState {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  /** `address:port` or `[address]:port`. */
  readonly endpoint: string | undefined;
  readonly keepalive: number;
  readonly allowed: readonly WireGuardPrefix[];
  /** Milliseconds since the epoch; 0: never. */
  readonly lastHandshake: number;
  readonly received: number;
  readonly sent: number;
}

export interface WireGuardState {
  /** undefined: it has no key yet. */
  readonly publicKey: Uint8Array | undefined;
  readonly port: number;
  readonly fwmark: number;
  readonly peers: readonly WireGuardPeerState[];
}

/**
 * A device that lives as long as it is open. What a program redirects to it is read; what is written comes in by it, and
 * goes where a program at its ingress says.
 */
export interface Tap {
  readonly ifindex: number;
  /**
   * Where in a frame's bytes its Ethernet header begins. What stands before says what the kernel left undone (a checksum, the
   * cutting of a large segment: struct virtio_net_hdr) and must go back as it came.
   */
  readonly headerLength: number;
  /** Frames that the kernel had no room for while they waited to be read. */
  readonly dropped: number;
  /** @throws KERNEL_CALL_FAILED, e.g. for bytes whose header does not fit their content */
  write(frame: Uint8Array): void;
  close(): void;
}

export interface TapEvents {
  /** The bytes are the caller's to keep. */
  frames(frames: readonly Uint8Array[]): void;
  /** Somebody took the device away: open another. */
  gone(): void;
}

/** Failures have the code KERNEL_FEATURE_MISSING where the kernel was built without what is asked for. */
export interface DeviceKernel {
  /** A device of the kernel's own WireGuard, down. @returns false when a device of that name is there, of whatever kind */
  createWireGuard(name: string): boolean;
  /** @throws KERNEL_CALL_FAILED with EADDRINUSE when it is up and another has the port */
  setWireGuard(
    name: string,
    settings: { readonly privateKey: Uint8Array; readonly port: number; readonly fwmark: number },
  ): void;
  /** Makes the peer where there is none. */
  setWireGuardPeer(name: string, peer: WireGuardPeerChange): void;
  /** Without effect when there is none. */
  removeWireGuardPeer(name: string, publicKey: Uint8Array): void;
  wireGuard(name: string): WireGuardState;
  setLinkUp(ifindex: number, mtu: number): void;
  /**
   * An IPv4 address (in text, /32, scope link) of the device alone, which no packet has for a source by itself.
   * @returns false when it was there
   */
  ensureLinkAddress(ifindex: number, address: string): boolean;
  /** @returns false when there was none */
  deleteLink(ifindex: number): boolean;
  /** Up, without addresses and neighbours, so that nothing but what is redirected to it comes to be read. */
  openTap(name: string, events: TapEvents): Tap;
}
