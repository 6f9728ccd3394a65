/** A kernel event, with names instead of numbers. */
import { randomUUID } from 'node:crypto';
import { DROP_REASONS } from '../generated/reasons.ts';
import { formatAddress, isMappedIpv4 } from '../model/address.ts';
import type { HalfVerdict, KernelEvent } from '../model/event.ts';
import type { Direction, Origin, PolicyNote, PolicyRef, RuleRef } from '../model/policy.ts';
import type { Admission } from '../model/snapshot.ts';
import {
  EVENT_TYPE,
  type Flow,
  type FlowEndpoint,
  type FlowPolicy,
  type Layer4,
  type TcpFlagName,
  TRACE_TO_ENDPOINT,
  TRACE_TO_STACK,
} from './flow.ts';
import { closeText, layer4Text, originText } from './summary.ts';

/** What the agent knows of numbers and addresses. */
export interface Resolver {
  readonly nodeName: string;
  readonly version: string;
  /** Labels of an identity, sorted and prefixed. */
  labels(identity: number): readonly string[] | undefined;
  pod(address: Uint8Array): { readonly namespace: string; readonly name: string } | undefined;
  origin(rule: number): Origin | undefined;
  /** What its author wrote beside a rule, or a policy; undefined: nothing. */
  note(ref: PolicyRef | RuleRef): PolicyNote | undefined;
  /** What requests under a decision point are held against. */
  ruleset(id: number): readonly RuleRef[] | undefined;
  /** The whole of it, for what is no request. */
  admission(id: number): { readonly enforced: Admission; readonly shadow: Admission | undefined } | undefined;
  /** What they would be held against if everything were enforced; undefined: that is the same. */
  shadow(id: number): readonly RuleRef[] | undefined;
  endpoint(ifindex: number): { readonly id: number; readonly interface: string } | undefined;
  /** Why two ends are not proven to each other, in words. */
  unproven(source: Uint8Array, destination: Uint8Array): string | undefined;
  /** Id of the endpoint of this node that has the address. */
  endpointAt(address: Uint8Array): number | undefined;
  /** Of the policy that was in force at a time, in milliseconds since the epoch; 0 where nobody knows. */
  revisionAt(time: number): number;
}

const TCP_FLAGS: readonly (readonly [number, TcpFlagName])[] = [
  [0x01, 'FIN'],
  [0x02, 'SYN'],
  [0x04, 'RST'],
  [0x08, 'PSH'],
  [0x10, 'ACK'],
  [0x20, 'URG'],
  [0x40, 'ECE'],
  [0x80, 'CWR'],
];

export function toFlow(event: KernelEvent, resolver: Resolver): Flow {
  const l4 = layer4(event);
  const halves = { egress: event.egress, ingress: event.ingress };
  const notes = [layer4Text(l4, event.protocol)];
  if (event.kind === 'close') notes.push(closeText(event));
  for (const direction of ['egress', 'ingress'] as const)
    notes.push(...halfText(direction, halves[direction], resolver));
  notes.push(securityText(event, resolver));
  if (event.adopted && event.kind === 'new') notes.push('adopted mid-stream');
  if (event.revoked)
    notes.push(event.kind === 'drop' ? 'revoked by a policy change' : 'a policy change would revoke it');
  const at = resolver.endpoint(event.ifindex);
  const idOf = (ifindex: number): number | undefined => (ifindex === 0 ? undefined : resolver.endpoint(ifindex)?.id);
  return {
    time: timestamp(event.time),
    uuid: randomUUID(),
    ...kindOf(event),
    ...(event.security.authenticated ? { auth_type: 'SPIRE' as const } : {}),
    IP: {
      source: formatAddress(event.source),
      destination: formatAddress(event.destination),
      ipVersion: isMappedIpv4(event.source) ? 'IPv4' : 'IPv6',
      ...(event.security.encrypted ? { encrypted: true as const } : {}),
    },
    ...(l4 ? { l4 } : {}),
    source: flowEndpoint(event.source, event.sourceIdentity, idOf(event.sourceIfindex), resolver),
    destination: flowEndpoint(event.destination, event.destinationIdentity, idOf(event.destinationIfindex), resolver),
    Type: 'L3_L4',
    node_name: resolver.nodeName,
    ...(at ? { interface: { index: event.ifindex, name: at.interface } } : {}),
    emitter: { name: 'sidestep', version: resolver.version },
    ...attribution(event, resolver),
    Summary: notes.filter((note) => note !== '').join('; '),
  };
}

/** How the ends are proven and the packets protected; of a refusal, why they are not. */
function securityText(event: KernelEvent, resolver: Resolver): string {
  if (event.kind === 'drop')
    return event.reason === 'AUTH_REQUIRED' ? (resolver.unproven(event.source, event.destination) ?? '') : '';
  const { authenticated, encrypted } = event.security;
  const here = event.sourceIfindex !== 0 && event.destinationIfindex !== 0;
  const encryption = encrypted ? 'encrypted: yes' : here ? 'encrypted: no (same node)' : 'encrypted: no';
  return authenticated ? `authenticated, ${encryption}` : encrypted ? encryption : '';
}

/** RFC 3339 with microseconds: the kernel's clock is that exact, JavaScript's dates are not. */
export function timestamp(milliseconds: number): string {
  const whole = Math.floor(milliseconds);
  const micros = Math.floor((milliseconds - whole) * 1000);
  return new Date(whole).toISOString().replace('Z', `${String(micros).padStart(3, '0')}Z`);
}

function isEnforced(half: HalfVerdict): boolean {
  return half.verdict !== 'none' && half.rule !== 0;
}

/** The half that would be refused if everything were enforced, as Hubble's audit mode tells it; otherwise one that a rule decided. */
function rulingHalf({ egress, ingress }: KernelEvent): Direction | undefined {
  if (ingress.audited) return 'ingress';
  if (egress.audited) return 'egress';
  return isEnforced(ingress) ? 'ingress' : isEnforced(egress) ? 'egress' : undefined;
}

function kindOf(event: KernelEvent): Pick<Flow, 'verdict' | 'event_type' | 'traffic_direction'> & Partial<Flow> {
  if (event.kind === 'drop') {
    const reason = event.reason ?? 'POLICY_DENIED';
    return {
      verdict: 'DROPPED',
      event_type: { type: EVENT_TYPE.DROP, sub_type: DROP_REASONS[reason].number },
      drop_reason: DROP_REASONS[reason].number,
      drop_reason_desc: reason,
      traffic_direction:
        event.deniedBy === undefined
          ? event.hook === 'from-workload'
            ? 'EGRESS'
            : 'INGRESS'
          : direction(event.deniedBy),
    };
  }
  const ruled = rulingHalf(event);
  if (event.kind === 'new' && ruled !== undefined) {
    const redirected = event.egress.verdict === 'redirect' || event.ingress.verdict === 'redirect';
    return {
      verdict: event[ruled].audited ? 'AUDIT' : redirected ? 'REDIRECTED' : 'FORWARDED',
      event_type: { type: EVENT_TYPE.POLICY_VERDICT },
      traffic_direction: direction(ruled),
      policy_match_type: event[ruled].match,
      is_reply: false,
    };
  }
  const local = event.destinationIfindex !== 0;
  return {
    verdict: 'FORWARDED',
    event_type: { type: EVENT_TYPE.TRACE, sub_type: local ? TRACE_TO_ENDPOINT : TRACE_TO_STACK },
    traffic_direction: local ? 'INGRESS' : 'EGRESS',
    trace_observation_point: local ? 'TO_ENDPOINT' : 'TO_STACK',
    trace_reason: event.kind === 'new' ? 'NEW' : 'ESTABLISHED',
    is_reply: false,
  };
}

function direction(half: Direction): 'INGRESS' | 'EGRESS' {
  return half === 'ingress' ? 'INGRESS' : 'EGRESS';
}

function layer4(event: KernelEvent): Layer4 | undefined {
  const ports = { source_port: event.sourcePort, destination_port: event.destinationPort };
  switch (event.protocol) {
    case 6:
      return {
        TCP: {
          ...ports,
          flags: Object.fromEntries(TCP_FLAGS.flatMap(([bit, name]) => (event.tcpFlags & bit ? [[name, true]] : []))),
        },
      };
    case 17:
      return { UDP: ports };
    case 132:
      return { SCTP: ports };
    case 1:
      return { ICMPv4: { type: event.icmpType, code: event.icmpCode } };
    case 58:
      return { ICMPv6: { type: event.icmpType, code: event.icmpCode } };
    default:
      return undefined;
  }
}

/** @param id of the endpoint, undefined for one that is not on this node */
export function flowEndpoint(
  address: Uint8Array,
  identity: number,
  id: number | undefined,
  resolver: Resolver,
): FlowEndpoint {
  const pod = resolver.pod(address);
  return {
    ...(id === undefined ? {} : { ID: id }),
    identity,
    ...(pod ? { namespace: pod.namespace } : {}),
    labels: resolver.labels(identity) ?? [],
    ...(pod ? { pod_name: pod.name } : {}),
  };
}

function halfText(half: Direction, verdict: HalfVerdict, resolver: Resolver): string[] {
  if (!isEnforced(verdict)) return [];
  return [originText(half, verdict, resolver.origin(verdict.rule))];
}

function attribution(event: KernelEvent, resolver: Resolver): Partial<Flow> {
  const fields: { -readonly [key in keyof Flow]?: Flow[key] } = {};
  const named: (PolicyRef | RuleRef)[] = [];
  for (const half of ['egress', 'ingress'] as const) {
    const { verdict, rule, revision, audited } = event[half];
    const denied = audited || verdict === 'deny';
    const origin = resolver.origin(rule);
    if (verdict === 'none' || origin === undefined || origin.kind === 'reserved') continue;
    const refs = origin.kind === 'rules' ? origin.rules : origin.policies;
    named.push(...refs);
    fields[denied ? (`${half}_denied_by` as const) : (`${half}_allowed_by` as const)] = refs.map((ref) =>
      policyOf(ref, revision, resolver),
    );
  }
  return { ...fields, ...policyLog(named, resolver) };
}

/** Of the policies that a record names; each once. */
export function policyLog(named: readonly (PolicyRef | RuleRef)[], resolver: Resolver): Pick<Flow, 'policy_log'> {
  const logs = [...new Set(named.flatMap((ref) => resolver.note(ref)?.logs ?? []))];
  return logs.length === 0 ? {} : { policy_log: logs };
}

export function policyOf(ref: PolicyRef | RuleRef, revision: number, resolver: Resolver): FlowPolicy {
  const { kind, namespace, name } = ref;
  return {
    name,
    namespace,
    labels: [...('rule' in ref ? [`sidestep:rule=${ref.rule}`] : []), ...(resolver.note(ref)?.labels ?? [])],
    revision: String(revision),
    kind,
  };
}
