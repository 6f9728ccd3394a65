/** A TLS connection that was passed on by its name, or refused, as a record. */
import { randomUUID } from 'node:crypto';
import { DROP_REASONS } from '../generated/reasons.ts';
import { formatAddress, isMappedIpv4 } from '../model/address.ts';
import { nameFits } from '../model/dns-name.ts';
import { DIRECTIONS, type Direction, formatRuleRef, type RuleRef } from '../model/policy.ts';
import type { Admission } from '../model/snapshot.ts';
import type { TlsEvent } from '../model/tls-event.ts';
import { EVENT_TYPE, type Flow } from './flow.ts';
import { flowEndpoint, policyLog, policyOf, type Resolver, timestamp } from './to-flow.ts';

/** Of halves that layer 4 has decided. */
const PASS_RULESET = 1;

/** What one end says of the name. */
interface Half {
  readonly direction: Direction;
  readonly verdict: 'layer4' | 'allow' | 'audit' | 'deny';
  /** The one that allows, or all that do not. */
  readonly rules: readonly RuleRef[];
}

export function tlsFlow(event: TlsEvent, resolver: Resolver): Flow {
  const { source, destination, serverName, refused } = event;
  const halves = DIRECTIONS.map((direction) => halfOf(direction, event[direction], serverName, resolver));
  const deciding =
    halves.find(({ verdict }) => verdict === (refused ? 'deny' : 'audit')) ??
    halves.findLast(({ verdict }) => verdict !== 'layer4') ??
    halves[0];
  const audited = halves.some(({ verdict }) => verdict === 'audit');
  const revision = resolver.revisionAt(event.time);
  const named = Object.fromEntries(
    halves
      .filter(({ rules }) => rules.length > 0)
      .map(({ direction, verdict, rules }) => [
        `${direction}_${verdict === 'allow' ? 'allowed' : 'denied'}_by`,
        rules.map((ref) => policyOf(ref, revision, resolver)),
      ]),
  );
  const name = serverName === '' ? 'TLS without a name' : `TLS name ${serverName}`;
  return {
    time: timestamp(event.time),
    uuid: randomUUID(),
    ...(refused
      ? {
          verdict: 'DROPPED' as const,
          event_type: { type: EVENT_TYPE.DROP, sub_type: DROP_REASONS.POLICY_DENIED.number },
          drop_reason: DROP_REASONS.POLICY_DENIED.number,
          drop_reason_desc: 'POLICY_DENIED' as const,
        }
      : {
          verdict: audited ? ('AUDIT' as const) : ('FORWARDED' as const),
          event_type: { type: EVENT_TYPE.POLICY_VERDICT },
          is_reply: false,
        }),
    traffic_direction: deciding?.direction === 'egress' ? 'EGRESS' : 'INGRESS',
    IP: {
      source: formatAddress(source),
      destination: formatAddress(destination),
      ipVersion: isMappedIpv4(source) ? 'IPv4' : 'IPv6',
    },
    l4: { TCP: { source_port: event.sourcePort, destination_port: event.destinationPort, flags: {} } },
    source: flowEndpoint(source, event.sourceIdentity, resolver.endpointAt(source), resolver),
    destination: flowEndpoint(destination, event.destinationIdentity, resolver.endpointAt(destination), resolver),
    Type: 'L3_L4',
    node_name: resolver.nodeName,
    emitter: { name: 'sidestep', version: resolver.version },
    ...named,
    ...policyLog(
      halves.flatMap(({ rules }) => rules),
      resolver,
    ),
    Summary: [
      name,
      ...halves.flatMap(halfText),
      ...(refused ? [] : [`passed on for ${Math.round(event.durationMs)}ms`]),
    ].join('; '),
  };
}

function halfOf(direction: Direction, id: number, serverName: string, resolver: Resolver): Half {
  if (id === PASS_RULESET) return { direction, verdict: 'layer4', rules: [] };
  const ruleset = resolver.admission(id);
  const taker = ruleset && takerOf(ruleset.enforced, serverName);
  if (ruleset === undefined || taker === undefined)
    return { direction, verdict: 'deny', rules: refsOf(ruleset?.enforced) };
  const { shadow } = ruleset;
  if (shadow && takerOf(shadow, serverName) === undefined)
    return { direction, verdict: 'audit', rules: refsOf(shadow) };
  return { direction, verdict: 'allow', rules: [taker] };
}

/** A plain rule takes every name, and none at all. */
function takerOf({ rules, serverNames = [] }: Admission, serverName: string): RuleRef | undefined {
  const byName = serverNames.find(({ names }) => names.some((matchPattern) => nameFits({ matchPattern }, serverName)));
  return (serverName === '' ? undefined : byName?.ref) ?? rules.find(({ match }) => match === undefined)?.ref;
}

function refsOf(admission: Admission | undefined): readonly RuleRef[] {
  return [...(admission?.rules ?? []), ...(admission?.serverNames ?? [])].map(({ ref }) => ref);
}

function halfText({ direction, verdict, rules }: Half): string[] {
  const names = rules.map(formatRuleRef).join(', ');
  if (verdict === 'layer4') return [];
  if (verdict === 'allow') return [`${direction} allowed by ${names}`];
  const would = verdict === 'audit' ? 'would be denied' : 'denied';
  return [names === '' ? `${direction} ${would}` : `${direction} ${would}: not admitted by ${names}`];
}
