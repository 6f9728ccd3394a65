/** A request through Envoy -> flow records, as Hubble's L7 parser makes them: one for the request, one for the response. */
import { randomUUID } from 'node:crypto';
import { formatAddress, isMappedIpv4 } from '../model/address.ts';
import type { HttpEvent, HttpHalf } from '../model/http-event.ts';
import { type Direction, formatRuleRef, type RuleRef } from '../model/policy.ts';
import { EVENT_TYPE, type Flow, type FlowEndpoint, type FlowPolicy } from './flow.ts';
import { type LatentFlows, sizeOfRecord } from './store.ts';
import { flowEndpoint, policyLog, policyOf, type Resolver, timestamp } from './to-flow.ts';

const HALVES: readonly Direction[] = ['egress', 'ingress'];
/** Layer 4 had admitted the connection already. */
const PASS_RULESET = 1;
/** Rulesets below have no HTTP rules: unknown, and admitted at layer 4. */
const FIRST_RULESET = 2;
const VIA_UPSTREAM = 'via_upstream';
/** Letters of a summary beside the URL, and of the name of a rule with what stands around it: for the size of a record. */
const WORDS = 60;
const RULE_WORDS = 100;

/** What is kept of a request. Who was who is looked up when it comes; records are made of it when somebody looks. */
export class HttpRecord implements LatentFlows {
  /** Of a refused request, and of one whose client went away first, there is no response from the server. */
  readonly count: 1 | 2;
  readonly bytes: number;
  readonly #request: NamedRequest;
  #flows: readonly Flow[] | undefined;

  constructor(event: HttpEvent, resolver: Resolver) {
    const client = flowEndpoint(event.source, event.sourceIdentity, resolver.endpointAt(event.source), resolver);
    const at = resolver.endpointAt(event.destination);
    const server = flowEndpoint(event.destination, event.destinationIdentity, at, resolver);
    const [egress, ingress] = [rulesOf(event.egress, resolver), rulesOf(event.ingress, resolver)];
    const revision = resolver.revisionAt(event.time);
    this.#request = { event, client, server, rules: { egress, ingress }, revision, resolver };
    this.count = event.verdict === 'allowed' && event.code !== 0 ? 2 : 1;
    const texts = 2 * event.url.length + WORDS + RULE_WORDS * (egress.length + ingress.length);
    this.bytes = this.count * sizeOfRecord(texts, [client, server]);
  }

  get verdict(): Flow['verdict'] {
    return verdictOf(this.#request.event);
  }

  flows(): readonly Flow[] {
    this.#flows ??= make(this.#request);
    return this.#flows;
  }
}

export function httpFlows(event: HttpEvent, resolver: Resolver): readonly Flow[] {
  return new HttpRecord(event, resolver).flows();
}

interface NamedRequest {
  readonly event: HttpEvent;
  readonly client: FlowEndpoint;
  readonly server: FlowEndpoint;
  /** What each half was held against: the rule that allowed, or all that did not. */
  readonly rules: Readonly<Record<Direction, readonly RuleRef[]>>;
  /** Of the policy in force then. */
  readonly revision: number;
  /** Asked again when records are made of it, for what does not change. */
  readonly resolver: Resolver;
}

function verdictOf({ verdict, egress, ingress }: HttpEvent): 'FORWARDED' | 'AUDIT' | 'DROPPED' {
  if (verdict !== 'allowed') return 'DROPPED';
  return egress.audited || ingress.audited ? 'AUDIT' : 'FORWARDED';
}

/** As Hubble's L7 parser does: one record, or one for the request and one for the response. */
function make(named: NamedRequest): readonly Flow[] {
  const { event } = named;
  const { method, url, protocol, code } = event;
  const why = [...reasons(named), ...headerWords(event)];
  const verdict = verdictOf(event);
  const http = { method, url, protocol };
  const asked: Flow = {
    ...common(named, false),
    verdict,
    time: timestamp(event.time),
    l7: { type: 'REQUEST', http: verdict === 'DROPPED' ? { ...http, code } : http },
    Summary: [`${protocol} ${method} ${url}`, ...why].join('; '),
  };
  if (verdict === 'DROPPED' || code === 0) return [asked];
  const latency = Math.round(event.durationMs);
  const answer = `${protocol} ${code} ${latency}ms (${method} ${url})`;
  const answered: Flow = {
    ...common(named, true),
    verdict,
    time: timestamp(event.time + event.durationMs),
    l7: { type: 'RESPONSE', latency_ns: String(Math.round(event.durationMs * 1e6)), http: { ...http, code } },
    Summary: [answer, ...why, ...byEnvoy(event)].join('; '),
  };
  return [asked, answered];
}

/** @returns e.g. `header x-user is not as asked: DELETE by …#ingress[0]…` */
function headerWords({ headerActions = [] }: HttpEvent): string[] {
  return headerActions.map(({ action, header, rule }) => {
    const by = rule ? ` by ${formatRuleRef(rule)}` : '';
    return `header ${header} is not as asked: ${action}${by}`;
  });
}

/** An error that the server did not send. */
function byEnvoy({ details }: HttpEvent): string[] {
  return details === '' || details === VIA_UPSTREAM ? [] : [`answered by Envoy: ${details}`];
}

type Common = Omit<Flow, 'time' | 'verdict' | 'l7' | 'Summary'>;

/** A response travels the other way: source and destination are those of the packet. */
function common(named: NamedRequest, reply: boolean): Common {
  const { event, client, server, resolver } = named;
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
    ...attribution(named),
  };
}

function decidingHalf(event: HttpEvent): Direction {
  if (event.ingress.audited || event.egress.audited) return event.ingress.audited ? 'ingress' : 'egress';
  return event.deniedBy ?? (event.ingress.ruleset >= FIRST_RULESET ? 'ingress' : 'egress');
}

function rulesOf(half: HttpHalf, resolver: Resolver): readonly RuleRef[] {
  if (half.audited) return resolver.shadow(half.ruleset) ?? [];
  if (half.verdict === 'allow') return half.rule ? [half.rule] : [];
  return half.verdict === 'deny' ? (resolver.ruleset(half.ruleset) ?? []) : [];
}

function attribution({ event, rules, revision, resolver }: NamedRequest): Partial<Flow> {
  const fields: { [key: string]: readonly FlowPolicy[] } = {};
  for (const half of HALVES) {
    if (rules[half].length === 0) continue;
    const named = rules[half].map((ref) => policyOf(ref, revision, resolver));
    const { verdict, audited } = event[half];
    fields[verdict === 'deny' || audited ? `${half}_denied_by` : `${half}_allowed_by`] = named;
  }
  return { ...fields, ...policyLog([...rules.egress, ...rules.ingress], resolver) };
}

function reasons({ event, rules }: NamedRequest): string[] {
  if (event.verdict === 'refused') return [`refused by Envoy: ${event.details || 'malformed'}`];
  return HALVES.flatMap((half) => {
    const { verdict, rule, ruleset, audited } = event[half];
    if (audited) return [`${half} would be denied: not admitted by ${rules[half].map(formatRuleRef).join(', ')}`];
    if (verdict === 'allow') return [`${half} allowed by ${rule ? formatRuleRef(rule) : 'a rule without a name'}`];
    if (verdict !== 'deny') return [];
    if (rules[half].length > 0) return [`${half} denied: not admitted by ${rules[half].map(formatRuleRef).join(', ')}`];
    // Only what takes no route is refused where layer 4 admits.
    if (ruleset === PASS_RULESET) return [`${half} denied: ${event.method} is no request that a rule could admit`];
    return [ruleset === 0 ? `${half} denied: unknown connection` : `${half} denied: by rules of an earlier agent`];
  });
}
