/** What Envoy tells of each request -> HttpEvent. Where it comes from and whom it concerns the kernel said, not a header. */
import { parseAddress } from '../model/address.ts';
import type { HeaderActionTaken, HttpEvent, HttpHalf } from '../model/http-event.ts';
import { type Direction, MISMATCH_ACTIONS, type RuleRef } from '../model/policy.ts';
import type { TlsEvent } from '../model/tls-event.ts';
import { clientStreamService, type Service } from '../xds/grpc-server.ts';
import {
  type HttpLogEntry,
  type Instant,
  logEntries,
  type SocketAddress,
  type TcpLogEntry,
} from './access-log-wire.ts';

const METHOD = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';
const RBAC = 'envoy.filters.http.rbac';
/** envoy.config.core.v3.RequestMethod, by number. */
const METHODS = ['', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
/** envoy.data.accesslog.v3.HTTPAccessLogEntry.HTTPVersion, by number. */
const VERSIONS = ['HTTP', 'HTTP/1.0', 'HTTP/1.1', 'HTTP/2', 'HTTP/3'];
/** What an allowed request is named after when layer 4 had decided. */
const LAYER4 = 'layer4';
const HEADERS = /^(egress|ingress)_headers_\d+_enforced_effective_policy_id$/;
const AUDITED = { audited: true } as const;
const NOT_AUDITED = {};
/** What the filters say when no rule takes a connection. */
const REFUSED = 'rbac_access_denied_matched_policy[';
const UNKNOWN: SocketAddress = { address: '::', port_value: 0 };
/** Of a URL that is kept: clients choose how long theirs is. */
const MOST_URL = 2048;
/** Addresses, and names of rules. */
const MOST_REMEMBERED = 4096;

/** The access log service: Envoy is the only client, its socket nobody else's. */
export function accessLogService(record: (event: HttpEvent) => void, recordTls: (event: TlsEvent) => void): Service {
  return clientStreamService(METHOD, () => ({
    message: (bytes) => {
      for (const entry of logEntries(bytes))
        if ('request' in entry) record(httpEvent(entry));
        else recordTls(tlsEvent(entry));
    },
    closed: () => undefined,
  }));
}

export function tlsEvent({ common_properties: common }: TcpLogEntry): TlsEvent {
  const text = (key: string): string => common.filter_state_objects.get(`sidestep.${key}`) ?? '';
  const state = (key: string): number => Number(text(key)) || 0;
  const from = common.downstream_direct_remote_address ?? UNKNOWN;
  const to = common.downstream_local_address ?? UNKNOWN;
  return {
    time: millisecondsOf(common.start_time),
    source: addressOf(from),
    destination: addressOf(to),
    sourcePort: from.port_value,
    destinationPort: to.port_value,
    sourceIdentity: state('source_identity'),
    destinationIdentity: state('destination_identity'),
    egress: state('egress'),
    ingress: state('ingress'),
    serverName: text('server_name').toLowerCase(),
    refused: common.connection_termination_details?.startsWith(REFUSED) === true,
    durationMs: millisecondsOf(common.duration),
  };
}

export function httpEvent({ common_properties: common, protocol_version, request, response }: HttpLogEntry): HttpEvent {
  const state = (key: string): number => Number(common.filter_state_objects.get(`sidestep.${key}`) ?? 0) || 0;
  const words = common.metadata.get(RBAC);
  const half = (direction: Direction): HttpHalf => {
    const result = words?.get(`${direction}_enforced_engine_result`);
    const name = words?.get(`${direction}_enforced_effective_policy_id`) ?? '';
    const ruleset = state(direction);
    if (result === undefined) return { ruleset, verdict: 'none', rule: undefined };
    if (result !== 'allowed') return { ruleset, verdict: 'deny', rule: undefined };
    const shadow = words?.get(`${direction}_shadow_engine_result`);
    const audited = shadow === 'denied' ? AUDITED : NOT_AUDITED;
    if (name === LAYER4) return { ruleset, verdict: 'layer4', rule: undefined, ...audited };
    return { ruleset, verdict: 'allow', rule: ruleNamed(name), ...audited };
  };
  const egress = half('egress');
  const ingress = half('ingress');
  const deniedBy = egress.verdict === 'deny' ? 'egress' : ingress.verdict === 'deny' ? 'ingress' : undefined;
  const from = common.downstream_direct_remote_address ?? UNKNOWN;
  const to = common.downstream_local_address ?? UNKNOWN;
  return {
    time: millisecondsOf(common.start_time),
    source: addressOf(from),
    destination: addressOf(to),
    sourcePort: from.port_value,
    destinationPort: to.port_value,
    sourceIdentity: state('source_identity'),
    destinationIdentity: state('destination_identity'),
    method: METHODS[request.request_method] || (request.request_headers.get(':method') ?? 'OTHER'),
    url: shortened(`http://${request.authority}${request.path}`),
    protocol: VERSIONS[protocol_version] ?? 'HTTP',
    code: response.response_code,
    durationMs: millisecondsOf(common.duration),
    verdict: deniedBy !== undefined ? 'denied' : ingress.verdict === 'none' ? 'refused' : 'allowed',
    deniedBy,
    egress,
    ingress,
    ...headerActions(words),
    details: response.response_code_details,
  };
}

/** Leaves of traffic/header-actions.ts: `ACTION header rule value` a line. */
function headerActions(words: ReadonlyMap<string, string> | undefined): Pick<HttpEvent, 'headerActions'> {
  const taken: HeaderActionTaken[] = [];
  for (const [key, leaf] of words ?? []) {
    const direction = HEADERS.exec(key)?.[1];
    if (direction !== 'egress' && direction !== 'ingress') continue;
    for (const line of leaf.split('\n')) {
      const [word, header = '', rule = ''] = line.split(' ');
      const action = MISMATCH_ACTIONS.find((known) => known === word);
      if (action !== undefined) taken.push({ direction, action, header, rule: ruleNamed(rule) });
    }
  }
  return taken.length === 0 ? {} : { headerActions: taken };
}

/** A link-local address comes with its zone, which says nothing of whose it is. */
const addressNamed = remembered((text: string) => parseAddress(text.replace(/%.*$/, '')));
const ruleNamed = remembered(parseRuleRef);

function addressOf({ address }: SocketAddress): Uint8Array {
  return addressNamed(address);
}

/** The same few come with request after request; and what is kept of them is then kept once. */
function remembered<T>(make: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>();
  return (text) => {
    const found = known.get(text);
    if (found !== undefined) return found;
    if (known.size >= MOST_REMEMBERED) known.clear();
    const made = make(text);
    known.set(text, made);
    return made;
  };
}

function shortened(url: string): string {
  return url.length > MOST_URL ? `${url.slice(0, MOST_URL)}…` : url;
}

/** @returns undefined for a name that is not a rule's */
export function parseRuleRef(text: string): RuleRef | undefined {
  const match = /^([^/#]+)\/(?:([^/#]+)\/)?([^/#]+)#(.*)$/.exec(text);
  if (match === null) return undefined;
  const [, kind = '', namespace = '', name = '', rule = ''] = match;
  return { kind, namespace, name, rule };
}

function millisecondsOf(instant: Instant | undefined): number {
  return instant === undefined ? 0 : instant.seconds * 1000 + instant.nanos / 1e6;
}
