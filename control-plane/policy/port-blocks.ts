/** Ports of a rule as the kernel holds them: a range becomes blocks with a masked prefix each (cilium.md §1.4). */
import { type PortMatch, PROTOCOLS } from '../model/policy.ts';
import { PORT_PREFIX, type PortKey, PROTOCOL_PREFIX } from './keys.ts';

const LAST_PORT = 65535;

/** Types of ICMP are numbers like any other, 0 too: ICMP has no wildcard. */
function hasTypes(protocol: number): boolean {
  return protocol === PROTOCOLS.ICMP || protocol === PROTOCOLS.ICMPv6;
}

/** First and last port. An end that is not above the port is none. */
export function rangeOf({ protocol, port, endPort = port }: PortMatch): readonly [first: number, last: number] {
  if (hasTypes(protocol)) return [port, port];
  if (port === 0 && endPort === 0) return [0, LAST_PORT];
  return [port, Math.max(port, endPort)];
}

/** At most 30, in rising order; a name that is not resolved is no port at all. */
export function blocksOf(match: PortMatch): readonly PortKey[] {
  if (match.name !== undefined) return [];
  const { protocol } = match;
  const [first, last] = rangeOf(match);
  const blocks: PortKey[] = [];
  for (let port = first; port <= last; ) {
    let size = 1;
    while (port % (size * 2) === 0 && port + size * 2 - 1 <= last) size *= 2;
    blocks.push({ protocol, port, prefix: PORT_PREFIX - Math.log2(size) });
    port += size;
  }
  return blocks;
}

/** Whether every port of a block is one of the match. */
export function takesBlock(match: PortMatch, { protocol, port, prefix }: PortKey): boolean {
  if (match.name !== undefined || match.protocol !== protocol || prefix < PROTOCOL_PREFIX) return false;
  const [first, last] = rangeOf(match);
  return first <= port && port + 2 ** (PORT_PREFIX - prefix) - 1 <= last;
}
