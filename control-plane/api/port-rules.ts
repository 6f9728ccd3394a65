/** `toPorts` of a rule -> port matches with what may be asked for there. Strict, as the rest of the policy. */
import {
  type Direction,
  type DnsRule,
  type HttpRule,
  type PortMatch,
  PROTOCOLS,
  type RuleRef,
} from '../model/policy.ts';
import type { Path } from './document.ts';
import { readHttpRules } from './http-rules.ts';
import { readNames, readServerNames } from './name-rules.ts';
import type { Refuse } from './policy-fields.ts';
import { type PortNumbers, readPortNumbers, readProtocols } from './port-numbers.ts';
import { isAbsent, needMapping, readList, readMapping } from './values.ts';

/** Cilium's own bound. */
const MAX_PORTS = 40;

/** The rule that ports belong to. */
export interface PortScope {
  readonly direction: Direction;
  readonly isDeny: boolean;
  /** Of a part of the rule at a path below `toPorts`. */
  readonly name: (below: Path) => RuleRef;
  readonly refuse: Refuse;
}

/** What is said beyond the ports. */
interface Layer7 {
  /** Which kind of rule is written, an empty list of it too: its ports must be fit for one (as Cilium). */
  readonly kind?: 'http' | 'dns' | 'serverNames';
  readonly match: Pick<PortMatch, 'http' | 'dns' | 'serverNames'>;
}

/** @returns undefined when a part of it cannot be read; empty: every port */
export function readPorts(value: unknown, path: Path, scope: PortScope): readonly PortMatch[] | undefined {
  let isReadable = true;
  const refuse: Refuse = (...problem) => {
    isReadable = false;
    scope.refuse(...problem);
  };
  const matches = readList(value, path, refuse).flatMap((rule, i) =>
    readPortRule(rule, [...path, i], { ...scope, refuse, name: (below) => scope.name([i, ...below]) }),
  );
  return isReadable ? matches : undefined;
}

function readPortRule(value: unknown, path: Path, scope: PortScope): PortMatch[] {
  const { isDeny, refuse } = scope;
  const rule = needMapping(value, isDeny ? 'deny-ports' : 'ports', path, refuse);
  if (rule === undefined) return [];
  const at = [...path, 'ports'];
  const ports = readList(rule['ports'], at, refuse);
  if (ports.length === 0 && (isAbsent(rule['ports']) || Array.isArray(rule['ports'])))
    refuse('FIELD_REQUIRED', at, 'at least one port is required');
  if (ports.length > MAX_PORTS) refuse('FIELD_INVALID', at, `at most ${MAX_PORTS} ports`);
  const layer7 = isDeny ? { match: {} } : readLayer7(rule, path, scope);
  return ports.slice(0, MAX_PORTS).flatMap((port, i) => readPort(port, [...at, i], layer7, refuse));
}

function readLayer7(rule: Record<string, unknown>, path: Path, { direction, name, refuse }: PortScope): Layer7 {
  const at = [...path, 'rules'];
  const rules = readMapping(rule['rules'], 'l7', at, refuse) ?? {};
  const serverNames = readServerNames(rule['serverNames'], [...path, 'serverNames'], refuse);
  const hasHttp = !isAbsent(rules['http']);
  const hasDns = !isAbsent(rules['dns']);
  if (hasHttp && hasDns) refuse('FIELD_INVALID', at, 'http and dns in one entry are not supported; write two');
  if (serverNames !== undefined && (hasHttp || hasDns))
    refuse('FIELD_INVALID', [...path, 'serverNames'], 'with rules it needs terminatingTLS, which is not supported');
  const http: HttpRule[] = readHttpRules(rules['http'], [...at, 'http'], refuse).map((match, i) => ({
    ref: name(['rules', 'http', i]),
    match,
  }));
  const dns: DnsRule[] = readNames(rules['dns'], [...at, 'dns'], refuse).map((match, i) => ({
    ref: name(['rules', 'dns', i]),
    match,
  }));
  if (dns.length > 0 && direction === 'ingress')
    refuse('FIELD_INVALID', [...at, 'dns'], 'DNS rules are for egress: queries are looked into where they are made');
  if (hasHttp) return { kind: 'http', match: http.length === 0 ? {} : { http } };
  if (hasDns) return { kind: 'dns', match: dns.length === 0 ? {} : { dns } };
  return serverNames === undefined ? { match: {} } : { kind: 'serverNames', match: { serverNames } };
}

function readPort(value: unknown, path: Path, layer7: Layer7, refuse: Refuse): PortMatch[] {
  const port = needMapping(value, 'port', path, refuse);
  if (port === undefined) return [];
  const numbers = readPortNumbers(port, path, refuse);
  const protocols = readProtocols(port['protocol'], [...path, 'protocol'], refuse);
  if (numbers === undefined) return [];
  return fitting(layer7, numbers, port['port'], protocols, path, refuse).map((protocol) => ({
    protocol,
    ...numbers,
    ...layer7.match,
  }));
}

const TITLES = { http: 'HTTP rules', dns: 'DNS rules', serverNames: 'server names' } as const;

/** @returns the protocols that the rules are for */
function fitting(
  { kind, match }: Layer7,
  { endPort, name }: PortNumbers,
  written: unknown,
  protocols: readonly number[],
  path: Path,
  refuse: Refuse,
): readonly number[] {
  if (kind === undefined) return protocols;
  if (name === undefined && String(written) === '0')
    refuse('FIELD_INVALID', [...path, 'port'], `${TITLES[kind]} need a port, and "0" is every port`);
  if (kind !== 'dns') {
    if (protocols.some((protocol) => protocol !== PROTOCOLS.TCP))
      refuse('FIELD_INVALID', [...path, 'protocol'], `${TITLES[kind]} need protocol TCP, and it must be written`);
    return protocols;
  }
  if (endPort !== undefined) refuse('FIELD_INVALID', [...path, 'endPort'], 'DNS rules do not have ranges of ports');
  const isSctp = protocols.length === 1 && protocols[0] === PROTOCOLS.SCTP;
  if (isSctp) refuse('FIELD_INVALID', [...path, 'protocol'], 'DNS rules need protocol UDP, TCP or ANY');
  // Of ANY: nobody speaks DNS over SCTP, and it could not be looked into.
  return match.dns === undefined ? protocols : protocols.filter((protocol) => protocol !== PROTOCOLS.SCTP);
}
