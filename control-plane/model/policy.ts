/** What a policy says, free of the syntax it was written in. The compiler and the evaluator both read this and nothing else. */
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

/** Labels that must all be there. Keys are prefixed: `k8s:app`, `any:app`, `reserved:host` (cilium.md §1.5). */
export interface Selector {
  readonly matchLabels: ReadonlyMap<string, string>;
}

/** Entities of v1 (Cilium's meaning). */
export type Entity = 'all' | 'cluster' | 'host' | 'world';

export type Peers =
  | { readonly kind: 'any' }
  /** An identity matches when a selector or an entity does. Both lists empty: nothing matches. */
  | { readonly kind: 'selected'; readonly selectors: readonly Selector[]; readonly entities: readonly Entity[] };

/** IP protocol numbers that a port rule can name. */
export const PROTOCOLS = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const;

/** RE2 texts that must match in full; absent: anything. */
export interface HttpMatch {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
}

/** One HTTP rule of a port; `ref.rule` e.g. ingress[0].toPorts[0].rules.http[1]. */
export interface HttpRule {
  readonly ref: RuleRef;
  readonly match: HttpMatch;
}

/** `port` 0: every port of the protocol. Protocol ANY is written out by the parser: TCP, UDP and SCTP (Cilium). */
export interface PortMatch {
  readonly protocol: number;
  readonly port: number;
  /** What requests it admits; never empty. Absent: everything, a plain rule. Only TCP with a port that is not 0. */
  readonly http?: readonly HttpRule[];
}

/** Cilium's authentication.mode; test-always-fail stands for a proof that never succeeds. From mild to strict. */
export const AUTHENTICATION_MODES = ['disabled', 'required', 'test-always-fail'] as const;
export type AuthenticationMode = (typeof AUTHENTICATION_MODES)[number];

export interface Rule {
  readonly ref: RuleRef;
  readonly direction: Direction;
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

/** Whether any of them looks into requests. */
export function hasHttp(rules: readonly Rule[]): boolean {
  return rules.some(({ ports }) => ports.some(({ http }) => http !== undefined));
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

export function formatRuleRef(ref: RuleRef): string {
  return `${formatPolicyRef(ref)}#${ref.rule}`;
}
