/**
 * What the kernel must hold: the compiler's whole output. Immutable; a change makes a new one with a higher revision.
 * Station order: sources -> api -> policy/identity -> Snapshot -> datapath.
 */
import type { Direction, Origin, PolicyRef } from './policy.ts';

/** A local pod, before its interface is known. */
export interface WorkloadSpec {
  readonly namespace: string;
  readonly name: string;
  /** metadata.uid, or namespace/name where the manifest has none. A new uid is a new endpoint. */
  readonly uid: string;
  /** Sorted, prefixed labels, e.g. `k8s:app=backend-api`. */
  readonly labels: readonly string[];
  readonly serviceAccount: string;
  /** Path of the network namespace, e.g. /run/netns/backend. */
  readonly netns: string;
  /** 16-byte addresses, see model/address.ts. Never empty. */
  readonly addresses: readonly Uint8Array[];
  readonly identity: number;
  /** Keys into Snapshot.tables. */
  readonly tables: { readonly [direction in Direction]: string };
}

/** ipcache: one address of a pod anywhere. */
export interface AddressIdentity {
  readonly address: Uint8Array;
  readonly identity: number;
  /** Name of the node it is on; '' is this node. */
  readonly node: string;
  readonly namespace: string;
  readonly pod: string;
}

/** ipcache: a range. `bits` counts in the 16-byte form: an IPv4 /24 is 120. */
export interface PrefixIdentity {
  readonly address: Uint8Array;
  readonly bits: number;
  readonly identity: number;
}

export interface TableEntry {
  /** 0: every identity. */
  readonly identity: number;
  /** IP protocol, 0 with prefix 0: every protocol. */
  readonly protocol: number;
  /** Destination port, or ICMP type. */
  readonly port: number;
  /** Bits of {protocol, pad, port} that count: 0 (all), 16 (protocol), 32 (one port). */
  readonly prefix: number;
  readonly verdict: 'allow' | 'deny';
  /** Higher wins between an identity's own entry and the entry for every identity. */
  readonly precedence: number;
  /** Rule id, see Snapshot.origins. */
  readonly rule: number;
}

/** One distinct policy in one direction, shared by every endpoint with the same policy-relevant labels. */
export interface PolicyTable {
  /** Same key = same set of endpoints; the content may differ from revision to revision. */
  readonly key: string;
  readonly direction: Direction;
  /** false: no policy asks for default deny here; what no entry matches is allowed. */
  readonly enforcing: boolean;
  /** Rule id of what refuses when nothing matches. */
  readonly defaultRule: number;
  readonly entries: readonly TableEntry[];
}

export interface IdentityInfo {
  readonly id: number;
  /** Sorted, prefixed. */
  readonly labels: readonly string[];
}

export interface PolicySummary {
  readonly ref: PolicyRef;
  /** Path of the file it came from. */
  readonly origin: string;
  readonly state: 'accepted' | 'last-good' | 'refused';
  readonly issues: readonly Issue[];
  /** Local endpoints it selects, namespace/name. */
  readonly selects: readonly string[];
}

/** One thing wrong with one object. */
export interface Issue {
  readonly code: string;
  /** Field path inside the object, e.g. spec.egress[0].toGroups; '' for the whole. */
  readonly path: string;
  readonly message: string;
  readonly hint: string;
  /** File, and line where it is known: dir/file.yaml:12. */
  readonly origin: string;
  /** kind/namespace/name where it is known. */
  readonly object: string;
}

export interface Snapshot {
  readonly revision: number;
  /** Every source has delivered its first list. Before that, nothing that is not listed may be removed. */
  readonly synced: boolean;
  readonly workloads: readonly WorkloadSpec[];
  readonly addresses: readonly AddressIdentity[];
  readonly prefixes: readonly PrefixIdentity[];
  readonly tables: ReadonlyMap<string, PolicyTable>;
  readonly identities: ReadonlyMap<number, IdentityInfo>;
  /** Rule id -> what it stands for. Ids of earlier revisions stay for flows still in flight. */
  readonly origins: ReadonlyMap<number, Origin>;
  readonly policies: readonly PolicySummary[];
  readonly issues: readonly Issue[];
}
