/** What every peer is given, and what is asked of it. */

import type { Clock } from '../../model/clock.ts';
import type { SidestepError } from '../../model/error.ts';
import type { ProofSink, Whereabouts } from '../peers.ts';
import type { ServiceAccountRef, SvidSource, TrustBundle } from '../svid.ts';
import type { Counters } from './counters.ts';
import type { Limits, Times } from './limits.ts';
import type { SessionLog, Transport } from './ports.ts';
import type { TunnelClaims } from './tunnel-claims.ts';

/** What all peers of a node share. */
export interface PeerContext {
  readonly node: string;
  readonly trustDomain: string;
  /** Of this run of the agent: 16 bytes. */
  readonly boot: Uint8Array;
  readonly tunnel: { readonly publicKey: Uint8Array; readonly port: number };
  readonly source: SvidSource;
  readonly bundle: () => TrustBundle | undefined;
  readonly nodeOf: (spiffeId: string) => string | undefined;
  readonly whereabouts: Whereabouts;
  readonly sink: ProofSink;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: SessionLog;
  readonly counters: Counters;
  readonly times: Times;
  readonly limits: Limits;
  readonly claims: TunnelClaims;
  /** Is this node to have another tunnel key? */
  readonly isRotating: () => boolean;
  /** Of Hellos, over all peers: grows. */
  readonly nextOrdinal: () => number;
  /** May another connection be begun? Why not? */
  readonly roomFor: (what: 'dial' | 'greeting' | 'session') => SidestepError | undefined;
}

/** One node's identities to prove and to have proven. */
export interface Need {
  readonly node: string;
  /** Of this node, to be proven to the other. */
  readonly ours: readonly ServiceAccountRef[];
  readonly theirs: readonly ServiceAccountRef[];
}
