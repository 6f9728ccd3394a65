/** Ethernet frames with UDP or TCP in them: what stands in one, and answers made up for one. */

export const UDP = 17;
export const TCP = 6;

export const TCP_FLAGS = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;

export interface Datagram {
  readonly bytes: Uint8Array;
  /** Where its Ethernet header begins; what is before it says what the kernel left undone. */
  readonly ethernet: number;
  readonly family: 4 | 6;
  readonly protocol: typeof UDP | typeof TCP;
  /** 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
  /** Of TCP; 0 otherwise. */
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
}

const ETHERNET = 14;
const IPV4 = { type: 0x0800, header: 20 } as const;
const IPV6 = { type: 0x86dd, header: 40 } as const;
const HEADER = { [UDP]: 8, [TCP]: 20 } as const;
const HOP_LIMIT = 64;
const WINDOW = 65535;

/** @returns undefined for fragments, for IPv6 with extension headers, and for everything else that is not whole */
export function readDatagram(bytes: Uint8Array, ethernet: number): Datagram | undefined {
  const ip = ethernet + ETHERNET;
  if (bytes.length < ip + IPV4.header) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint16(ethernet + 12);
  const network =
    type === IPV4.type ? readIpv4(bytes, view, ip) : type === IPV6.type ? readIpv6(bytes, view, ip) : undefined;
  if (network === undefined) return undefined;
  const { at, end, protocol } = network;
  if ((protocol !== UDP && protocol !== TCP) || end > bytes.length || end < at + HEADER[protocol]) return undefined;
  const header = protocol === UDP ? HEADER[UDP] : (view.getUint8(at + 12) >> 4) * 4;
  if (header < HEADER[protocol] || at + header > end) return undefined;
  if (protocol === UDP && view.getUint16(at + 4) !== end - at) return undefined;
  const isTcp = protocol === TCP;
  return {
    bytes,
    ethernet,
    family: type === IPV4.type ? 4 : 6,
    protocol,
    source: network.source,
    destination: network.destination,
    sourcePort: view.getUint16(at),
    destinationPort: view.getUint16(at + 2),
    payload: bytes.subarray(at + header, end),
    sequence: isTcp ? view.getUint32(at + 4) : 0,
    acknowledged: isTcp ? view.getUint32(at + 8) : 0,
    flags: isTcp ? view.getUint8(at + 13) : 0,
  };
}

interface Network {
  readonly at: number;
  readonly end: number;
  readonly protocol: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

function readIpv4(bytes: Uint8Array, view: DataView, ip: number): Network | undefined {
  const header = (view.getUint8(ip) & 15) * 4;
  // More fragments, or not the first.
  if (view.getUint8(ip) >> 4 !== 4 || header < IPV4.header || (view.getUint16(ip + 6) & 0x3fff) !== 0) return undefined;
  return {
    at: ip + header,
    end: ip + view.getUint16(ip + 2),
    protocol: view.getUint8(ip + 9),
    source: mapped(bytes.subarray(ip + 12, ip + 16)),
    destination: mapped(bytes.subarray(ip + 16, ip + 20)),
  };
}

function readIpv6(bytes: Uint8Array, view: DataView, ip: number): Network | undefined {
  if (bytes.length < ip + IPV6.header || view.getUint8(ip) >> 4 !== 6) return undefined;
  return {
    at: ip + IPV6.header,
    end: ip + IPV6.header + view.getUint16(ip + 4),
    protocol: view.getUint8(ip + 6),
    source: bytes.slice(ip + 8, ip + 24),
    destination: bytes.slice(ip + 24, ip + 40),
  };
}

/** IPv4 mapped into IPv6, RFC 4291 §2.5.5.2. */
function mapped(ipv4: Uint8Array): Uint8Array {
  const address = new Uint8Array(16);
  address.fill(0xff, 10, 12);
  address.set(ipv4, 12);
  return address;
}

/** A frame back to who sent this one, as if from whom it was sent to. */
export function replyTo(asked: Datagram, payload: Uint8Array, flags = 0): Uint8Array {
  const opened = (asked.flags & TCP_FLAGS.SYN) !== 0 ? 1 : 0;
  return build(asked, true, payload, {
    sequence: asked.acknowledged,
    acknowledged: (asked.sequence + opened + asked.payload.length) >>> 0,
    flags,
  });
}

/** The end of the connection, in place of this segment, to whom it was sent. */
export function resetAfter(segment: Datagram): Uint8Array {
  return build(segment, false, new Uint8Array(0), {
    sequence: segment.sequence,
    acknowledged: segment.acknowledged,
    flags: TCP_FLAGS.RST | TCP_FLAGS.ACK,
  });
}

interface TcpFields {
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
}

function build(model: Datagram, turned: boolean, payload: Uint8Array, tcp: TcpFields): Uint8Array {
  const { ethernet, family, protocol } = model;
  const ipHeader = family === 4 ? IPV4.header : IPV6.header;
  const length = HEADER[protocol] + payload.length;
  const frame = new Uint8Array(ethernet + ETHERNET + ipHeader + length);
  const view = new DataView(frame.buffer);
  const [source, destination] = turned ? [model.destination, model.source] : [model.source, model.destination];
  const [sourcePort, destinationPort] = turned
    ? [model.destinationPort, model.sourcePort]
    : [model.sourcePort, model.destinationPort];
  // What is before the Ethernet header stays 0: nothing is left to the kernel.
  frame.set(model.bytes.subarray(ethernet, ethernet + ETHERNET), ethernet);
  if (turned) {
    frame.set(model.bytes.subarray(ethernet + 6, ethernet + 12), ethernet);
    frame.set(model.bytes.subarray(ethernet, ethernet + 6), ethernet + 6);
  }
  const ip = ethernet + ETHERNET;
  if (family === 4) {
    view.setUint8(ip, 0x45);
    view.setUint16(ip + 2, ipHeader + length);
    view.setUint8(ip + 8, HOP_LIMIT);
    view.setUint8(ip + 9, protocol);
    frame.set(source.subarray(12), ip + 12);
    frame.set(destination.subarray(12), ip + 16);
    view.setUint16(ip + 10, checksum(frame.subarray(ip, ip + ipHeader), 0));
  } else {
    view.setUint8(ip, 0x60);
    view.setUint16(ip + 4, length);
    view.setUint8(ip + 6, protocol);
    view.setUint8(ip + 7, HOP_LIMIT);
    frame.set(source, ip + 8);
    frame.set(destination, ip + 24);
  }
  const at = ip + ipHeader;
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destinationPort);
  if (protocol === UDP) {
    view.setUint16(at + 4, length);
  } else {
    view.setUint32(at + 4, tcp.sequence);
    view.setUint32(at + 8, tcp.acknowledged);
    view.setUint8(at + 12, (HEADER[TCP] / 4) << 4);
    view.setUint8(at + 13, tcp.flags);
    view.setUint16(at + 14, WINDOW);
  }
  frame.set(payload, at + HEADER[protocol]);
  const addresses = frame.subarray(family === 4 ? ip + 12 : ip + 8, at);
  const sum = checksum(frame.subarray(at), sumOf(addresses) + protocol + length);
  // UDP has no 0 (RFC 768), which over IPv6 is forbidden (RFC 8200 §8.1).
  view.setUint16(at + (protocol === UDP ? 6 : 16), sum === 0 && protocol === UDP ? 0xffff : sum);
  return frame;
}

/** RFC 1071. @param start what else counts, a sum of 16-bit words */
function checksum(bytes: Uint8Array, start: number): number {
  let sum = start + sumOf(bytes);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  return sum;
}
