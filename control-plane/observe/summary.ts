/** The words between a flow line's brackets. They name the policy, so that every Hubble client shows it (docs/adr/0003). */
import type { HalfVerdict, KernelEvent } from '../model/event.ts';
import { type Direction, formatPolicyRef, formatRuleRef, type Origin } from '../model/policy.ts';
import type { Layer4, TcpFlagName } from './flow.ts';

/** Hubble's order. */
const FLAG_ORDER: readonly TcpFlagName[] = ['SYN', 'ACK', 'RST', 'FIN', 'PSH', 'URG', 'ECE', 'CWR'];

const ICMPV4_NAMES: Readonly<Record<number, string>> = {
  0: 'EchoReply',
  3: 'DestinationUnreachable',
  5: 'Redirect',
  8: 'EchoRequest',
  11: 'TimeExceeded',
  12: 'ParameterProblem',
};
const ICMPV6_NAMES: Readonly<Record<number, string>> = {
  1: 'DestinationUnreachable',
  2: 'PacketTooBig',
  3: 'TimeExceeded',
  4: 'ParameterProblem',
  128: 'EchoRequest',
  129: 'EchoReply',
};

export function layer4Text(l4: Layer4 | undefined, protocol: number): string {
  if (l4 === undefined) return `IP protocol ${protocol}`;
  if ('TCP' in l4) {
    const flags = FLAG_ORDER.filter((flag) => l4.TCP.flags[flag]);
    return flags.length > 0 ? `TCP Flags: ${flags.join(', ')}` : 'TCP';
  }
  if ('UDP' in l4) return 'UDP';
  if ('SCTP' in l4) return 'SCTP';
  if ('ICMPv4' in l4) return `ICMPv4 ${ICMPV4_NAMES[l4.ICMPv4.type] ?? `type ${l4.ICMPv4.type}`}`;
  return `ICMPv6 ${ICMPV6_NAMES[l4.ICMPv6.type] ?? `type ${l4.ICMPv6.type}`}`;
}

export function originText(half: Direction, verdict: HalfVerdict, origin: Origin | undefined): string {
  const word = verdict.audited
    ? 'would be denied'
    : { none: 'decided', allow: 'allowed', deny: 'denied', redirect: 'sent to Envoy', dns: 'sent to DNS rules' }[
        verdict.verdict
      ];
  if (origin === undefined) return `${half} ${word} by rule ${verdict.rule} of an earlier agent`;
  switch (origin.kind) {
    case 'rules':
      return `${half} ${word} by ${origin.rules.map(formatRuleRef).join(', ')}`;
    case 'default-deny':
      return `${half} ${word} by default, which ${origin.policies.map(formatPolicyRef).join(', ')} switched on`;
    case 'reserved':
      switch (origin.name) {
        case 'none':
          return '';
        case 'local-host':
          return `${half} allowed: this node's own traffic`;
        case 'bypass':
          return `${half} allowed: bypass is on`;
        case 'not-synced':
          return `${half} denied: the endpoint has no policy yet`;
      }
  }
}

export function closeText(event: KernelEvent): string {
  const bytes = event.bytes[0] + event.bytes[1];
  return `closed after ${duration(event.durationMs)}, ${event.packets[0]} packets out, ${event.packets[1]} back, ${bytes} bytes`;
}

function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(1)}ms` : `${(ms / 1000).toFixed(3)}s`;
}
