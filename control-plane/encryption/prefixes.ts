/** Prefixes as 4 or 16 bytes, and as text. */
import { formatAddress, MAPPED_BITS, parsePrefix } from '../model/address.ts';
import type { TunnelPrefix } from './tunnel.ts';

const IPV4_BYTES = 4;
const MAPPED = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);

export function prefixText({ address, bits }: TunnelPrefix): string {
  const whole = address.length === IPV4_BYTES ? Buffer.concat([MAPPED, address]) : address;
  return `${formatAddress(whole)}/${bits}`;
}

/** @throws FIELD_INVALID */
export function parseTunnelPrefix(text: string): TunnelPrefix {
  const { address, bits } = parsePrefix(text);
  if (text.includes(':')) return { address, bits };
  return { address: address.slice(MAPPED_BITS / 8), bits: bits - MAPPED_BITS };
}

/** What stands in `all` and not in `others`. */
export function without(all: readonly TunnelPrefix[], others: readonly TunnelPrefix[]): TunnelPrefix[] {
  const kept = new Set(others.map(prefixText));
  return all.filter((each) => !kept.has(prefixText(each)));
}

export function samePrefixes(a: readonly TunnelPrefix[], b: readonly TunnelPrefix[]): boolean {
  return without(a, b).length === 0 && without(b, a).length === 0;
}
