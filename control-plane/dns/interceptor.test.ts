import dns from 'dns-packet';
import { beforeEach, describe, expect, it } from 'vitest';
import { formatAddress } from '../model/address.ts';
import { FakeClock } from '../model/fake-clock.ts';
import type { DnsRule, NameMatch } from '../model/policy.ts';
import { replyTo, TCP_FLAGS } from './frame.ts';
import { type DnsFlow, Interceptor, type InterceptorLimits } from './interceptor.ts';
import type { Answer } from './message.ts';
import { answer, datagramOf, query, tcpQuery, udpAnswer, udpQuery } from './samples.ts';
import { withLength } from './stream.ts';

const rules = (...matches: NameMatch[]): DnsRule[] =>
  matches.map((match) => ({ ref: { kind: 'K', namespace: 'n', name: 'p', rule: 'egress[0]' }, match }));
const ALLOWED = rules({ matchName: 'good.example' });

let clock: FakeClock;
let written: Uint8Array[];
let refused: (string | undefined)[];
let learned: Answer[];
let applied: (() => void)[];
let flow: DnsFlow | undefined;

function open(limits: Partial<InterceptorLimits> = {}): Interceptor {
  return new Interceptor({
    flowOf: (datagram) => flow && { ...flow, fromClient: datagram.destinationPort === 53 },
    learn: (what) => {
      learned.push(what);
      if (what.addresses.length === 0) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      applied.push(resolve);
      return promise;
    },
    writeBack: (frame) => void written.push(frame),
    saw: ({ verdict, question }) => {
      if (verdict === 'refused') refused.push(question?.name);
    },
    clock,
    limits,
  });
}

beforeEach(() => {
  clock = new FakeClock();
  [written, refused, learned, applied] = [[], [], [], []];
  flow = { fromClient: true, rules: ALLOWED, begins: true };
});

const settle = (): Promise<void> => clock.advance(0);

describe('queries', () => {
  it('what may be asked for goes on as it came', () => {
    const frame = udpQuery(query('GOOD.example'));
    open().take(frame);
    expect(written).toEqual([frame]);
    expect(refused).toEqual([]);
  });

  it('what may not is answered with REFUSED, and goes nowhere', () => {
    const interceptor = open();
    interceptor.take(udpQuery(query('bad.example')));
    const [only] = written.map(datagramOf);
    expect(written).toHaveLength(1);
    expect(only).toMatchObject({ sourcePort: 53, destinationPort: 40_000 });
    expect(dns.decode(Buffer.from(only?.payload ?? []))).toMatchObject({
      id: 7,
      rcode: 'REFUSED',
      questions: [{ name: 'bad.example' }],
    });
    expect(refused).toEqual(['bad.example']);
    expect(interceptor.numbers).toMatchObject({ queries: 1, refused: 1 });
  });

  it('what is no query is dropped where there are rules', () => {
    open().take(udpQuery(Buffer.from('tunnel')));
    open().take(udpQuery(answer('good.example', '192.0.2.1')));
    expect([written, refused]).toEqual([[], [undefined, undefined]]);
  });

  it('of a flow that has no rules go on, whatever they are', () => {
    flow = { fromClient: true, rules: undefined, begins: true };
    open().take(udpQuery(Buffer.from('anything')));
    expect(written).toHaveLength(1);
  });

  it('of no flow that is known, and frames that cannot be read, go nowhere', () => {
    const interceptor = open();
    interceptor.take(new Uint8Array(20));
    flow = undefined;
    interceptor.take(udpQuery(query('good.example')));
    expect([written, interceptor.numbers.unreadable]).toEqual([[], 2]);
  });
});

describe('queries over TCP', () => {
  const [good, bad] = [withLength(query('good.example')), withLength(query('bad.example'))];

  it('segments go on once the messages in them are whole and allowed', () => {
    const interceptor = open();
    const frames = [tcpQuery(good.subarray(0, 2), 100), tcpQuery(good.subarray(2), 102)];
    interceptor.take(frames[0] as Uint8Array);
    expect(written).toEqual([]);
    interceptor.take(frames[1] as Uint8Array);
    expect(written).toEqual(frames);
  });

  it('one that is refused ends the connection at both ends, with an answer to the client, whatever else was in it', () => {
    const interceptor = open();
    interceptor.take(tcpQuery(Buffer.concat([good, bad]), 100));
    const [reply, reset] = written.map(datagramOf);
    expect(written).toHaveLength(2);
    expect(dns.streamDecode(Buffer.from(reply?.payload ?? []))).toMatchObject({ rcode: 'REFUSED' });
    expect(reply).toMatchObject({ sourcePort: 53, sequence: 5000, acknowledged: 100 + good.length + bad.length });
    expect(reply?.flags).toBe(TCP_FLAGS.FIN | TCP_FLAGS.PSH | TCP_FLAGS.ACK);
    expect(reset).toMatchObject({ destinationPort: 53, flags: TCP_FLAGS.RST | TCP_FLAGS.ACK, sequence: 100 });
    written.length = 0;
    interceptor.take(tcpQuery(good, 100 + good.length + bad.length));
    expect(written).toEqual([]);
  });

  it('other bytes in place of those that were looked at end it', () => {
    const interceptor = open();
    interceptor.take(tcpQuery(good, 100));
    interceptor.take(tcpQuery(Buffer.from(good).fill('x', 16, 20), 100));
    expect(written.slice(1).map((frame) => datagramOf(frame).flags & TCP_FLAGS.RST)).toEqual([4, 4]);
    expect(refused).toEqual([undefined]);
  });

  it('a connection whose beginning was not seen is ended', () => {
    flow = { fromClient: true, rules: ALLOWED, begins: false };
    open().take(tcpQuery(good, 100));
    expect(written.map((frame) => datagramOf(frame).flags & TCP_FLAGS.RST)).toEqual([4, 4]);
  });
});

describe('answers', () => {
  it('go on when the kernel knows what they say, not before', async () => {
    const interceptor = open();
    const frame = udpAnswer(answer('good.example', '192.0.2.1'));
    interceptor.take(frame);
    await settle();
    expect(written).toEqual([]);
    expect(learned.map(({ name, addresses }) => [name, ...addresses.map((a) => formatAddress(a.address))])).toEqual([
      ['good.example', '192.0.2.1'],
    ]);
    applied[0]?.();
    await settle();
    expect(written).toEqual([frame]);
    expect([interceptor.numbers.learned, clock.waiting]).toEqual([1, 0]);
  });

  it('go on at once when there is nothing new in them, or they cannot be read', () => {
    const interceptor = open();
    const frames = [udpAnswer(answer('good.example')), udpAnswer(Buffer.from('?'))];
    for (const frame of frames) interceptor.take(frame);
    expect(written).toEqual(frames);
  });

  it('go on unlearned when it takes too long, or too many wait', async () => {
    const interceptor = open({ waiting: 1, ageMs: 500 });
    const [first, second] = [udpAnswer(answer('a.example', '192.0.2.1')), udpAnswer(answer('b.example', '192.0.2.2'))];
    interceptor.take(first);
    interceptor.take(second);
    expect(written).toEqual([second]);
    await clock.advance(500);
    expect(written).toEqual([second, first]);
    expect(interceptor.numbers).toMatchObject({ unlearned: 2, learned: 0 });
  });

  it('over TCP: only the segment that makes a message whole waits', async () => {
    const interceptor = open();
    const asked = datagramOf(tcpQuery(new Uint8Array(0), 100));
    const whole = withLength(answer('good.example', '192.0.2.1'));
    const first = replyTo(asked, whole.subarray(0, 10), TCP_FLAGS.ACK);
    const last = replyTo({ ...asked, acknowledged: 5010 }, whole.subarray(10), TCP_FLAGS.ACK);
    interceptor.take(first);
    interceptor.take(last);
    await settle();
    expect(written).toEqual([first]);
    applied[0]?.();
    await settle();
    expect(written).toEqual([first, last]);
  });
});

it('has room for so many connections: the one that was quiet longest is forgotten, and ends when it goes on', () => {
  const interceptor = open({ streams: 1 });
  const good = withLength(query('good.example'));
  interceptor.take(tcpQuery(good, 100));
  interceptor.take(udpQuery(query('good.example')));
  const other = tcpQuery(good, 100);
  other[34 + 1] = 1;
  interceptor.take(other);
  expect(written).toHaveLength(3);
  flow = { fromClient: true, rules: ALLOWED, begins: false };
  interceptor.take(tcpQuery(good, 100 + good.length));
  expect(written.slice(3).map((frame) => datagramOf(frame).flags & TCP_FLAGS.RST)).toEqual([4, 4]);
});
