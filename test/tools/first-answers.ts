/**
 * Asks for names and connects at once to what each stands for: `first-answers.ts SERVER FAMILY TRANSPORT PORT TIMEOUT NAME…`, a name
 * with {A..B} for many. Prints one JSON object: how many times what came of it.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import dns from 'dns-packet';

const [server = '', family = 'ipv4', transport = 'udp', port = '0', timeout = '0', ...patterns] = process.argv.slice(2);
const type = family === 'ipv4' ? 'A' : 'AAAA';
const names = patterns.flatMap((pattern) => {
  const [, head = '', from = '0', to = '0', tail = ''] = /^(.*)\{(\d+)\.\.(\d+)\}(.*)$/.exec(pattern) ?? [];
  if (tail === '' && head === '') return [pattern];
  return Array.from({ length: Number(to) - Number(from) + 1 }, (_, i) => `${head}${Number(from) + i}${tail}`);
});

type Reply = dns.DecodedPacket & { readonly rcode?: string };

function overUdp(message: Buffer): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
    const timer = setTimeout(() => {
      socket.close();
      reject(new Error('no answer'));
    }, Number(timeout));
    const end = (): void => {
      clearTimeout(timer);
      socket.close();
    };
    socket.on('message', (reply) => {
      end();
      resolve(dns.decode(reply));
    });
    socket.on('error', (error) => {
      end();
      reject(error);
    });
    socket.send(message, 53, server);
  });
}

function overTcp(message: Buffer): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server, port: 53 });
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), Number(timeout));
    let held = Buffer.alloc(0);
    socket.on('connect', () => {
      // The length alone first, as some resolvers do.
      socket.setNoDelay(true);
      socket.write(Buffer.from([message.length >> 8, message.length & 255]));
      setTimeout(() => socket.write(message), 5);
    });
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      if (held.length < 2 || held.length < 2 + held.readUInt16BE(0)) return;
      resolve(dns.decode(held.subarray(2)));
      socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      reject(new Error('closed'));
    });
  });
}

function reach(host: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    const timer = setTimeout(() => {
      resolve('timeout');
      socket.destroy();
    }, Number(timeout));
    socket.on('connect', () => {
      clearTimeout(timer);
      resolve('connected');
      socket.destroy();
    });
    socket.on('error', ({ message }) => resolve(message));
  });
}

async function one(name: string, id: number): Promise<string> {
  const message = dns.encode({
    type: 'query',
    id: id & 0xffff,
    flags: dns.RECURSION_DESIRED,
    questions: [{ type, name }],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: 1232,
        flags: 0,
        options: [],
        extendedRcode: 0,
        ednsVersion: 0,
        flag_do: false,
      },
    ],
  });
  let reply: Reply;
  try {
    reply = await (transport === 'tcp' ? overTcp(message) : overUdp(message));
  } catch (error) {
    return (error as Error).message;
  }
  if (reply.rcode !== 'NOERROR') return reply.rcode ?? '';
  const address = reply.answers?.flatMap((each) => (each.type === type ? [each.data as string] : []))[0];
  if (address === undefined) return 'no address';
  return port === '0' ? 'answered' : reach(address);
}

const outcomes: Record<string, number> = {};
for (const [id, name] of names.entries()) {
  const outcome = await one(name, id);
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
process.stdout.write(`${JSON.stringify(outcomes)}\n`);
