/** What a policy says, free of the syntax it was written in. The compiler and the evaluator both read this and nothing else. */
import type { Prefix } from './address.ts';
import type { Labels } from './labels.ts';

export type Direction = 'egress' | 'ingress';
export const DIRECTIONS = ['egress', 'ingress'] as const satisfies readonly Direction[];

/** The object a rule comes from, e.g. CiliumNetworkPolicy/production/secure-app-access. */
export interface PolicyRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** One rule of it; `rule` is its path under `spec`, e.g. `ingress[0]`. Written kind/namespace/name#rule. */
export interface RuleRef extends PolicyRef {
  readonly rule: string;
}

/** Kubernetes' operators of label selectors, also for Cilium's. */
export const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;
export type Operator = (typeof OPERATORS)[number];

/** One condition on one key. NotIn holds where the key is missing, too (Kubernetes). */
export interface LabelExpression {
  readonly key: string;
  readonly operator: Operator;
  /** Of In and NotIn, never empty; sorted. Otherwise empty. */
  readonly values: readonly string[];
}

/** Conditions that must all hold. Keys are prefixed: `k8s:app`, `any:app`, `reserved:host` (cilium.md §1.5). */
export interface Selector {
  readonly matchLabels: ReadonlyMap<string, string>;
  /** Absent: none. */
  readonly matchExpressions?: readonly LabelExpression[];
}

/**
 * Cilium's entities. world-ipv4 and world-ipv6 are no entities to us but the ranges 0.0.0.0/0 and ::/0. `ingress`, `init`,
 * `health` are identities that nothing has here: they select nothing. `none` selects nothing anywhere.
 */
export const ENTITIES = [
  'all',
  'cluster',
  'host',
  'remote-node',
  'kube-apiserver',
  'world',
  'unmanaged',
  'ingress',
  'init',
  'health',
  'none',
] as const;
export type Entity = (typeof ENTITIES)[number];

/** Addresses of a range without those of parts of it. It matches what is outside of the cluster, never pods or nodes (Cilium). */
export interface CidrMatch {
  readonly prefix: Prefix;
  /** Each inside the prefix. */
  readonly except: readonly Prefix[];
}

/** A CiliumCIDRGroup by name, or those whose labels a selector takes; resolved into CidrMatches before the compiler. */
export interface CidrGroupMatch {
  readonly group: { readonly name: string } | { readonly selector: Selector };
  readonly except: readonly Prefix[];
}

/**
 * Services by name, or those whose labels a selector takes; resolved before the compiler: one with a pod selector stands for the
 * pods that it selects, one without for the addresses of its endpoints.
 */
export interface ServiceMatch {
  /** '': every namespace (Cilium, of a name as of a selector). */
  readonly namespace: string;
  readonly service: { readonly name: string } | { readonly selector: Selector };
}

/** Of toFQDNs and DNS rules: lower case, without the dot at the end. `*` stands for characters of one label, `**.` for labels. */
export type NameMatch = { readonly matchName: string } | { readonly matchPattern: string };

export type Peers =
  | { readonly kind: 'any' }
  /** An identity matches when one of the parts does. All of them empty: nothing matches. Absent: empty. */
  | {
      readonly kind: 'selected';
      readonly selectors: readonly Selector[];
      readonly entities: readonly Entity[];
      readonly cidrs?: readonly CidrMatch[];
      readonly names?: readonly NameMatch[];
      readonly cidrGroups?: readonly CidrGroupMatch[];
      readonly services?: readonly ServiceMatch[];
    };

/** IP protocol numbers that a port rule can name. */
export const PROTOCOLS = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const;

/** What is done about a header that is not as it should be; absent: the rule does not match. Cilium's headerMatches. */
export const MISMATCH_ACTIONS = ['LOG', 'ADD', 'DELETE', 'REPLACE'] as const;
export type MismatchAction = (typeof MISMATCH_ACTIONS)[number];

/** A header that must be there, and have the value if one is named. `name` in lower case. */
export interface HeaderMatch {
  readonly name: string;
  readonly value?: string;
  readonly mismatch?: MismatchAction;
}

/** RE2 texts that must match in full; absent: anything. */
export interface HttpMatch {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** All of them; absent: none. Those of Cilium's `headers` and `headerMatches`. */
  readonly headers?: readonly HeaderMatch[];
}

/** One DNS rule of a port; `ref.rule` e.g. egress[0].toPorts[0].rules.dns[1]. */
export interface DnsRule {
  readonly ref: RuleRef;
  readonly match: NameMatch;
}

/** One HTTP rule of a port; `ref.rule` e.g. ingress[0].toPorts[0].rules.http[1]. */
export interface HttpRule {
  readonly ref: RuleRef;
  readonly match: HttpMatch;
}

/** Protocol ANY is written out by the parser: TCP, UDP and SCTP (Cilium). */
export interface PortMatch {
  readonly protocol: number;
  /** 0: every port of the protocol. Of ICMP and ICMPv6 the type, where 0 is a type like any other. */
  readonly port: number;
  /** Last port of a range, above `port`; absent: one port. */
  readonly endPort?: number;
  /** A named port, `port` being 0: resolved before the compiler by the container ports of the pods that are asked for. */
  readonly name?: string;
  /** What requests it admits; never empty. Absent: everything, a plain rule. Only TCP with a port that is not 0. */
  readonly http?: readonly HttpRule[];
  /** What names may be asked for; never empty. Absent: everything. Only egress, a port that is not 0, no range. */
  readonly dns?: readonly DnsRule[];
  /** What TLS names (SNI) may be asked for; never empty. Absent: everything. Only TCP with a port that is not 0. */
  readonly serverNames?: readonly string[];
}

/** Cilium's authentication.mode; test-always-fail stands for a proof that never succeeds. From mild to strict. */
export const AUTHENTICATION_MODES = ['disabled', 'required', 'test-always-fail'] as const;
export type AuthenticationMode = (typeof AUTHENTICATION_MODES)[number];

export interface Rule {
  readonly ref: RuleRef;
  readonly direction: Direction;
  /** It refuses what it matches, whatever others allow. Absent: it allows. */
  readonly deny?: true;
  readonly peers: Peers;
  /** Empty: every protocol and port. */
  readonly ports: readonly PortMatch[];
  /** Absent: nothing is said, and what a broader rule says holds (cilium.md §1.4). */
  readonly authentication?: AuthenticationMode;
}

export interface Policy {
  readonly ref: PolicyRef;
  /** Which endpoints it applies to; the namespace is part of the labels. */
  readonly subject: Selector;
  /** Directions in which it switches default deny on. */
  readonly defaultDeny: { readonly [direction in Direction]: boolean };
  readonly rules: readonly Rule[];
  /** It denies nothing; what it would is let pass and named AUDIT. Absent: it is enforced. */
  readonly audit?: true;
  /** Of `log.value`: goes along with what its rules decide. */
  readonly log?: string;
  /** Of `labels`, source:key=value; for whoever reads what its rules decide. Absent: none. */
  readonly labels?: readonly string[];
  /** It was refused and stands for "nothing is allowed" (design: a new bad object fails closed). */
  readonly refused: boolean;
}

/** Where a verdict comes from; a rule id in the kernel stands for one of these. */
export type Origin =
  | { readonly kind: 'rules'; readonly rules: readonly RuleRef[] }
  | { readonly kind: 'default-deny'; readonly policies: readonly PolicyRef[] }
  | { readonly kind: 'reserved'; readonly name: 'none' | 'local-host' | 'bypass' | 'not-synced' };

/** An identity as selectors see it. */
export interface IdentityLabels {
  readonly id: number;
  readonly labels: Labels;
}

/** Whether a policy has a say in a direction for the endpoints it selects. */
export function concerns(policy: Policy, direction: Direction): boolean {
  return policy.defaultDeny[direction] || policy.rules.some((rule) => rule.direction === direction);
}

/** Whether a port's rule looks into what passes: HTTP requests, TLS names, DNS queries. */
export function looksInside({ http, serverNames, dns }: PortMatch): boolean {
  return http !== undefined || serverNames !== undefined || dns !== undefined;
}

/** Whether any of them does. */
export function hasLayer7(rules: readonly Rule[]): boolean {
  return rules.some(({ ports }) => ports.some(looksInside));
}

/** Whether any of them says whether peers must be proven. */
export function hasAuthentication(rules: readonly Rule[]): boolean {
  return rules.some(({ authentication }) => authentication !== undefined);
}

/** 0 where nothing is asked for. */
export function strictness(mode: AuthenticationMode | undefined): number {
  return mode === undefined ? 0 : AUTHENTICATION_MODES.indexOf(mode);
}

/** Of modes that meet the strictest counts; undefined when none of the rules says anything. */
export function strictest(rules: Iterable<Pick<Rule, 'authentication'>>): AuthenticationMode | undefined {
  let found: AuthenticationMode | undefined;
  for (const { authentication: mode } of rules)
    if (mode !== undefined && (found === undefined || strictness(mode) > strictness(found))) found = mode;
  return found;
}

export function formatPolicyRef(ref: PolicyRef): string {
  return ref.namespace === '' ? `${ref.kind}/${ref.name}` : `${ref.kind}/${ref.namespace}/${ref.name}`;
}

/** What people wrote beside rules, for whoever reads what they decide. */
export interface PolicyNote {
  /** Of `log.value`. */
  readonly logs: readonly string[];
  /** Of `labels`, source:key=value. */
  readonly labels: readonly string[];
}

/** Which notes are a rule's: those of its policy, or of its place in `specs`. */
export function noteKey(ref: PolicyRef | RuleRef): string {
  const spec = 'rule' in ref ? /^specs\[\d+\]/.exec(ref.rule)?.[0] : undefined;
  return spec === undefined ? formatPolicyRef(ref) : `${formatPolicyRef(ref)}#${spec}`;
}

export function formatRuleRef(ref: RuleRef): string {
  return `${formatPolicyRef(ref)}#${ref.rule}`;
}
