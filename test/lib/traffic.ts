/** Traffic between namespaces: servers that run until their topology is removed, and questions that are answered once. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT, tool } from './tools.ts';
import type { Host } from './topology.ts';

export type Family = 'ipv4' | 'ipv6';
export const FAMILIES = ['ipv4', 'ipv6'] as const;

/** Nothing came back: what a dropped packet looks like. Long enough for one retransmission, so that luck does not read as a drop. */
const TIMEOUT_MS = 1_200;

/** What is on its way through the process of a tunnel has come by then. */
const IN_FLIGHT_MS = 250;

export interface Answer {
  /** answered, timeout, cut, or an errno name such as ECONNREFUSED. */
  readonly outcome: string;
  /** The asker's port, when it was known. */
  readonly port?: number;
}

function peer(args: readonly (string | number)[]): readonly string[] {
  return [process.execPath, join(ROOT, 'test/tools/peer.ts'), ...args.map(String)];
}

function start(host: Host, command: readonly string[]): Child {
  return Child.start('nsenter', inside(host.namespace, command));
}

async function listening(server: Child): Promise<Child> {
  await server.waitForLine((line) => line === 'listening');
  return server;
}

export function tcpEchoServer(host: Host, port: number): Promise<Child> {
  return listening(start(host, peer(['tcp-echo', port])));
}

export function udpEchoServer(host: Host, port: number): Promise<Child> {
  return listening(start(host, peer(['udp-echo', port])));
}

/** Several at once, in one process. @param specs PORT/tcp or PORT/udp, with @ADDRESS where it is to be of one address only */
export function echoServers(host: Host, specs: readonly string[]): Promise<Child> {
  return listening(start(host, peer(['echo', ...specs])));
}

export interface Target {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  /** One of the asker's addresses. */
  readonly from?: string;
}

/** Asks many targets at once, again and again, until its topology is removed. */
export class Asker {
  readonly #child: Child;

  constructor(from: Host) {
    this.#child = start(from, peer(['reach', TIMEOUT_MS]));
  }

  /** One echo each. Not twice at a time. @returns in order: answered, timeout, or an errno name */
  async ask(targets: readonly Target[]): Promise<readonly string[]> {
    const from = this.#child.lines.length;
    this.#child.write(`${JSON.stringify(targets)}\n`);
    return JSON.parse(await this.#child.waitForLine(() => true, { from, timeoutMs: 10_000 })) as string[];
  }
}

async function answerOf(host: Host, command: readonly string[]): Promise<Answer> {
  const { stdout } = await run('nsenter', inside(host.namespace, command), { timeoutMs: 20_000 });
  return JSON.parse(stdout) as Answer;
}

/** One TCP connection and one echo over it. */
export function connectTcp(
  from: Host,
  to: Host,
  family: Family,
  port: number,
  timeoutMs = TIMEOUT_MS,
): Promise<Answer> {
  return answerOf(from, peer(['tcp-connect', to[family], port, timeoutMs]));
}

/** One datagram and its echo. */
export function askUdp(
  from: Host,
  to: Host,
  family: Family,
  port: number,
  size = 64,
  timeoutMs = TIMEOUT_MS,
): Promise<Answer> {
  return answerOf(from, peer(['udp-ask', to[family], port, size, timeoutMs]));
}

/** How many of `count` echo requests were answered. */
export async function ping(from: Host, to: Host, family: Family, count = 1): Promise<number> {
  const { stdout } = await run(
    'nsenter',
    inside(from.namespace, [await tool('ping'), to[family], String(count), String(TIMEOUT_MS)]),
  );
  return (JSON.parse(stdout) as { received: number }).received;
}

/** One connection that says something every `intervalMs`. */
export class HeldConnection {
  readonly #child: Child;
  readonly port: number;

  private constructor(child: Child, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async open(from: Host, to: Host, family: Family, port: number, intervalMs = 20): Promise<HeldConnection> {
    const child = start(from, peer(['tcp-hold', to[family], port, intervalMs]));
    const line = await child.waitForLine((each) => each.includes('"connected"'));
    return new HeldConnection(child, (JSON.parse(line) as { port: number }).port);
  }

  /** Waits for `count` echoes from now on: it is alive. */
  async alive(count = 3, timeoutMs = 5_000): Promise<void> {
    let left = count;
    await this.#child.waitForLine((line) => line.includes('"echo"') && --left === 0, {
      from: this.#child.lines.length,
      timeoutMs,
    });
  }

  /** Waits until nothing has come back for `silenceMs`; answers when the last echo came, in milliseconds since the epoch. */
  async stopped(silenceMs = 1_500, timeoutMs = 30_000): Promise<number> {
    const deadline = Date.now() + timeoutMs;
    while (Date.now() < deadline) {
      const echoes = this.#child.lines.filter((line) => line.includes('"echo"'));
      const { at } = JSON.parse(echoes.at(-1) ?? '{"at":0}') as { at: number };
      if (Date.now() - at > silenceMs) return at;
      await delay(20);
    }
    throw new Error(`after ${timeoutMs} ms there are still echoes`);
  }

  /** Waits until the other side, or the network, ends it; answers how: an errno name or FIN. */
  async ended(timeoutMs = 5_000): Promise<string> {
    const line = await this.#child.waitForLine((each) => each.includes('"closed"'), { timeoutMs });
    return (JSON.parse(line) as { reason: string }).reason;
  }

  async close(): Promise<void> {
    this.#child.endInput();
    await this.#child.exited;
  }
}

/** Many connections that stay open. */
export class ManyConnections {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static async open(from: Host, to: Host, family: Family, port: number, count: number): Promise<ManyConnections> {
    const child = start(from, peer(['tcp-many', to[family], port, count]));
    await child.waitForLine((line) => line.includes('"connected"'), { timeoutMs: 30_000 });
    return new ManyConnections(child);
  }

  /** Sends a byte over each and counts what comes back. */
  async check(): Promise<{ readonly alive: number; readonly broken: number }> {
    const from = this.#child.lines.length;
    this.#child.write('check\n');
    const line = await this.#child.waitForLine((each) => each.includes('"checked"'), { from, timeoutMs: 20_000 });
    return JSON.parse(line) as { alive: number; broken: number };
  }

  async close(): Promise<void> {
    this.#child.endInput();
    await this.#child.exited;
  }
}

export interface StreamReport {
  readonly sent: number;
  readonly received: number;
  readonly gaps: number;
  readonly duplicates: number;
  readonly reordered: number;
  /** Dropped by the receiver's socket, not by the network. */
  readonly socketOverflow: number;
  readonly longestSilenceMs: number;
}

/** A numbered stream of datagrams at a steady rate, from `start` to `stop`. */
export class UdpStream {
  readonly #sender: Child;
  readonly #receiver: Child;

  private constructor(sender: Child, receiver: Child) {
    this.#sender = sender;
    this.#receiver = receiver;
  }

  static async start(from: Host, to: Host, family: Family, port: number, packetsPerSecond: number): Promise<UdpStream> {
    const program = await tool('udpstream');
    const receiver = await listening(start(to, [program, 'receive', String(port)]));
    const sender = start(from, [program, 'send', to[family], String(port), String(packetsPerSecond), '0']);
    return new UdpStream(sender, receiver);
  }

  async stop(): Promise<StreamReport> {
    await this.#sender.stop();
    // veth delivers at once; a tunnel's process when it comes to it.
    await delay(IN_FLIGHT_MS);
    await this.#receiver.stop();
    const [sender, receiver] = [this.#sender, this.#receiver].map(
      (child) => JSON.parse(child.lines.at(-1) ?? '{}') as object,
    );
    return { ...sender, ...receiver } as StreamReport;
  }
}

export interface RawPacket {
  readonly [option: string]: string | number | true;
}

/** Sends packets as test/tools/rawpacket.c describes; returns how many left. */
export async function sendRaw(from: Host, packet: RawPacket): Promise<number> {
  const options = Object.entries(packet).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [`--${name}`, String(value)],
  );
  const { stdout } = await run('nsenter', inside(from.namespace, [await tool('rawpacket'), ...options]), {
    timeoutMs: 30_000,
  });
  return (JSON.parse(stdout) as { sent: number }).sent;
}
