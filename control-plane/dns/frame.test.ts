import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { formatAddress } from '../model/address.ts';
import { type Datagram, readDatagram, replyTo, resetAfter, TCP_FLAGS } from './frame.ts';

/** 10.1.0.2:40000 > 10.1.0.3:53 UDP "hi", its checksums right. */
const UDP4 = Buffer.from(
  '0a0000000003' +
    '0a0000000002' +
    '0800' +
    '4500001e000100004011' +
    '66c8' +
    '0a0100020a010003' +
    '9c400035000ae6f4' +
    '6869',
  'hex',
);

function ends({ source, sourcePort, destination, destinationPort }: Datagram): string {
  return `${formatAddress(source)}:${sourcePort} > ${formatAddress(destination)}:${destinationPort}`;
}

function datagram(bytes: Uint8Array, ethernet = 0): Datagram {
  const read = readDatagram(bytes, ethernet);
  if (read === undefined) throw new Error('cannot be read');
  return read;
}

/** RFC 1071: the sum over what has a right checksum is all ones. */
function sums(read: Datagram): boolean {
  const ip = read.ethernet + 14;
  const words = (bytes: Uint8Array): number => {
    let sum = 0;
    for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    return sum;
  };
  const fold = (sum: number): number => {
    let left = sum;
    while (left > 0xffff) left = (left & 0xffff) + (left >>> 16);
    return left;
  };
  const at = ip + (read.family === 4 ? 20 : 40);
  const transport = read.bytes.subarray(at);
  const addresses = read.bytes.subarray(read.family === 4 ? ip + 12 : ip + 8, at);
  const network = read.family === 6 || fold(words(read.bytes.subarray(ip, at))) === 0xffff;
  return network && fold(words(transport) + words(addresses) + read.protocol + transport.length) === 0xffff;
}

function tcp(family: 4 | 6, payload: string, flags: number = TCP_FLAGS.ACK): Uint8Array {
  const ip =
    family === 4
      ? `45000000000000004006${'0000'}0a0100020a010003`
      : `6000000000000640${'fd00'.padEnd(32, '0')}${'fd01'.padEnd(32, '0')}`;
  const segment = `9c400035${'ffffffff'}${'00000064'}50${flags.toString(16).padStart(2, '0')}ffff00000000`;
  const bytes = Buffer.from(`0a00000000030a0000000002${family === 4 ? '0800' : '86dd'}${ip}${segment}`, 'hex');
  const whole = Buffer.concat([bytes, Buffer.from(payload)]);
  if (family === 4) whole.writeUInt16BE(40 + payload.length, 16);
  else whole.writeUInt16BE(20 + payload.length, 18);
  return whole;
}

describe('a frame', () => {
  it('is read, behind what stands before it', () => {
    for (const lead of [0, 10]) {
      const read = datagram(Buffer.concat([Buffer.alloc(lead), UDP4]), lead);
      expect(ends(read)).toBe('10.1.0.2:40000 > 10.1.0.3:53');
      expect(Buffer.from(read.payload).toString()).toBe('hi');
      expect(sums(read)).toBe(true);
    }
  });

  it('ends where IP says, not where the frame does', () => {
    expect(datagram(Buffer.concat([UDP4, Buffer.alloc(20)])).payload.length).toBe(2);
  });

  test.each([
    ['a fragment', 20, 0x20],
    ['a later fragment', 21, 1],
    ['another protocol', 23, 1],
    ['a length beyond the frame', 17, 200],
    ['a UDP length that is not that of IP', 39, 9],
    ['another version', 14, 0x65],
  ])('%s is not taken', (_, at, value) => {
    const broken = Uint8Array.from(UDP4);
    broken[at] = value;
    expect(readDatagram(broken, 0)).toBeUndefined();
  });

  it('whatever its bytes are, reading it throws nothing', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void readDatagram(bytes, 0)));
    fc.assert(
      fc.property(fc.nat(UDP4.length - 1), fc.nat(255), fc.nat(UDP4.length), (at, value, length) => {
        const broken = Uint8Array.from(UDP4).subarray(0, length);
        broken[at] = value;
        readDatagram(broken, 0);
      }),
    );
  });
});

describe('an answer made up', () => {
  it('to a datagram', () => {
    const answer = datagram(replyTo(datagram(Buffer.concat([Buffer.alloc(10), UDP4]), 10), Buffer.from('odd')), 10);
    expect(ends(answer)).toBe('10.1.0.3:53 > 10.1.0.2:40000');
    expect(Buffer.from(answer.payload).toString()).toBe('odd');
    expect(Buffer.from(answer.bytes.subarray(10, 22)).toString('hex')).toBe('0a00000000020a0000000003');
    expect(sums(answer)).toBe(true);
  });

  test.each([4, 6] as const)('to a segment, and the end for the other side: IPv%i', (family) => {
    const asked = datagram(tcp(family, 'ask'));
    const answer = datagram(replyTo(asked, Buffer.from('no'), TCP_FLAGS.ACK | TCP_FLAGS.FIN));
    // 3 bytes from 0xffffffff on: the numbers turn round.
    expect([answer.sequence, answer.acknowledged, answer.flags]).toEqual([100, 2, 17]);
    expect(sums(answer)).toBe(true);
    const reset = datagram(resetAfter(asked));
    expect([reset.sequence, reset.flags, reset.payload.length]).toEqual([0xffffffff, 20, 0]);
    expect(ends(reset)).toBe(ends(asked));
    expect(sums(reset)).toBe(true);
  });
});
