/** The edges of the sessions: channels to nodes that are verified already, and who makes them. Real: tls-transport.ts. */
import type { X509Certificate } from 'node:crypto';
import type { SidestepError } from '../../model/error.ts';
import type { PeerNode } from '../peers.ts';
import type { Message } from './messages.ts';

/** Who is at the other end, by its certificate. */
export interface PeerCertificate {
  readonly node: string;
  readonly spiffeId: string;
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  readonly chain: readonly X509Certificate[];
}

export interface ChannelEvents {
  message(message: Message): void;
  /** Once, and the last call. */
  closed(reason: SidestepError): void;
}

/** Both ends are verified; what one sends the other gets, in order, or the channel ends. */
export interface Channel {
  readonly dialledBy: 'us' | 'them';
  readonly certificate: PeerCertificate;
  /** IP address of the other end, as text. */
  readonly address: string;
  /** 32 bytes that only both ends of this channel can compute (RFC 8446 §7.5). */
  exporter(label: string, context: Uint8Array): Uint8Array;
  /** Messages are kept until this is called. */
  open(events: ChannelEvents): void;
  send(message: Message): void;
  /** Bytes that the other end has not taken yet. */
  readonly backlog: number;
  /** Nothing is read while held. */
  hold(held: boolean): void;
  /** Tells the other end the reason's code, if it can still hear. Calls `closed`. */
  close(reason: SidestepError): void;
}

export interface TransportHost {
  /** This node's name. */
  readonly node: string;
  readonly trustDomain: string;
  /** Which node has this SPIFFE ID? undefined: it is no node's. */
  nodeOf(spiffeId: string): string | undefined;
  knows(node: string): boolean;
  /** Somebody has dialled us: a node that is known. */
  accepted(channel: Channel): void;
  /** Somebody has dialled us and was turned away. */
  turnedAway(address: string, reason: SidestepError): void;
}

export interface Transport {
  /** Port: the one that it listens on. */
  start(host: TransportHost): Promise<{ readonly port: number }>;
  /**
   * @param over when nobody waits for it any more
   * @throws SidestepError: why there is no channel to this very node
   */
  dial(node: PeerNode, over: AbortSignal): Promise<Channel>;
  /** The node's certificate or the trust bundle is another now. */
  refresh(): void;
  close(): Promise<void>;
}

export interface SessionLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}
