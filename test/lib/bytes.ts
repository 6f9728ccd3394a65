/** What an attacker sends and what really arrives: bytes, frames and marks, where an HTTP library would tidy up. */
import { join } from 'node:path';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT } from './tools.ts';
import type { Host } from './topology.ts';

const peer = (host: Host, ...args: string[]): Child =>
  Child.start('nsenter', inside(host.namespace, [process.execPath, join(ROOT, 'test/tools/bytes-peer.ts'), ...args]));

export interface Arrival {
  readonly event: 'opened' | 'bytes' | 'closed';
  /** Counted from 1. */
  readonly connection: number;
  readonly address: string;
  readonly port: number;
  readonly bytes?: string;
}

/** A server that keeps every byte. */
export class ByteServer {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static async start(host: Host, port: number): Promise<ByteServer> {
    const child = peer(host, 'serve', String(port));
    await child.waitForLine((line) => line === 'listening');
    return new ByteServer(child);
  }

  /** How much has happened: what `since` counts from. */
  get now(): number {
    return this.#child.lines.length;
  }

  since(mark = 0): readonly Arrival[] {
    const lines = this.#child.lines.slice(mark).filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as Arrival);
  }

  /** The first thing since then that `wanted` accepts. */
  async heard(mark: number, wanted: (arrival: Arrival) => boolean): Promise<Arrival> {
    const accept = (line: string): boolean => line.startsWith('{') && wanted(JSON.parse(line) as Arrival);
    return JSON.parse(await this.#child.waitForLine(accept, { from: mark, timeoutMs: 5_000 })) as Arrival;
  }

  async stop(): Promise<void> {
    await this.#child.stop();
  }

  /** All that arrived since then. */
  bytes(mark = 0): string {
    return this.since(mark)
      .map(({ bytes }) => bytes ?? '')
      .join('');
  }
}

export interface Exchange {
  /** The first of them. */
  readonly bytes: string;
  /** All of them. */
  readonly length: number;
  readonly port: number;
  /** quiet: we ended it after a silence; FIN: the other side did; or an errno name. */
  readonly how?: string;
}

export interface Exchanging {
  readonly parts: readonly string[];
  readonly port: number;
  readonly localPort?: number;
  /** So long nothing comes: the next part, or the end. */
  readonly quietMs?: number;
}

/** Connections that send what they are told, as it is. */
export class ByteClient {
  readonly #child: Child;
  #count = 0;

  private constructor(child: Child) {
    this.#child = child;
  }

  static start(host: Host): ByteClient {
    return new ByteClient(peer(host, 'send'));
  }

  /** From the first byte to the end. */
  async exchange(host: string, { quietMs = 400, ...rest }: Exchanging): Promise<Exchange> {
    return this.#next(this.#open(host, { quietMs, ...rest }), 'ended', 0);
  }

  /** One that stays open for half a minute after the last thing said. */
  hold(host: string, { quietMs = 30_000, ...rest }: Exchanging): HeldExchange {
    const id = this.#open(host, { quietMs, ...rest });
    let from = 0;
    const next = async (event: string): Promise<Exchange> => {
      const found = await this.#next(id, event, from);
      if (event === 'answer') from = this.#child.lines.length;
      return found;
    };
    return {
      answer: () => next('answer'),
      ended: () => next('ended'),
      say: (part) => {
        from = this.#child.lines.length;
        this.#child.write(`${JSON.stringify({ id, part })}\n`);
      },
      close: () => this.#child.write(`${JSON.stringify({ id, close: true })}\n`),
    };
  }

  #open(host: string, rest: Exchanging): number {
    const id = ++this.#count;
    this.#child.write(`${JSON.stringify({ id, host, ...rest })}\n`);
    return id;
  }

  async #next(id: number, event: string, from: number): Promise<Exchange> {
    const wanted = (line: string): boolean => line.startsWith(`{"event":"${event}","id":${id},`);
    return JSON.parse(await this.#child.waitForLine(wanted, { from, timeoutMs: 15_000 })) as Exchange;
  }
}

export interface HeldExchange {
  /** All that came so far, once more of it has come. */
  answer(): Promise<Exchange>;
  ended(): Promise<Exchange>;
  say(part: string): void;
  close(): void;
}

export interface Forged {
  readonly result: string;
  readonly bytes: string;
  readonly port: number;
}

export interface ForgedConnect {
  readonly how: 'connect';
  readonly host: string;
  readonly port: number;
  readonly send: string;
  readonly mark?: number;
  /** Of the source; it need not be the host's. */
  readonly address?: string;
  readonly sourcePort?: number;
}

export interface ForgedFrames {
  readonly how: 'raw';
  readonly device: string;
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly send: string;
}

/** Attempts of test/tools/forger.py, all at once. */
export async function forge(
  from: Host,
  attempts: readonly (ForgedConnect | ForgedFrames)[],
): Promise<readonly Forged[]> {
  const script = join(ROOT, 'test/tools/forger.py');
  const input = JSON.stringify(attempts);
  const { stdout } = await run('nsenter', inside(from.namespace, ['python3', script]), { input, timeoutMs: 20_000 });
  return JSON.parse(stdout) as Forged[];
}
