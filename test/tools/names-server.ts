/**
 * A DNS server for tests, UDP and TCP on port 53 of every address: nN.example.test and other names stand for addresses that are
 * made of their first number (1 where there is none), and so do those of example.com; aliasN.example.test for an alias of an alias. One line on stdout for each query: who asks for what.
 * `names-server.ts V4PREFIX V6PREFIX`, e.g. 198.18 2001:db8:f
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import dns from 'dns-packet';

const [v4 = '', v6 = ''] = process.argv.slice(2);
const TTL = 30;

function addressOf(name: string, type: 'A' | 'AAAA'): string {
  const number = Number(/\d+/.exec(name)?.[0] ?? 1);
  return type === 'A' ? `${v4}.${number >> 8}.${number & 255}` : `${v6}::${number.toString(16)}`;
}

function answersTo(name: string, type: 'A' | 'AAAA'): dns.Answer[] {
  const number = /^alias(\d+)\.(.*)$/.exec(name);
  const last = number ? `n${number[1]}.${number[2]}` : name;
  const aliases: dns.Answer[] = number
    ? [
        { type: 'CNAME', name, ttl: TTL, data: `middle.${name}` },
        { type: 'CNAME', name: `middle.${name}`, ttl: TTL, data: last },
      ]
    : [];
  return [...aliases, { type, name: last, ttl: TTL, data: addressOf(last, type) }];
}

function answer(message: Buffer, from: string): Buffer {
  const query = dns.decode(message);
  const [question] = query.questions ?? [];
  if (question === undefined) return dns.encode({ type: 'response', id: query.id ?? 0, questions: [] });
  process.stdout.write(`${JSON.stringify({ from, name: question.name, type: question.type })}\n`);
  const { name, type } = question;
  const known = (type === 'A' || type === 'AAAA') && /\.(test|example\.com)$/i.test(name);
  return dns.encode({
    type: 'response',
    id: query.id ?? 0,
    flags: dns.RECURSION_DESIRED | dns.RECURSION_AVAILABLE | (known ? 0 : 3),
    questions: [question],
    answers: known ? answersTo(name, type) : [],
  });
}

const udp = createSocket({ type: 'udp6' });
udp.on('message', (message, { address, port }) => udp.send(answer(message, address), port, address));
const tcp = createServer((socket) => {
  let held = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const end = 2 + held.readUInt16BE(0);
      const reply = answer(held.subarray(2, end), socket.remoteAddress ?? '');
      held = held.subarray(end);
      socket.write(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 255]), reply]));
    }
  });
  socket.on('error', () => socket.destroy());
});
udp.bind(53, () => tcp.listen(53, '::', () => process.stdout.write('listening\n')));
