/**
 * Both ends of ordinary TCP and UDP traffic, run inside a network namespace. Speaks JSON lines on stdout.
 *   tcp-echo PORT | udp-echo PORT               "listening", then echoes until it is killed
 *   tcp-connect ADDRESS PORT TIMEOUT_MS         one connection, one echo: {"outcome","port","ms"}
 *   tcp-hold ADDRESS PORT INTERVAL_MS           one connection, a byte each interval: {"event":"connected"|"echo"|"closed",…}, echoes with the time; stdin's end ends it
 *   tcp-many ADDRESS PORT COUNT                 opens them all; each line on stdin sends one byte on each and counts echoes
 *   udp-ask ADDRESS PORT SIZE TIMEOUT_MS        one datagram, one echo of equal size: {"outcome","port"}
 *   echo PORT/tcp|PORT/udp[@ADDRESS] …          "listening" when all of them do
 *   reach TIMEOUT_MS                            each line on stdin a JSON list of {"protocol","address","port","from"?}: all are asked at once; a list of outcomes
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

function say(value: unknown): void {
  process.stdout.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
}

function errorCode(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}

function tcpEcho(port: number, host = '::'): Promise<void> {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  return new Promise((resolve) => server.listen({ port, host, backlog: 4096 }, resolve));
}

function udpEcho(port: number, host = '::'): Promise<void> {
  const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  return new Promise((resolve) => socket.bind(port, host, resolve));
}

async function echoAll(specs: readonly string[]): Promise<void> {
  await Promise.all(
    specs.map((spec) => {
      const [, port, protocol, address] = /^(\d+)\/(tcp|udp)(?:@(.+))?$/.exec(spec) ?? [];
      return protocol === 'tcp' ? tcpEcho(Number(port), address) : udpEcho(Number(port), address);
    }),
  );
  say('listening');
}

interface Target {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  /** Of the asker's own; the kernel's choice where it is left out. */
  readonly from?: string;
}

function reachTcp({ address, port, from }: Target, done: (outcome: string) => void): () => void {
  const socket = connect({ host: address, port, noDelay: true, ...(from === undefined ? {} : { localAddress: from }) });
  socket.on('connect', () => socket.write('x'));
  socket.on('data', () => done('answered'));
  socket.on('error', (error) => done(errorCode(error)));
  return () => socket.destroy();
}

function reachUdp({ address, port, from }: Target, done: (outcome: string) => void): () => void {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  socket.on('message', () => done('answered'));
  socket.on('error', (error) => done(errorCode(error)));
  socket.bind(0, from, () => socket.connect(port, address, () => socket.send('x')));
  return () => socket.close();
}

async function reach(timeoutMs: number): Promise<void> {
  for await (const line of createInterface({ input: process.stdin }))
    say(await outcomesOf(JSON.parse(line) as Target[], timeoutMs));
}

function outcomesOf(targets: readonly Target[], timeoutMs: number): Promise<readonly string[]> {
  const outcomes = targets.map(
    (target) =>
      new Promise<string>((resolve) => {
        const timer = setTimeout(() => done('timeout'), timeoutMs);
        const done = (outcome: string): void => {
          clearTimeout(timer);
          close();
          resolve(outcome);
        };
        const close = target.protocol === 'tcp' ? reachTcp(target, done) : reachUdp(target, done);
      }),
  );
  return Promise.all(outcomes);
}

function tcpConnect(host: string, port: number, timeoutMs: number): void {
  const began = performance.now();
  const socket = connect({ host, port, noDelay: true });
  const finish = (outcome: string): void => {
    say({ outcome, port: localPort, ms: Math.round(performance.now() - began) });
    socket.destroy();
    clearTimeout(timer);
  };
  let localPort: number | undefined;
  const timer = setTimeout(() => finish('timeout'), timeoutMs);
  socket.on('connect', () => {
    localPort = socket.localPort;
    socket.write('x');
  });
  socket.on('data', () => finish('answered'));
  socket.on('error', (error) => finish(errorCode(error)));
}

function tcpHold(host: string, port: number, intervalMs: number): void {
  const socket = connect({ host, port, noDelay: true });
  let sent = 0;
  let echoed = 0;
  let timer: NodeJS.Timeout | undefined;
  const end = (reason: string): void => {
    clearInterval(timer);
    say({ event: 'closed', reason, sent, echoed });
    process.exit(0);
  };
  socket.on('connect', () => {
    say({ event: 'connected', port: socket.localPort });
    timer = setInterval(() => {
      socket.write('x');
      sent++;
    }, intervalMs);
  });
  socket.on('data', (data) => {
    echoed += data.length;
    say({ event: 'echo', echoed, at: Date.now() });
  });
  socket.on('error', (error) => end(errorCode(error)));
  socket.on('end', () => end('FIN'));
  process.stdin.on('end', () => end('asked')).resume();
}

async function tcpMany(host: string, port: number, count: number): Promise<void> {
  const sockets: Socket[] = [];
  const broken = new Set<Socket>();
  while (sockets.length < count) {
    const socket = connect({ host, port, noDelay: true });
    await once(socket, 'connect');
    for (const ending of ['error', 'end', 'close']) socket.on(ending, () => broken.add(socket));
    sockets.push(socket);
  }
  say({ event: 'connected', count });
  for await (const _ of createInterface({ input: process.stdin })) {
    const alive = await Promise.all(sockets.map((socket) => echoes(socket)));
    say({ event: 'checked', alive: alive.filter((each) => each).length, broken: broken.size });
  }
  process.exit(0);
}

function echoes(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), 5_000);
    socket.once('data', () => {
      clearTimeout(timer);
      resolve(true);
    });
    socket.write('x');
  });
}

function udpAsk(host: string, port: number, size: number, timeoutMs: number): void {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  const finish = (outcome: string): void => {
    clearTimeout(timer);
    say({ outcome, port: localPort });
    socket.close();
  };
  let localPort: number | undefined;
  const timer = setTimeout(() => finish('timeout'), timeoutMs);
  socket.on('message', (message) => finish(message.length === size ? 'answered' : 'cut'));
  socket.on('error', (error) => finish(errorCode(error)));
  // Connected, so that an ICMP error about it reaches it.
  socket.connect(port, host, () => {
    localPort = socket.address().port;
    socket.send(Buffer.alloc(size, 'x'));
  });
}

const [what, ...rest] = process.argv.slice(2);
const [first = '', ...others] = rest;
const numbers = others.map(Number);
const [second = 0, third = 0, fourth = 0] = numbers;
if (what === 'tcp-echo') await echoAll([`${first}/tcp`]);
else if (what === 'udp-echo') await echoAll([`${first}/udp`]);
else if (what === 'echo') await echoAll(rest);
else if (what === 'reach') await reach(Number(first));
else if (what === 'tcp-connect') tcpConnect(first, second, third);
else if (what === 'tcp-hold') tcpHold(first, second, third);
else if (what === 'tcp-many') await tcpMany(first, second, third);
else if (what === 'udp-ask') udpAsk(first, second, third, fourth);
else process.exitCode = 64;
