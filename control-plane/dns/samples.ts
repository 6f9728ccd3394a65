/** For tests: DNS messages in frames between 10.1.0.2, which asks, and 10.1.0.3:53. */
import dns from 'dns-packet';
import { type Datagram, readDatagram, replyTo, TCP, TCP_FLAGS, UDP } from './frame.ts';

const ETHERNET = '0a00000000030a00000000020800';
const ADDRESSES = '0a0100020a010003';
const CLIENT_PORT = 40_000;

function ipv4(protocol: number, transport: Uint8Array): Uint8Array {
  const header = Buffer.from(`${ETHERNET}45000000000100004000${'0000'}${ADDRESSES}`, 'hex');
  header.writeUInt16BE(20 + transport.length, 16);
  header.writeUInt8(protocol, 23);
  return Buffer.concat([header, transport]);
}

export function udpQuery(message: Uint8Array): Uint8Array {
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(CLIENT_PORT, 0);
  udp.writeUInt16BE(53, 2);
  udp.writeUInt16BE(8 + message.length, 4);
  return ipv4(UDP, Buffer.concat([udp, message]));
}

export function udpAnswer(message: Uint8Array): Uint8Array {
  return replyTo(datagramOf(udpQuery(new Uint8Array(0))), message);
}

/** @param at of its first byte */
export function tcpQuery(payload: Uint8Array, at: number): Uint8Array {
  const tcp = Buffer.alloc(20);
  tcp.writeUInt16BE(CLIENT_PORT, 0);
  tcp.writeUInt16BE(53, 2);
  tcp.writeUInt32BE(at, 4);
  tcp.writeUInt32BE(5000, 8);
  tcp.writeUInt8(0x50, 12);
  tcp.writeUInt8(TCP_FLAGS.ACK | TCP_FLAGS.PSH, 13);
  return ipv4(TCP, Buffer.concat([tcp, payload]));
}

export function datagramOf(frame: Uint8Array): Datagram {
  const datagram = readDatagram(frame, 0);
  if (datagram === undefined) throw new Error('no datagram');
  return datagram;
}

export function query(name: string): Buffer {
  return dns.encode({ type: 'query', id: 7, flags: dns.RECURSION_DESIRED, questions: [{ type: 'A', name }] });
}

export function answer(name: string, ...addresses: readonly string[]): Buffer {
  const answers = addresses.map((data) => ({ type: 'A', name, data, ttl: 60 }) as const);
  return dns.encode({ type: 'response', id: 7, questions: [{ type: 'A', name }], answers });
}
