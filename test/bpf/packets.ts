/** Frames for BPF_PROG_TEST_RUN, built by hand so that a test can also build wrong ones. */
import { parseAddress } from '../../control-plane/model/address.ts';

export const ETH_P_IP = 0x0800;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_ARP = 0x0806;
export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMPV6 = 58;
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;

export interface PacketSpec {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly tcpFlags?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  /** Echo id. */
  readonly icmpId?: number;
  readonly payload?: Uint8Array;
  readonly sourceMac?: Uint8Array;
  readonly destinationMac?: Uint8Array;
  /** IPv4 header options, a multiple of four bytes. */
  readonly options?: Uint8Array;
  /** Fragment: offset in bytes, more fragments, id. */
  readonly fragment?: { readonly offset: number; readonly more: boolean; readonly id: number };
  /** IPv6 extension headers in front of layer 4, as [type, bytes behind next-header]. */
  readonly extensions?: readonly (readonly [number, Uint8Array])[];
  readonly hopLimit?: number;
  /** Replaces the whole layer-4 part. */
  readonly l4?: Uint8Array;
  readonly ethertype?: number;
}

/** A SYN to port 80, with what is said of it beside that. */
export function opening(source: string, destination: string): (more?: Partial<PacketSpec>) => PacketSpec {
  return (more = {}) => ({
    source,
    destination,
    protocol: TCP,
    sourcePort: 40000,
    destinationPort: 80,
    tcpFlags: SYN,
    ...more,
  });
}

export const WORKLOAD_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
export const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);

const u16 = (value: number): Uint8Array => Uint8Array.of((value >> 8) & 255, value & 255);
const u32 = (value: number): Uint8Array =>
  Uint8Array.of((value >>> 24) & 255, (value >> 16) & 255, (value >> 8) & 255, value & 255);
const concat = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

function layer4(spec: PacketSpec): Uint8Array {
  if (spec.l4) return spec.l4;
  const payload = spec.payload ?? new Uint8Array(0);
  const source = spec.sourcePort ?? 0;
  const destination = spec.destinationPort ?? 0;
  switch (spec.protocol) {
    case TCP:
      return concat(
        u16(source),
        u16(destination),
        u32(spec.sequence ?? 1),
        u32(spec.acknowledgement ?? 0),
        Uint8Array.of(0x50, spec.tcpFlags ?? SYN),
        u16(65535),
        u16(0),
        u16(0),
        payload,
      );
    case UDP:
      return concat(u16(source), u16(destination), u16(8 + payload.length), u16(0), payload);
    case ICMP:
    case ICMPV6:
      return concat(
        Uint8Array.of(spec.icmpType ?? 8, spec.icmpCode ?? 0),
        u16(0),
        u16(spec.icmpId ?? 7),
        u16(1),
        payload,
      );
    default:
      return concat(u16(source), u16(destination), u32(0), payload);
  }
}

/** Layer 3 and up. */
export function ipPacket(spec: PacketSpec): Uint8Array {
  const source = parseAddress(spec.source);
  const destination = parseAddress(spec.destination);
  let l4 = layer4(spec);
  if (!spec.source.includes(':')) {
    const options = spec.options ?? new Uint8Array(0);
    const fragment = spec.fragment ? (spec.fragment.offset / 8) | (spec.fragment.more ? 0x2000 : 0) : 0;
    const header = concat(
      Uint8Array.of(0x45 + options.length / 4, 0),
      u16(20 + options.length + l4.length),
      u16(spec.fragment?.id ?? 1),
      u16(fragment),
      Uint8Array.of(spec.hopLimit ?? 64, spec.protocol),
      u16(0),
      source.slice(12),
      destination.slice(12),
      options,
    );
    return concat(header, l4);
  }
  let next = spec.protocol;
  if (spec.fragment) {
    l4 = concat(
      Uint8Array.of(next, 0),
      u16(spec.fragment.offset | (spec.fragment.more ? 1 : 0)),
      u32(spec.fragment.id),
      l4,
    );
    next = 44;
  }
  for (const [type, body] of [...(spec.extensions ?? [])].reverse()) {
    l4 = concat(Uint8Array.of(next), body, l4);
    next = type;
  }
  return concat(u32(0x60000000), u16(l4.length), Uint8Array.of(next, spec.hopLimit ?? 64), source, destination, l4);
}

export function frame(spec: PacketSpec): Uint8Array {
  const type = spec.ethertype ?? (spec.source.includes(':') ? ETH_P_IPV6 : ETH_P_IP);
  return concat(spec.destinationMac ?? GATEWAY_MAC, spec.sourceMac ?? WORKLOAD_MAC, u16(type), ipPacket(spec));
}

export function arpFrame(senderMac: Uint8Array, sender: string, target: string, operation = 1): Uint8Array {
  return concat(
    new Uint8Array(6).fill(0xff),
    WORKLOAD_MAC,
    u16(ETH_P_ARP),
    u16(1),
    u16(ETH_P_IP),
    Uint8Array.of(6, 4),
    u16(operation),
    senderMac,
    parseAddress(sender).slice(12),
    new Uint8Array(6),
    parseAddress(target).slice(12),
  );
}
