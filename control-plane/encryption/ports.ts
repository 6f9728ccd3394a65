/** The edges of the tunnel: the kernel, time, the log, and what speaks to one kind of WireGuard or the other. */
import type { Kernel } from '../datapath/kernel.ts';
import type { DeviceKernel } from '../datapath/kernel-devices.ts';
import type { NetworkKernel } from '../datapath/kernel-network.ts';
import type { ProcessKernel } from '../datapath/kernel-process.ts';
import type { SidestepError } from '../model/error.ts';
import type { TunnelPeer, TunnelPeerState, TunnelPrefix } from './tunnel.ts';

export type TunnelKernel = NetworkKernel & DeviceKernel & ProcessKernel & Pick<Kernel, 'interfaces'>;

export interface TunnelLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface TunnelSettings {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** UDP. */
  readonly port: number;
  /** On the outer packets. */
  readonly fwmark: number;
}

export interface EnginePeer extends TunnelPeerState {
  readonly presharedKey: Uint8Array;
  readonly keepalive: number;
}

export interface EngineState {
  /** undefined: it has none yet. */
  readonly publicKey: Uint8Array | undefined;
  /** 0: none, or it could not be had. */
  readonly port: number;
  readonly fwmark: number;
  readonly peers: readonly EnginePeer[];
}

/** What the node's own files say and take. */
export interface Machine {
  /** Makes the device's settings what they must be. @returns paths that had to be written. @throws KERNEL_CALL_FAILED */
  settings(device: string): string[];
  /** Cheap. */
  hasDevice(device: string): boolean;
  /** From 0 to 1. */
  random(): number;
}

/** One kind of WireGuard with its device. It watches nothing and repeats nothing: supervised.ts does. */
export interface TunnelEngine {
  readonly kind: 'kernel' | 'user-space';
  /**
   * Takes over what runs, or makes it anew; the device is there then, perhaps down.
   * @throws TUNNEL_FAILED, TUNNEL_UNAVAILABLE, KERNEL_*
   */
  start(): Promise<'found' | 'made'>;
  /** Why it is of no use any more; undefined: it is there. Cheap, asks only the kernel. */
  trouble(): SidestepError | undefined;
  /** @throws TUNNEL_FAILED when it gives no answer */
  state(): Promise<EngineState>;
  /** What is as it should be is left alone. @returns what was not, in words. @throws TUNNEL_REFUSED, TUNNEL_PORT_BUSY */
  configure(settings: TunnelSettings): Promise<readonly string[]>;
  /** Once the device is up: waits until the port is open. @throws TUNNEL_PORT_BUSY, TUNNEL_FAILED */
  listening(port: number): Promise<void>;
  /** @param lost prefixes that it has and is to lose; what it keeps works throughout */
  setPeer(peer: TunnelPeer, lost: readonly TunnelPrefix[]): Promise<void>;
  removePeer(publicKey: Uint8Array): Promise<void>;
  /** Keeps its log within bounds. */
  tidy(): void;
  /** Its last words, where it is a process. */
  lastWords(): readonly string[];
  /** Of its process. */
  readonly pid: number | undefined;
  /** Ends it, so that the next start makes it anew. */
  stop(): Promise<void>;
}
