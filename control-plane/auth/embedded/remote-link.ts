/** The way to the authority over the network: one connection at a time, kept for a moment, one question at a time. */
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import { authorityId, nodeId } from '../spiffe-id.ts';
import type { ServiceAccountRef, Svid, TrustBundle } from '../svid.ts';
import { presentedChain, tlsMaterial } from '../tls-peer.ts';
import { verifySvid } from '../verify.ts';
import { JOIN_EXPORTER, proofOfToken } from './join-tokens.ts';
import type { AuthorityLink, Issued } from './link.ts';
import { ALPN, decodeAnswer, encodeQuestion, FrameReader, protocolError, type Question } from './protocol.ts';

const CONNECT_MS = 5000;
const ANSWER_MS = 10_000;
/** Questions come in bursts. */
const IDLE_MS = 5000;
const EXPORTED_BYTES = 32;

export interface RemoteLinkOptions {
  readonly trustDomain: string;
  readonly node: string;
  /** Where the authority is, as is known at the time; tried in order. */
  readonly endpoints: () => readonly { readonly address: string; readonly port: number }[];
  readonly clock: Clock;
  /** What the authority is recognized by. */
  readonly bundle: () => TrustBundle;
  /** Asked when there is no valid certificate. undefined: none was given. */
  readonly joinToken: () => string | undefined;
}

export class RemoteLink implements AuthorityLink {
  readonly #options: RemoteLinkOptions;
  #open: Connection | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: RemoteLinkOptions) {
    this.#options = options;
  }

  node(request: Buffer, current: Svid | undefined): Promise<Issued> {
    return this.#inTurn(() =>
      current === undefined ? this.#join(request) : this.#ask(current, { type: 'node', request }),
    );
  }

  workload(of: ServiceAccountRef, request: Buffer, node: Svid | undefined): Promise<Issued> {
    return this.#inTurn(async () => {
      if (node === undefined)
        throw new SidestepError('CA_NODE_REFUSED', `the node ${this.#options.node} has no certificate yet`);
      return this.#ask(node, { type: 'workload', ...of, request });
    });
  }

  close(): void {
    this.#open?.close();
    this.#open = undefined;
  }

  async #join(request: Buffer): Promise<Issued> {
    const { node, joinToken } = this.#options;
    const token = joinToken()?.trim();
    if (!token)
      throw new SidestepError('CA_TOKEN_MISSING', `there is neither a valid ${this.#ownId} nor a join token for it`);
    const connection = await this.#connection(undefined);
    const proof = proofOfToken(token, node, request, connection.exported());
    return connection.ask({ type: 'join', node, request, proof });
  }

  async #ask(as: Svid, question: Question): Promise<Issued> {
    return (await this.#connection(as)).ask(question);
  }

  get #ownId(): string {
    return nodeId(this.#options.trustDomain, this.#options.node);
  }

  async #inTurn(action: () => Promise<Issued>): Promise<Issued> {
    const turn = this.#last.then(action, action);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** The open one, if it was opened with the same certificate; else a new one. */
  async #connection(as: Svid | undefined): Promise<Connection> {
    if (this.#open?.serves(as)) return this.#open;
    this.close();
    const failures: unknown[] = [];
    for (const { address, port } of this.#options.endpoints())
      try {
        this.#open = await Connection.open(address, port, as, this.#options);
        return this.#open;
      } catch (error) {
        // Somebody else at one address does not hide the authority at the next.
        failures.push(error);
      }
    const told = failures.find((error) => error instanceof SidestepError && error.code !== 'CA_UNREACHABLE');
    if (told !== undefined) throw told;
    const why = failures.map((error) => (error as Error).message).join('; ') || 'it has no address';
    throw new SidestepError('CA_UNREACHABLE', `the certificate authority does not answer: ${why}`, {
      cause: failures[0],
    });
  }
}

interface Waiting {
  readonly resolve: (issued: Issued) => void;
  readonly reject: (error: unknown) => void;
}

class Connection {
  readonly #socket: TLSSocket;
  readonly #clock: Clock;
  readonly #serial: string | undefined;
  readonly #reader = new FrameReader();
  #waiting: Waiting | undefined;
  #cancelIdle = (): void => {};

  private constructor(socket: TLSSocket, clock: Clock, serial: string | undefined) {
    this.#socket = socket;
    this.#clock = clock;
    this.#serial = serial;
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(unreachable(error)));
    socket.on('close', () => this.#fail(unreachable(new Error('the connection was closed'))));
    this.#closeWhenIdle();
  }

  /** @throws CA_UNREACHABLE, CA_PROTOCOL, CA_IMPOSTOR */
  static async open(host: string, port: number, as: Svid | undefined, options: RemoteLinkOptions): Promise<Connection> {
    const { clock, bundle, trustDomain } = options;
    const socket = connect({
      host,
      port,
      minVersion: 'TLSv1.3',
      ALPNProtocols: [ALPN],
      // The rules are SPIFFE's: checkServer, before a question leaves.
      rejectUnauthorized: false,
      ...(as && tlsMaterial(as)),
    } satisfies ConnectionOptions);
    try {
      await secured(socket, clock);
      checkServer(socket, bundle(), authorityId(trustDomain), clock.now());
    } catch (error) {
      socket.destroy();
      if (error instanceof SidestepError) throw error;
      throw unreachable(error, `${host} port ${port}`);
    }
    return new Connection(socket, clock, as?.serial);
  }

  serves(as: Svid | undefined): boolean {
    return !this.#socket.destroyed && this.#socket.writable && this.#serial === as?.serial;
  }

  exported(): Buffer {
    return this.#socket.exportKeyingMaterial(EXPORTED_BYTES, JOIN_EXPORTER, Buffer.alloc(0));
  }

  async ask(question: Question): Promise<Issued> {
    this.#cancelIdle();
    const answered = new Promise<Issued>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    const cancel = this.#clock.after(ANSWER_MS, () => this.#fail(unreachable(new Error('no answer in time'))));
    this.#socket.write(encodeQuestion(question));
    try {
      return await answered;
    } finally {
      cancel();
      this.#closeWhenIdle();
    }
  }

  close(): void {
    this.#fail(unreachable(new Error('closed')));
  }

  #closeWhenIdle(): void {
    this.#cancelIdle = this.#clock.after(IDLE_MS, () => this.close());
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) {
        const waiting = this.#waiting;
        if (waiting === undefined) throw protocolError('an answer that nobody asked for');
        this.#waiting = undefined;
        try {
          waiting.resolve(decodeAnswer(frame));
        } catch (error) {
          waiting.reject(error);
        }
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#cancelIdle();
    this.#socket.destroy();
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}

function secured(socket: TLSSocket, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(CONNECT_MS, () => reject(new Error('no answer in time')));
    socket.once('secureConnect', () => {
      cancel();
      resolve();
    });
    socket.once('close', () => {
      cancel();
      reject(new Error('the connection was closed'));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      cancel();
      reject(
        error.code?.startsWith('ERR_SSL') || error.code === 'EPROTO' ? protocolError(error.message, error) : error,
      );
    });
  });
}

/** Only the authority itself is asked: a node's certificate of the same mesh is none for it. @throws CA_PROTOCOL, CA_IMPOSTOR */
function checkServer(socket: TLSSocket, bundle: TrustBundle, expected: string, now: number): void {
  if (socket.alpnProtocol !== ALPN) throw protocolError('it does not speak the protocol of the authority');
  let spiffeId: string;
  try {
    ({ spiffeId } = verifySvid(presentedChain(socket), bundle, now));
  } catch (cause) {
    throw new SidestepError('CA_IMPOSTOR', `who answers is not the authority: ${(cause as Error).message}`, { cause });
  }
  if (spiffeId !== expected) throw new SidestepError('CA_IMPOSTOR', `who answers is ${spiffeId}, not ${expected}`);
}

function unreachable(cause: unknown, where?: string): SidestepError {
  const why = (cause as Error).message;
  return new SidestepError('CA_UNREACHABLE', where === undefined ? why : `${where}: ${why}`, { cause });
}
