/** A DNS message -> a flow record, in the words of Hubble's L7 parser. */
import { randomUUID } from 'node:crypto';
import { formatAddress, isMappedIpv4 } from '../model/address.ts';
import type { DnsEvent } from '../model/dns-event.ts';
import { formatRuleRef } from '../model/policy.ts';
import { EVENT_TYPE, type Flow } from './flow.ts';
import { flowEndpoint, policyLog, policyOf, type Resolver, timestamp } from './to-flow.ts';

/** As gopacket, which Hubble reads messages with, names the codes of RFC 1035 and RFC 2136. */
const CODES: readonly string[] = [
  'No Error',
  'Format Error',
  'Server Failure ',
  'Non-Existent Domain',
  'Not Implemented',
  'Query Refused',
];

export function dnsFlow(event: DnsEvent, resolver: Resolver): Flow {
  const { answer, rules, verdict } = event;
  const client = flowEndpoint(event.client, event.clientIdentity, resolver.endpointAt(event.client), resolver);
  const server = flowEndpoint(event.server, event.serverIdentity, resolver.endpointAt(event.server), resolver);
  const reply = answer !== undefined;
  const [from, to] = reply ? [event.server, event.client] : [event.client, event.server];
  const ports = reply
    ? { source_port: event.serverPort, destination_port: event.clientPort }
    : { source_port: event.clientPort, destination_port: event.serverPort };
  const policies = rules.map((ref) => policyOf(ref, resolver.revisionAt(event.time), resolver));
  const named =
    policies.length === 0 ? {} : { [`egress_${verdict === 'refused' ? 'denied' : 'allowed'}_by`]: policies };
  return {
    time: timestamp(event.time),
    uuid: randomUUID(),
    verdict: verdict === 'refused' ? 'DROPPED' : 'FORWARDED',
    event_type: { type: EVENT_TYPE.L7 },
    traffic_direction: 'EGRESS',
    is_reply: reply,
    IP: {
      source: formatAddress(from),
      destination: formatAddress(to),
      ipVersion: isMappedIpv4(event.client) ? 'IPv4' : 'IPv6',
    },
    l4: event.protocol === 'TCP' ? { TCP: { ...ports, flags: {} } } : { UDP: ports },
    source: reply ? server : client,
    destination: reply ? client : server,
    Type: 'L7',
    node_name: resolver.nodeName,
    emitter: { name: 'sidestep', version: resolver.version },
    ...named,
    ...policyLog(rules, resolver),
    l7: {
      type: reply ? 'RESPONSE' : 'REQUEST',
      dns: {
        query: full(event.name ?? ''),
        ...(answer ? answerFields(answer) : {}),
        observation_source: 'proxy',
        qtypes: event.name === undefined ? [] : [event.type],
      },
    },
    Summary: [messageText(event), ...why(event)].join('; '),
  };
}

function answerFields(answer: NonNullable<DnsEvent['answer']>) {
  return {
    ips: answer.addresses.map(formatAddress),
    ttl: answer.ttl,
    cnames: answer.aliases.map(full),
    rcode: answer.code,
  };
}

function full(name: string): string {
  return `${name}.`;
}

function messageText({ name, type, answer }: DnsEvent): string {
  if (name === undefined) return 'DNS message that cannot be read';
  const asked = `${full(name)} ${type}`;
  if (answer === undefined) return `DNS Query ${asked}`;
  const { code, addresses, aliases, ttl } = answer;
  if (code !== 0) return `DNS Answer RCode: ${CODES[code] ?? code} (Proxy ${asked})`;
  const parts = [
    ...(addresses.length > 0 ? [`"${addresses.map(formatAddress).join(',')}"`] : []),
    ...(aliases.length > 0 ? [`CNAMEs: "${aliases.map(full).join(',')}"`] : []),
  ];
  return `DNS Answer ${[...parts, `TTL: ${ttl}`].join(' ')} (Proxy ${asked})`;
}

function why({ verdict, rules, answer }: DnsEvent): string[] {
  if (rules.length === 0 || answer !== undefined) return [];
  const named = rules.map(formatRuleRef).join(', ');
  return [verdict === 'refused' ? `egress denied: not admitted by ${named}` : `egress allowed by ${named}`];
}
