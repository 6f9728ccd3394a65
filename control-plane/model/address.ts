/** Addresses are 16 bytes everywhere; IPv4 is mapped into IPv6 (RFC 4291 §2.5.5.2). */
import { isIPv4, isIPv6 } from 'node:net';
import { SidestepError } from './error.ts';

export const ADDRESS_BYTES = 16;
/** Bits in front of an IPv4 address in its mapped form. */
export const MAPPED_BITS = 96;

/** @throws FIELD_INVALID when it is neither IPv4 nor IPv6 */
export function parseAddress(text: string): Uint8Array {
  if (isIPv4(text)) {
    const bytes = new Uint8Array(ADDRESS_BYTES);
    bytes.set([0xff, 0xff], 10);
    bytes.set(text.split('.').map(Number), 12);
    return bytes;
  }
  // A zone (%eth0) names an interface, not an address.
  if (!isIPv6(text) || text.includes('%')) throw new SidestepError('FIELD_INVALID', `${text} is not an IP address`);
  return parseIpv6(text);
}

function parseIpv6(text: string): Uint8Array {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const whole = dotted
    ? `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`
    : text;
  const [head = '', tail] = whole.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}

export function isMappedIpv4(address: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
}

/** Dotted for mapped IPv4, else the canonical text of RFC 5952. */
export function formatAddress(address: Uint8Array): string {
  if (isMappedIpv4(address)) return `${address[12]}.${address[13]}.${address[14]}.${address[15]}`;
  const groups = Array.from({ length: 8 }, (_, i) => ((address[i * 2] ?? 0) << 8) | (address[i * 2 + 1] ?? 0));
  let best = { start: 0, length: 0 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.length < 2) return hex.join(':');
  return `${hex.slice(0, best.start).join(':')}::${hex.slice(best.start + best.length).join(':')}`;
}

/** The address as a map key. */
export function addressKey(address: Uint8Array): string {
  return Buffer.from(address.buffer, address.byteOffset, address.length).toString('hex');
}

/** A range of addresses; `bits` counts in the 16-byte form: an IPv4 /24 is 120. */
export interface Prefix {
  readonly address: Uint8Array;
  readonly bits: number;
}

/** @returns the network's address and its bits in the 16-byte form. @throws FIELD_INVALID */
export function parsePrefix(text: string): Prefix {
  const [base = '', length = '', ...rest] = text.split('/');
  const address = parseAddress(base);
  const most = isIPv4(base) ? 32 : 128;
  const bits = Number(length);
  if (!/^\d+$/.test(length) || bits > most || rest.length > 0)
    throw new SidestepError('FIELD_INVALID', `${text} is not a prefix (ADDRESS/0 to ${most})`);
  const total = isIPv4(base) ? bits + MAPPED_BITS : bits;
  return { address: maskAddress(address, total), bits: total };
}

/** An address with the bits behind the first `bits` cleared. */
export function maskAddress(address: Uint8Array, bits: number): Uint8Array {
  return address.map((byte, i) => byte & (0xff << Math.max(0, 8 - Math.max(0, bits - i * 8))) & 0xff);
}

/** `10.0.0.0/8`: the text of a prefix, equal for equal ones. */
export function formatPrefix({ address, bits }: Prefix): string {
  const length = isMappedIpv4(address) && bits >= MAPPED_BITS ? bits - MAPPED_BITS : bits;
  return `${formatAddress(address)}/${length}`;
}

/** Whether an address lies in a range. No range of IPv6, ::/0 included, has addresses of IPv4. */
export function contains({ address: network, bits }: Prefix, address: Uint8Array): boolean {
  if (bits < MAPPED_BITS && isMappedIpv4(address)) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (network[i] !== address[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (((network[whole] ?? 0) ^ (address[whole] ?? 0)) & (0xff << (8 - rest)) & 0xff) === 0;
}
