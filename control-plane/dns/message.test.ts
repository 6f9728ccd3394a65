import dns from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress } from '../model/address.ts';
import { readAnswer, readQuery, refusalOf } from './message.ts';

const query = (name: string, type: 'A' | 'AAAA' = 'A', more: object = {}): Buffer =>
  dns.encode({ type: 'query', id: 7, flags: dns.RECURSION_DESIRED, questions: [{ type, name }], ...more });
const answer = (name: string, answers: dns.Answer[], more: object = {}): Buffer =>
  dns.encode({ type: 'response', id: 7, questions: [{ type: 'A', name }], answers, ...more });
const a = (name: string, data: string, ttl = 60): dns.Answer => ({ type: 'A', name, data, ttl });
const cname = (name: string, data: string, ttl = 60): dns.Answer => ({ type: 'CNAME', name, data, ttl });
const found = (message: Uint8Array): string[] | undefined =>
  readAnswer(message)?.addresses.map(({ address, ttl }) => `${formatAddress(address)} ${ttl}`);

describe('a query', () => {
  it('names what is asked for, in lower case', () => {
    expect(readQuery(query('API.Example.com', 'AAAA'))).toEqual({ id: 7, name: 'api.example.com', type: 'AAAA' });
    expect(readQuery(query('.'))).toEqual({ id: 7, name: '', type: 'A' });
    expect(
      readQuery(query('x.example', 'A', { additionals: [{ type: 'OPT', name: '.', udpPayloadSize: 4096 }] })),
    ).toMatchObject({
      name: 'x.example',
    });
  });

  it('is nothing else: no answer, no update, not two questions or none, no name with a dot in a label', () => {
    expect(readQuery(answer('x.example', []))).toBeUndefined();
    const update = query('x.example');
    update[2] = 0x28;
    expect(readQuery(update)).toBeUndefined();
    for (const count of [0, 2]) {
      const other = query('x.example');
      other.writeUInt16BE(count, 4);
      expect(readQuery(other)).toBeUndefined();
    }
    const dotted = query('wwwxexample.com');
    dotted[12 + 4] = '.'.charCodeAt(0);
    expect(readQuery(dotted)).toBeUndefined();
    const pointer = query('x.example');
    pointer.set([0xc0, 0x0c], 12);
    expect(readQuery(pointer)).toBeUndefined();
  });

  it('is refused with its own question and nothing more', () => {
    const asked = query('x.example', 'A', { additionals: [{ type: 'OPT', name: '.', udpPayloadSize: 4096 }] });
    expect(dns.decode(Buffer.from(refusalOf(asked)))).toMatchObject({
      type: 'response',
      id: 7,
      rcode: 'REFUSED',
      flag_rd: true,
      questions: [{ type: 'A', name: 'x.example' }],
      answers: [],
      additionals: [],
    });
  });
});

describe('an answer', () => {
  it('gives the addresses of the name that was asked for', () => {
    expect(found(answer('x.example', [a('x.example', '192.0.2.1', 30), a('X.EXAMPLE', '192.0.2.2', 40)]))).toEqual([
      '192.0.2.1 30',
      '192.0.2.2 40',
    ]);
    const six: dns.Answer = { type: 'AAAA', name: 'x.example', data: '2001:db8::1', ttl: 5 };
    expect(found(answer('x.example', [six]))).toEqual(['2001:db8::1 5']);
  });

  it('follows aliases in whatever order they stand, for the least of their times', () => {
    const message = answer('x.example', [
      a('c.example', '192.0.2.1', 300),
      cname('b.example', 'c.example', 20),
      cname('x.example', 'b.example', 100),
    ]);
    expect(found(message)).toEqual(['192.0.2.1 20']);
    expect(readAnswer(message)?.aliases).toEqual(['b.example', 'c.example']);
  });

  it('says nothing of names that were not asked for', () => {
    expect(found(answer('x.example', [a('evil.example', '192.0.2.66')]))).toEqual([]);
    const additionals = [a('x.example', '192.0.2.66')];
    expect(found(answer('x.example', [], { additionals }))).toEqual([]);
  });

  it('ends where aliases turn in a circle, or do not end', () => {
    expect(found(answer('x.example', [cname('x.example', 'y.example'), cname('y.example', 'x.example')]))).toEqual([]);
    const long = Array.from({ length: 40 }, (_, i) => cname(`n${i}.example`, `n${i + 1}.example`));
    expect(found(answer('n0.example', [...long, a('n40.example', '192.0.2.1')]))).toEqual([]);
  });

  it('keeps its code', () => {
    const message = answer('x.example', []);
    message[3] = 3;
    expect(readAnswer(message)).toMatchObject({ code: 3, addresses: [] });
  });

  it('that is longer than its time allows is for no time (RFC 2181)', () => {
    expect(found(answer('x.example', [a('x.example', '192.0.2.1', 0xffffffff)]))).toEqual(['192.0.2.1 0']);
  });
});

it('whatever bytes come, reading them ends and nothing is thrown', () => {
  const whole = answer('x.example', [cname('x.example', 'y.example'), a('y.example', '192.0.2.1')]);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      readQuery(bytes);
      readAnswer(bytes);
    }),
  );
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, length) => {
      const broken = Uint8Array.from(whole).subarray(0, length);
      broken[at] = value;
      readQuery(broken);
      readAnswer(broken);
    }),
  );
});

it('an answer that says it has more records than it has bytes is not decoded at all', () => {
  const text =
    '0934818000 01e20200000000036170690765786d61706c6503636f6d00000100 01c00c0005000100000e10000603777777c010c02d002c00010000003c0004c6336407';
  // A decoder that believes the count takes 25 s, and the test's patience is 5.
  expect(readAnswer(Buffer.from(text.replaceAll(' ', ''), 'hex'))).toBeUndefined();
});

it('what stands behind the answers is not read: neither authorities nor what is additional', () => {
  const answer = dns.encode({
    type: 'response',
    questions: [{ type: 'A', name: 'a.example' }],
    answers: [{ type: 'A', name: 'a.example', ttl: 5, data: '192.0.2.1' }],
    authorities: [{ type: 'NS', name: 'example', ttl: 5, data: 'ns.example' }],
    additionals: [{ type: 'A', name: 'a.example', ttl: 5, data: '192.0.2.66' }],
  });
  const texts = (bytes: Uint8Array): string[] | undefined =>
    readAnswer(bytes)?.addresses.map(({ address }) => formatAddress(address));
  expect(texts(answer)).toEqual(['192.0.2.1']);
  expect(texts(answer.subarray(0, answer.length - 3))).toEqual(['192.0.2.1']);
});
