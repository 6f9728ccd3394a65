/** A request through Envoy -> flow records, as Hubble's L7 parser makes them: one for the request, one for the response. */
import { randomUUID } from 'node:crypto';
import { formatAddress, isMappedIpv4 } from '../model/address.ts';
import type { HttpEvent, HttpHalf } from '../model/http-event.ts';
import { type Direction, formatRuleRef, type RuleRef } from '../model/policy.ts';
import { EVENT_TYPE, type Flow, type FlowPolicy } from './flow.ts';
import { flowEndpoint, policyOf, type Resolver, timestamp } from './to-flow.ts';

const HALVES: readonly Direction[] = ['egress', 'ingress'];
/** Layer 4 had admitted the connection already. */
const PASS_RULESET = 1;
/** Rulesets below have no HTTP rules: unknown, and admitted at layer 4. */
const FIRST_RULESET = 2;
const VIA_UPSTREAM = 'via_upstream';

/** A refused request has no response from the server: it is one record, dropped. */
export function httpFlows(event: HttpEvent, resolver: Resolver): Flow[] {
  const { method, url, protocol, code } = event;
  const why = reasons(event, resolver);
  const request = `${protocol} ${method} ${url}`;
  const http = { method, url, protocol };
  if (event.verdict !== 'allowed')
    return [
      {
        ...common(event, resolver, false),
        verdict: 'DROPPED',
        time: timestamp(event.time),
        l7: { type: 'REQUEST', http: { ...http, code } },
        Summary: [request, ...why].join('; '),
      },
    ];
  const asked: Flow = {
    ...common(event, resolver, false),
    verdict: 'FORWARDED',
    time: timestamp(event.time),
    l7: { type: 'REQUEST', http },
    Summary: [request, ...why].join('; '),
  };
  // The client went away first.
  if (code === 0) return [asked];
  const latency = Math.round(event.durationMs);
  const answer = `${protocol} ${code} ${latency}ms (${method} ${url})`;
  const answered: Flow = {
    ...common(event, resolver, true),
    verdict: 'FORWARDED',
    time: timestamp(event.time + event.durationMs),
    l7: { type: 'RESPONSE', latency_ns: String(Math.round(event.durationMs * 1e6)), http: { ...http, code } },
    Summary: [answer, ...why, ...byEnvoy(event)].join('; '),
  };
  return [asked, answered];
}

/** An error that the server did not send. */
function byEnvoy({ details }: HttpEvent): string[] {
  return details === '' || details === VIA_UPSTREAM ? [] : [`answered by Envoy: ${details}`];
}

type Common = Omit<Flow, 'time' | 'verdict' | 'l7' | 'Summary'>;

/** A response travels the other way: source and destination are those of the packet. */
function common(event: HttpEvent, resolver: Resolver, reply: boolean): Common {
  const client = flowEndpoint(event.source, event.sourceIdentity, resolver.endpointAt(event.source), resolver);
  const at = resolver.endpointAt(event.destination);
  const server = flowEndpoint(event.destination, event.destinationIdentity, at, resolver);
  const [from, to] = reply ? [event.destination, event.source] : [event.source, event.destination];
  const ports = reply ? [event.destinationPort, event.sourcePort] : [event.sourcePort, event.destinationPort];
  return {
    uuid: randomUUID(),
    event_type: { type: EVENT_TYPE.L7 },
    traffic_direction: decidingHalf(event) === 'ingress' ? 'INGRESS' : 'EGRESS',
    is_reply: reply,
    IP: {
      source: formatAddress(from),
      destination: formatAddress(to),
      ipVersion: isMappedIpv4(event.source) ? 'IPv4' : 'IPv6',
    },
    l4: { TCP: { source_port: ports[0] ?? 0, destination_port: ports[1] ?? 0, flags: {} } },
    source: reply ? server : client,
    destination: reply ? client : server,
    Type: 'L7',
    node_name: resolver.nodeName,
    emitter: { name: 'sidestep', version: resolver.version },
    ...attribution(event, resolver),
  };
}

function decidingHalf(event: HttpEvent): Direction {
  return event.deniedBy ?? (event.ingress.ruleset >= FIRST_RULESET ? 'ingress' : 'egress');
}

/** What a half was held against: the rule that allowed, or all that did not. */
function rulesOf(half: HttpHalf, resolver: Resolver): readonly RuleRef[] {
  if (half.verdict === 'allow') return half.rule ? [half.rule] : [];
  return half.verdict === 'deny' ? (resolver.ruleset(half.ruleset) ?? []) : [];
}

function attribution(event: HttpEvent, resolver: Resolver): Partial<Flow> {
  const fields: { [key: string]: readonly FlowPolicy[] } = {};
  const revision = resolver.revisionAt(event.time);
  for (const half of HALVES) {
    const rules = rulesOf(event[half], resolver);
    if (rules.length === 0) continue;
    const named = rules.map((ref) => policyOf(ref, revision));
    fields[event[half].verdict === 'deny' ? `${half}_denied_by` : `${half}_allowed_by`] = named;
  }
  return fields;
}

function reasons(event: HttpEvent, resolver: Resolver): string[] {
  if (event.verdict === 'refused') return [`refused by Envoy: ${event.details || 'malformed'}`];
  return HALVES.flatMap((half) => {
    const { verdict, rule, ruleset } = event[half];
    if (verdict === 'allow') return [`${half} allowed by ${rule ? formatRuleRef(rule) : 'a rule without a name'}`];
    if (verdict !== 'deny') return [];
    const rules = rulesOf(event[half], resolver);
    if (rules.length > 0) return [`${half} denied: not admitted by ${rules.map(formatRuleRef).join(', ')}`];
    // Only what takes no route is refused where layer 4 admits.
    if (ruleset === PASS_RULESET) return [`${half} denied: ${event.method} is no request that a rule could admit`];
    return [ruleset === 0 ? `${half} denied: unknown connection` : `${half} denied: by rules of an earlier agent`];
  });
}
