/** `toPorts` of a rule -> port matches with their HTTP rules. Strict, as the rest of the policy. */
import { type HttpRule, type PortMatch, PROTOCOLS, type RuleRef } from '../model/policy.ts';
import { isRecord, type Path } from './document.ts';
import { readHttpRules } from './http-rules.ts';
import { type Refuse, refuseFields } from './policy-fields.ts';

const LATER_PROTOCOLS = ['SCTP', 'ICMP', 'ICMPV6', 'VRRP', 'IGMP', 'GRE', 'IPIP', 'IPV6', 'ESP', 'AH'];
/** Cilium's own bound. */
const MAX_PORTS = 40;

/**
 * @param name of the HTTP rule at a path below this one
 * @returns undefined when a part of it cannot be read; empty: every port
 */
export function readPorts(
  value: unknown,
  path: Path,
  name: (below: Path) => RuleRef,
  refuse: Refuse,
): readonly PortMatch[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    refuse('FIELD_INVALID', path, 'must be a list');
    return undefined;
  }
  let readable = true;
  const refuseIt: Refuse = (...problem) => {
    readable = false;
    refuse(...problem);
  };
  const matches = value.flatMap((rule, i) =>
    readPortRule(rule, [...path, i], (below) => name([i, ...below]), refuseIt),
  );
  return readable ? matches : undefined;
}

function readPortRule(value: unknown, path: Path, name: (below: Path) => RuleRef, refuse: Refuse): PortMatch[] {
  if (!isRecord(value)) {
    refuse('FIELD_INVALID', path, 'must be a mapping');
    return [];
  }
  refuseFields(value, 'portRule', path, refuse);
  const at = [...path, 'ports'];
  const ports = value['ports'] ?? [];
  if (!Array.isArray(ports)) {
    refuse('FIELD_INVALID', at, 'must be a list');
    return [];
  }
  if (ports.length === 0) refuse('FIELD_REQUIRED', at, 'at least one port is required');
  if (ports.length > MAX_PORTS) refuse('FIELD_INVALID', at, `at most ${MAX_PORTS} ports`);
  const matches = readHttpRules(value['rules'], [...path, 'rules'], refuse);
  const http = matches?.map((match, i) => ({ ref: name(['rules', 'http', i]), match }));
  return ports.flatMap((port, i) => readPort(port, [...at, i], http, refuse));
}

/** @param http undefined: none are written. An empty list is no rule, but its ports must be fit for one (both as Cilium) */
function readPort(value: unknown, path: Path, http: readonly HttpRule[] | undefined, refuse: Refuse): PortMatch[] {
  if (!isRecord(value)) {
    refuse('FIELD_INVALID', path, 'must be a mapping');
    return [];
  }
  refuseFields(value, 'port', path, refuse);
  const port = readNumber(value['port'], [...path, 'port'], refuse);
  const protocols = readProtocols(value['protocol'], [...path, 'protocol'], refuse);
  if (http !== undefined) {
    if (port === 0) refuse('FIELD_INVALID', [...path, 'port'], 'HTTP rules need a port, and "0" is every port');
    if (protocols.some((protocol) => protocol !== PROTOCOLS.TCP))
      refuse('FIELD_INVALID', [...path, 'protocol'], 'HTTP rules need protocol TCP, and it must be written');
  }
  const rules = http === undefined || http.length === 0 ? {} : { http };
  return port === undefined ? [] : protocols.map((protocol) => ({ protocol, port, ...rules }));
}

function readNumber(value: unknown, path: Path, refuse: Refuse): number | undefined {
  if (value === undefined || value === null || value === '') {
    refuse('FIELD_REQUIRED', path, 'a port must be specified ("0" is every port)');
    return undefined;
  }
  const text = String(value);
  if ((typeof value === 'string' || typeof value === 'number') && /^\d+$/.test(text)) {
    if (Number(text) <= 65535) return Number(text);
  } else if (typeof value === 'string' && /^[a-zA-Z0-9-]{1,15}$/.test(value) && /[a-zA-Z]/.test(value)) {
    refuse('FIELD_NOT_SUPPORTED', path, `named port ${JSON.stringify(value)} is not supported`);
    return undefined;
  }
  refuse('FIELD_INVALID', path, `${JSON.stringify(value)} is not a port (0 to 65535)`);
  return undefined;
}

/** ANY and an empty protocol are TCP, UDP and SCTP, as Cilium has it. */
function readProtocols(value: unknown, path: Path, refuse: Refuse): readonly number[] {
  const text = value === undefined || value === null || value === '' ? 'ANY' : value;
  if (typeof text === 'string') {
    const name = text.toUpperCase();
    if (name === 'ANY') return [PROTOCOLS.TCP, PROTOCOLS.UDP, PROTOCOLS.SCTP];
    if (name === 'TCP' || name === 'UDP') return [PROTOCOLS[name]];
    if (LATER_PROTOCOLS.includes(name)) {
      refuse('FIELD_NOT_SUPPORTED', path, `protocol ${text} is not supported`);
      return [];
    }
  }
  refuse('FIELD_INVALID', path, `${JSON.stringify(value)} is not a protocol (TCP, UDP, ANY)`);
  return [];
}
