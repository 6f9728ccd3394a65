/** Records of the events ring -> KernelEvent. The only place that knows their bytes. */

import type { FlowHalf, Event as RawEvent } from '../generated/bpf.ts';
import {
  EVENT_OFFSETS,
  EVENT_SIZE,
  EventFlag,
  EventKind,
  HalfFlag,
  Hook,
  readEvent,
  Security,
  Verdict,
} from '../generated/bpf.ts';
import { DROP_REASON_BY_NUMBER } from '../generated/reasons.ts';
import type { FlowSecurity, HalfVerdict, KernelEvent, Verdict as VerdictName } from '../model/event.ts';

export { EVENT_OFFSETS, EVENT_SIZE };

const VERDICTS: readonly VerdictName[] = ['none', 'allow', 'deny', 'redirect', 'dns'];
const HOOKS = {
  [Hook.HOOK_FROM_WORKLOAD]: 'from-workload',
  [Hook.HOOK_TO_WORKLOAD]: 'to-workload',
  [Hook.HOOK_TO_ENVOY]: 'to-envoy',
} as const;
const KINDS = {
  [EventKind.EVENT_NEW]: 'new',
  [EventKind.EVENT_DROP]: 'drop',
  [EventKind.EVENT_CLOSE]: 'close',
} as const;

export function halfOf(half: FlowHalf): HalfVerdict {
  const { rule, revision, match } = half;
  const audited = (half.flags & HalfFlag.HALF_AUDITED) !== 0;
  return { verdict: VERDICTS[half.verdict] ?? 'none', rule, revision, match, audited };
}

export function securityOf(bits: number): FlowSecurity {
  return {
    authenticated: (bits & Security.SECURITY_AUTHENTICATED) !== 0,
    encrypted: (bits & Security.SECURITY_TUNNEL_OUT) !== 0,
  };
}

/**
 * Decodes `count` records laid end to end.
 * @param bootTime milliseconds since the epoch at CLOCK_MONOTONIC 0
 */
export function decodeEvents(buffer: Uint8Array, count: number, bootTime: number): KernelEvent[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, count * EVENT_SIZE);
  return Array.from({ length: count }, (_, i) => decode(readEvent(view, i * EVENT_SIZE), bootTime));
}

function decode(raw: RawEvent, bootTime: number): KernelEvent {
  const flag = (bit: number): boolean => (raw.flags & bit) !== 0;
  const drop = raw.kind === EventKind.EVENT_DROP;
  const denied = raw.egress.verdict === Verdict.VERDICT_DENY || raw.ingress.verdict === Verdict.VERDICT_DENY;
  return {
    kind: KINDS[raw.kind as keyof typeof KINDS],
    hook: HOOKS[raw.hook as keyof typeof HOOKS],
    time: bootTime + Number(raw.timeNs) / 1e6,
    reason: drop ? DROP_REASON_BY_NUMBER.get(raw.reason) : undefined,
    protocol: raw.protocol,
    tcpFlags: raw.tcpFlags,
    icmpType: raw.icmpType,
    icmpCode: raw.icmpCode,
    // The buffer goes back to the ring reader: what is kept must be a copy.
    source: raw.source.slice(),
    destination: raw.destination.slice(),
    sourcePort: raw.sourcePort,
    destinationPort: raw.destinationPort,
    sourceIdentity: raw.sourceIdentity,
    destinationIdentity: raw.destinationIdentity,
    sourceIfindex: raw.sourceIfindex,
    destinationIfindex: raw.destinationIfindex,
    ifindex: raw.ifindex,
    length: raw.length,
    egress: halfOf(raw.egress),
    ingress: halfOf(raw.ingress),
    adopted: flag(EventFlag.EVENT_ADOPTED),
    bypassed: flag(EventFlag.EVENT_BYPASSED),
    reply: flag(EventFlag.EVENT_REPLY),
    revoked: flag(EventFlag.EVENT_REVOKED),
    related: flag(EventFlag.EVENT_RELATED),
    deniedBy: drop && denied ? (flag(EventFlag.EVENT_INGRESS) ? 'ingress' : 'egress') : undefined,
    security: securityOf(raw.security),
    durationMs: Number(raw.durationNs) / 1e6,
    packets: [Number(raw.packets[0]), Number(raw.packets[1])],
    bytes: [Number(raw.bytes[0]), Number(raw.bytes[1])],
  };
}
