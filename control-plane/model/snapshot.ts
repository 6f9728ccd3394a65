/**
 * What the kernel must hold: the compiler's whole output. Immutable; a change makes a new one with a higher revision.
 * Station order: sources -> api -> policy/identity -> Snapshot -> datapath.
 */
import type { Direction, DnsRule, HttpMatch, NameMatch, Origin, PolicyNote, PolicyRef, RuleRef } from './policy.ts';

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
  /**
   * Keys into Snapshot.tables. `authentication`: what peers on other nodes ask for, see PEER_AUTHENTICATION; '' is nothing.
   * `auditEgress`, `auditIngress`: the same direction with what is only audited counted in; asked when the other admits, and
   * what it denies passes with the verdict AUDIT. Where it redirects, its ruleset counts instead of the other's: it says
   * what is enforced, too. '' where nothing is audited.
   */
  readonly tables: { readonly [direction in Direction]: string } & {
    readonly authentication: string;
    readonly auditEgress: string;
    readonly auditIngress: string;
  };
  /** It asks for names that policy knows: answers of DNS to it wait until what they say is in the kernel. */
  readonly learnsNames: boolean;
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

/** Must both ends be proven before a flow passes, and its packets be encrypted between nodes? */
export type Authentication =
  | 'none'
  | 'required'
  /** Cilium's test-always-fail: no proof is good enough, nothing passes. */
  | 'always-fail';

export interface TableEntry {
  /** 0: every identity. */
  readonly identity: number;
  /** IP protocol, 0 with prefix 0: every protocol. */
  readonly protocol: number;
  /** Destination port, or ICMP type. */
  readonly port: number;
  /** Bits of {protocol, pad, port} that count: 0 (all), 16 (protocol), 17 to 31 (a range of ports), 32 (one port). */
  readonly prefix: number;
  /**
   * redirect: through this node's Envoy, which holds each request (or TLS name) against the ruleset. dns: each query is held
   * against the ruleset by the agent.
   */
  readonly verdict: 'allow' | 'deny' | 'redirect' | 'dns';
  /** Higher wins between an identity's own entry and the entry for every identity. */
  readonly precedence: number;
  /** Rule id, see Snapshot.origins. */
  readonly rule: number;
  /** Of a redirect, see Snapshot.rulesets; otherwise 0. */
  readonly ruleset: number;
  /**
   * Between an identity's own entry and the one for every identity, that of the winner counts. `inherit` says nothing by
   * itself: it takes what the loser says, if there is one, if its precedence is the same, and if that is not `inherit`
   * too; otherwise it is `none`. Precedence and inheritance between prefixes of one identity were solved by the compiler.
   * `host` and `world` are never authenticated: their own entries say `none`, but the entry for every identity may win
   * for them, so that who looks up must leave these two identities out by itself (with the rule that decided it all the same).
   */
  readonly auth: Authentication | 'inherit';
}

/**
 * How the keys of a further kind of table begin: what must be proven of flows from an endpoint here to identities on other
 * nodes because the *ingress* policy there asks for it, so that this node holds, proves and tunnels before the first packet
 * leaves. One look-up, by the identity on the other node; there is no entry for every identity, and no entry, or `none`,
 * asks for nothing. Nothing is denied by it: `verdict` is always allow. `rule` names the peer's rule that admits the flow.
 * For a peer on this node its own ingress table speaks, and this one has no say.
 */
export const PEER_AUTHENTICATION = 'authentication ';

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

/** TLS names (SNI) that one rule of a port admits: names and patterns, see model/dns-name.ts. */
export interface ServerNameRule {
  readonly ref: RuleRef;
  readonly names: readonly string[];
}

/** What passes at a decision point: a request (TLS name, query) that any part admits; each part is sorted. */
export interface Admission {
  /** HTTP rules, and plain ones, which admit everything of whatever kind. */
  readonly rules: readonly RulesetRule[];
  /** Absent: none. */
  readonly serverNames?: readonly ServerNameRule[];
  /** Only behind the verdict `dns`. Absent: none. */
  readonly dns?: readonly DnsRule[];
}

/** What Envoy (the agent, for DNS) holds requests against: the content of one decision point. */
export interface Ruleset extends Admission {
  /** Of the decision point: an edit of its content keeps it, so that connections that are open obey the edit. */
  readonly id: number;
  readonly direction: Direction;
  /** The decision point: table, port, and the rules that meet there. */
  readonly key: string;
  /**
   * In a table of what is audited: what would pass if everything were enforced. What only the rest of the ruleset admits
   * passes with the verdict AUDIT. Absent in a table that is enforced.
   */
  readonly shadow?: Admission;
}

/** What a workload's certificate names. */
export interface ServiceAccountRef {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** What must be proven between this node and another for every flow under authentication that policy makes possible. */
export interface NodeNeeds {
  readonly node: string;
  /** Of workloads here, to be proven to that node; sorted. */
  readonly ours: readonly ServiceAccountRef[];
  /** Of workloads there, to be proven by it; sorted. */
  readonly theirs: readonly ServiceAccountRef[];
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
  /** It is only audited, by an annotation of its own. */
  readonly audit: boolean;
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
  /** By noteKey. */
  readonly notes: ReadonlyMap<string, PolicyNote>;
  /** By id; what the tables' redirects point to. */
  readonly rulesets: ReadonlyMap<number, Ruleset>;
  /** Other nodes by name, each with its number in the kernel: 1 to 65535, kept over restarts. This node is 0. */
  readonly nodes: ReadonlyMap<string, number>;
  /** What policy admits by name here: names that any of them takes are learned before their answer reaches a workload. */
  readonly names: readonly NameMatch[];
  /** Sorted by node; a node with which nothing must be proven is missing. */
  readonly needs: readonly NodeNeeds[];
  /** Of workloads here that need a certificate, flows within this node included; sorted. */
  readonly certified: readonly ServiceAccountRef[];
  readonly policies: readonly PolicySummary[];
  readonly issues: readonly Issue[];
}
