/** Why does a rule not take a flow? Its fields in the order in which they are tried, with what is wanted and what was found. */
import { formatAddress, formatPrefix } from '../model/address.ts';
import { nameFits, nameMatchText } from '../model/dns-name.ts';
import { bareKey, keysOf, type Labels, NAMESPACE_KEY } from '../model/labels.ts';
import {
  type HttpMatch,
  type Peers,
  type PortMatch,
  PROTOCOLS,
  type Rule,
  type RuleRef,
  type Selector,
} from '../model/policy.ts';
import { type FlowQuestion, partsOf } from './evaluate.ts';
import { admitsRequest } from './http-match.ts';
import { normalizePath } from './http-path.ts';

/** A field of a rule that does not fit. */
export interface Miss {
  /** As it is written, e.g. `fromEndpoints`, `toPorts`, `rules.http`. */
  readonly field: string;
  readonly wanted: string;
  readonly found: string;
}

/** One rule, tried. */
export interface Rung {
  readonly rule: RuleRef;
  readonly action: 'allow' | 'deny';
  /** Of a policy that is only audited. */
  readonly audited: boolean;
  /** Fields that do not fit, in the order in which they are tried; none: the rule takes the flow. */
  readonly misses: readonly Miss[];
}

/** @param rule resolved, see resolve.ts */
export function rungOf(rule: Rule, audited: boolean, question: FlowQuestion): Rung {
  const { peer, port } = partsOf(rule, question);
  const misses = [
    ...(peer ? [] : [peerMiss(rule, question)]),
    ...(port ? layer7Misses(rule, question) : [portMiss(rule, question)]),
  ];
  return { rule: rule.ref, action: rule.deny ? 'deny' : 'allow', audited, misses };
}

export const portText = ({ protocol, port }: Pick<FlowQuestion, 'protocol' | 'port'>): string =>
  `${port}/${protocolName(protocol)}`;

function protocolName(protocol: number): string {
  return Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? String(protocol);
}

function peerMiss({ ref, direction, deny, peers }: Rule, question: FlowQuestion): Miss {
  const isKubernetes = ref.kind === 'NetworkPolicy';
  const to = direction === 'egress';
  const labels = to ? question.destination : question.source;
  const address = to ? question.destinationAddress : question.sourceAddress;
  const word = to ? 'to' : 'from';
  const fields = peers.kind === 'any' ? [] : fieldsOf(peers, word);
  return {
    field: isKubernetes ? word : fields.map(({ field }) => field).join(', ') || `${word}Endpoints`,
    wanted: fields.map(({ wanted }) => wanted).join(' or ') || `nobody${deny ? '' : ' (an empty list)'}`,
    found: peerText(labels, address, to ? (question.destinationNames ?? []) : [], peers),
  };
}

function fieldsOf(peers: Exclude<Peers, { kind: 'any' }>, word: 'from' | 'to'): { field: string; wanted: string }[] {
  const { selectors, entities, cidrs = [], names = [] } = peers;
  const list = (field: string, wanted: readonly string[]): { field: string; wanted: string }[] =>
    wanted.length === 0 ? [] : [{ field, wanted: wanted.join(' or ') }];
  const ranges = cidrs.map(({ prefix, except }) =>
    [formatPrefix(prefix), ...except.map((each) => `except ${formatPrefix(each)}`)].join(' '),
  );
  return [
    ...list(`${word}Endpoints`, selectors.map(wantedLabels)),
    ...list(`${word}Entities`, entities),
    ...list(cidrs.some(({ except }) => except.length > 0) ? `${word}CIDRSet` : `${word}CIDR`, ranges),
    ...list('toFQDNs', names.map(nameMatchText)),
  ];
}

/** `app=web, namespace shop`. */
function wantedLabels({ matchLabels, matchExpressions = [] }: Selector): string {
  const parts = [
    ...[...matchLabels].map(([key, value]) => labelText(key, value)),
    ...matchExpressions.map(({ key, operator, values }) => {
      const list = values.length > 0 ? ` (${values.join(', ')})` : '';
      return `${keyText(key)} ${operator}${list}`;
    }),
  ];
  return parts.length === 0 ? 'any pod' : parts.join(', ');
}

function keyText(key: string): string {
  return bareKey(key) === NAMESPACE_KEY ? 'namespace' : bareKey(key);
}

function labelText(key: string, value: string): string {
  return bareKey(key) === NAMESPACE_KEY ? `namespace ${value}` : `${bareKey(key)}=${value}`;
}

/** What it has of what is asked for; otherwise who it is. */
function peerText(labels: Labels, address: Uint8Array | undefined, names: readonly string[], peers: Peers): string {
  const reserved = [...labels.keys()].flatMap((key) =>
    key.startsWith('reserved:') ? key.slice('reserved:'.length) : [],
  );
  if (reserved.length > 0) {
    const who = address === undefined ? '' : ` ${formatAddress(address)}`;
    return `${reserved.join(', ')}${who}${names.length > 0 ? `, known as ${names.join(', ')}` : ''}`;
  }
  const asked = peers.kind === 'any' ? [] : peers.selectors.flatMap(keysOf).map(bareKey);
  const known = new Map([...labels].map(([key, value]) => [bareKey(key), value]));
  const parts = [...new Set(asked)].map((key) => {
    const value = known.get(key);
    return value === undefined ? `no ${keyText(key)}` : labelText(key, value);
  });
  return parts.length === 0 ? 'a pod' : `a pod with ${parts.join(', ')}`;
}

function portMiss({ ref, ports }: Rule, question: FlowQuestion): Miss {
  const isIcmp = ports.every(({ protocol }) => protocol === PROTOCOLS.ICMP || protocol === PROTOCOLS.ICMPv6);
  const wanted = [...new Set(ports.map((match) => rangeText(match, question)))];
  return {
    field: ref.kind === 'NetworkPolicy' ? 'ports' : isIcmp ? 'icmps' : 'toPorts',
    wanted: wanted.join(' or '),
    found: portText(question),
  };
}

function rangeText({ protocol, port, endPort, name }: PortMatch, { namedPorts }: FlowQuestion): string {
  if (name !== undefined) {
    const numbers = [...(namedPorts?.own ?? []), ...(namedPorts?.shared ?? [])].filter((each) => each.name === name);
    const known = [...new Set(numbers.map((each) => each.port))];
    return `${name}/${protocolName(protocol)} (${known.length === 0 ? 'a name that no port of it has' : known.join(', ')})`;
  }
  const isAny = port === 0 && endPort === undefined && protocol !== PROTOCOLS.ICMP && protocol !== PROTOCOLS.ICMPv6;
  const range = isAny ? 'any port' : endPort !== undefined && endPort > port ? `${port}-${endPort}` : `${port}`;
  return `${range}/${protocolName(protocol)}`;
}

/** What looks into the connection, where the question is about more than it. */
function layer7Misses({ ref, direction, ports, deny }: Rule, question: FlowQuestion): Miss[] {
  const { http, serverName, query } = question;
  const alone = { ref, direction, peers: { kind: 'any' } } as const;
  const matching = ports.filter((match) => partsOf({ ...alone, ports: [match] }, question).port);
  // A plain port beside them takes everything.
  if (deny || ports.length === 0 || matching.some((each) => !(each.http ?? each.serverNames ?? each.dns))) return [];
  if (http !== undefined) {
    const rules = matching.flatMap((each) => each.http ?? []);
    const path = normalizePath(http.path);
    if (path === undefined) return [{ field: 'rules.http', wanted: 'a path that Envoy takes', found: http.path }];
    if (rules.some(({ match }) => admitsRequest(match, { ...http, path }))) return [];
    const found = `${http.method} ${http.path}${http.host === '' ? '' : `, host ${http.host}`}`;
    return [
      { field: 'rules.http', wanted: rules.map(({ match }) => matchText(match)).join(' or ') || 'no request', found },
    ];
  }
  if (serverName !== undefined) {
    const names = matching.flatMap((each) => each.serverNames ?? []);
    if (names.some((matchPattern) => nameFits({ matchPattern }, serverName))) return [];
    return [{ field: 'serverNames', wanted: names.join(' or ') || 'no TLS name', found: serverName }];
  }
  if (query !== undefined) {
    const rules = matching.flatMap((each) => each.dns ?? []);
    if (rules.some(({ match }) => nameFits(match, query))) return [];
    return [
      {
        field: 'rules.dns',
        wanted: rules.map(({ match }) => nameMatchText(match)).join(' or ') || 'no query',
        found: query,
      },
    ];
  }
  return [];
}

function matchText({ method, path, host, headers = [] }: HttpMatch): string {
  const parts = [
    method ?? 'any method',
    path ?? 'any path',
    ...(host === undefined ? [] : [`host ${host}`]),
    ...headers.map(({ name, value }) => `header ${name}${value === undefined ? '' : `: ${value}`}`),
  ];
  return parts.join(' ');
}
