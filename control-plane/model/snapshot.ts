/**
 * What the kernel must hold: the compiler's whole output. Immutable; a change makes a new one with a higher revision.
 * Station order: sources -> api -> policy/identity -> Snapshot -> datapath.
 */
import type { Direction, HttpMatch, Origin, PolicyRef, RuleRef } from './policy.ts';

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
  /** redirect: through this node's Envoy, which holds each request against the ruleset. */
  readonly verdict: 'allow' | 'deny' | 'redirect';
  /** Higher wins between an identity's own entry and the entry for every identity. */
  readonly precedence: number;
  /** Rule id, see Snapshot.origins. */
  readonly rule: number;
  /** Of a redirect, see Snapshot.rulesets; otherwise 0. */
  readonly ruleset: number;
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

export interface RulesetRule {
  readonly ref: RuleRef;
  /** Undefined: a plain rule that admits every request. */
  readonly match: HttpMatch | undefined;
}

/** What Envoy holds requests against: the content of one decision point. */
export interface Ruleset {
  /** Of the decision point: an edit of its content keeps it, so that connections that are open obey the edit. */
  readonly id: number;
  readonly direction: Direction;
  /** The decision point: table, port, and the rules that meet there. */
  readonly key: string;
  /** A request that any of them admits passes; sorted. */
  readonly rules: readonly RulesetRule[];
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
  /** By id; what the tables' redirects point to. */
  readonly rulesets: ReadonlyMap<number, Ruleset>;
  readonly policies: readonly PolicySummary[];
  readonly issues: readonly Issue[];
}
