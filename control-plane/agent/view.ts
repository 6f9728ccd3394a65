/** What the agent shows of itself, over its socket and in `sidestep status`. */

import type { EndpointStatus } from '../datapath/endpoint-status.ts';
import type { EnvoyView } from '../envoy/status.ts';
import type { Issue, PolicySummary } from '../model/snapshot.ts';
import type { FlowStore } from '../observe/store.ts';
import type { NameRow, NamesView } from './naming-plane.ts';
import type { SecureView, TunnelView } from './secure-plane.ts';
import type { RotationView } from './tunnel-rotation.ts';

/** Something that works with less, or not at all, and why. */
export interface Degradation {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

export interface FlowAccounting {
  /** By the kernel programs: reports written into the ring, and lost because it was full. */
  readonly made: number;
  readonly lostInKernel: number;
  /** Taken out of the ring. */
  readonly delivered: number;
  readonly stored: number;
  readonly evicted: number;
  readonly kept: number;
  readonly bytes: number;
  readonly followers: number;
  readonly lostByFollowers: number;
}

export interface AgentStatus {
  readonly version: string;
  readonly instance: string;
  readonly node: string;
  readonly pid: number;
  readonly startedAt: string;
  /** ready: everything is in force. degraded: see `degraded` and `issues`. starting: not yet. */
  readonly health: 'starting' | 'ready' | 'degraded';
  readonly synced: boolean;
  /** Tables of an earlier agent were taken over. */
  readonly adopted: boolean;
  readonly attach: 'tcx' | 'clsact';
  /** Compiled, and in force: behind while Envoy has not yet acknowledged what it needs. Both begin at 1 with each agent. */
  readonly revision: { readonly snapshot: number; readonly kernel: number };
  readonly degraded: readonly Degradation[];
  readonly issues: readonly Issue[];
  readonly endpoints: Readonly<Record<EndpointStatus['state'], number>>;
  readonly policies: Readonly<Record<PolicySummary['state'], number>>;
  readonly identities: number;
  readonly bypass: { readonly all: boolean; readonly namespaces: readonly string[] };
  readonly writes: { readonly total: number; readonly lastChange: number };
  readonly flows: FlowAccounting;
  readonly maps: readonly {
    readonly name: string;
    readonly entries: number;
    readonly maxEntries: number;
    readonly pressure: number;
  }[];
  /** Packets dropped, by reason and direction. */
  readonly drops: readonly {
    readonly reason: string;
    readonly direction: 'EGRESS' | 'INGRESS';
    readonly packets: number;
    readonly bytes: number;
  }[];
  readonly forwarded: { readonly packets: number; readonly bytes: number };
  /** What the kernel programs counted of themselves, see enum statistic of bpf/include/shared.h. */
  readonly statistics: Readonly<Record<string, number>>;
  readonly names: NamesView;
  readonly config: Readonly<Record<string, { readonly value: unknown; readonly origin: string }>>;
}

export interface EndpointRow extends Omit<EndpointStatus, 'addresses'> {
  readonly addresses: readonly string[];
}

export interface IdentityRow {
  readonly id: number;
  readonly labels: readonly string[];
}

export interface PolicyRow {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly state: PolicySummary['state'];
  readonly audit: boolean;
  readonly origin: string;
  readonly selects: readonly string[];
  readonly issues: readonly Issue[];
}

export interface AgentView {
  readonly nodeName: string;
  status(): AgentStatus;
  endpoints(): readonly EndpointRow[];
  /** undefined: no HTTP rule has needed it so far. */
  envoy(): EnvoyView | undefined;
  /** undefined: nothing asks for authentication. */
  authentication(): SecureView | undefined;
  tunnel(): Promise<TunnelView>;
  /** @throws NOT_FOUND, AUTH_*, STATE_UNUSABLE: the key is the same as before */
  rotateTunnelKey(): Promise<RotationView>;
  /** @throws NOT_FOUND, INPUT_INVALID */
  createJoinToken(node: string, ttlMs: number): string;
  identities(): readonly IdentityRow[];
  /** What pods were told of names. */
  names(): readonly NameRow[];
  policies(): readonly PolicyRow[];
  readonly flows: FlowStore;
  /** Prometheus text. */
  metrics(): Promise<string>;
  readonly metricsType: string;
}
