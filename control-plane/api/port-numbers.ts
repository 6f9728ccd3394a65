/** `port`, `endPort` and `protocol` of one port of a Cilium policy. */
import { PROTOCOLS } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { isAbsent, quote } from './values.ts';

export const MOST = 65535;
/** IANA's service names (RFC 6335 §5.1): 15 characters, a letter among them, no two hyphens in a row and none at an end. */
const SERVICE_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/;
/** Of Cilium with `enable-extended-ip-protocols`. */
const EXTENDED_PROTOCOLS = ['VRRP', 'IGMP', 'GRE', 'IPIP', 'IPV6', 'ESP', 'AH'];

/** One port, a range, every port (0), or a name. */
export interface PortNumbers {
  readonly port: number;
  readonly endPort?: number;
  readonly name?: string;
}

export function isServiceName(text: string): boolean {
  return SERVICE_NAME.test(text);
}

export function readPortNumbers(port: Record<string, unknown>, path: Path, refuse: Refuse): PortNumbers | undefined {
  const first = readPort(port['port'], [...path, 'port'], refuse);
  const last = readEndPort(port['endPort'], [...path, 'endPort'], refuse);
  if (first === undefined) return undefined;
  if (typeof first === 'string') {
    if (last > 0) refuse('FIELD_INVALID', [...path, 'endPort'], 'a named port has no range');
    return { port: 0, name: first };
  }
  // One that is not above is said to be nothing by Cilium, too (portrange.go).
  if (last <= first) return { port: first };
  if (first === 0) return last === MOST ? { port: 0 } : last === 1 ? { port: 1 } : { port: 1, endPort: last };
  return { port: first, endPort: last };
}

/** @returns a number, or a name in lower case */
function readPort(value: unknown, path: Path, refuse: Refuse): number | string | undefined {
  if (isAbsent(value) || value === '') {
    refuse('FIELD_REQUIRED', path, 'a port must be specified ("0" is every port)');
    return undefined;
  }
  const text = typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  if (/^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= MOST) return Number(text);
  // Names that look like numbers of other bases are names, as in Cilium: 0x10.
  if (typeof value === 'string' && isServiceName(value.toLowerCase())) return value.toLowerCase();
  refuse('FIELD_INVALID', path, `${quote(value)} is not a port (0 to ${MOST}, or a name of at most 15 characters)`);
  return undefined;
}

/** 0 where there is none. */
function readEndPort(value: unknown, path: Path, refuse: Refuse): number {
  if (isAbsent(value)) return 0;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MOST) return value;
  refuse('FIELD_INVALID', path, `${quote(value)} is not a port (a number from 0 to ${MOST})`);
  return 0;
}

/** ANY and an empty protocol are TCP, UDP and SCTP, as Cilium has it. */
export function readProtocols(value: unknown, path: Path, refuse: Refuse): readonly number[] {
  const text = isAbsent(value) || value === '' ? 'ANY' : value;
  const name = typeof text === 'string' ? text.toUpperCase() : '';
  if (name === 'ANY') return [PROTOCOLS.TCP, PROTOCOLS.UDP, PROTOCOLS.SCTP];
  if (name === 'TCP' || name === 'UDP' || name === 'SCTP') return [PROTOCOLS[name]];
  if (EXTENDED_PROTOCOLS.includes(name))
    refuse(
      'FIELD_NOT_SUPPORTED',
      path,
      `not supported: protocol ${name} has no ports, and Cilium takes it only with enable-extended-ip-protocols; a rule without toPorts admits it`,
    );
  else if (name === 'ICMP' || name === 'ICMPV6')
    refuse('FIELD_INVALID', path, `${quote(value)} has no ports; write icmps instead of toPorts`);
  else refuse('FIELD_INVALID', path, `${quote(value)} is not a protocol (TCP, UDP, SCTP, ANY)`);
  return [];
}
