/** The authority on the network: TLS 1.3, one question at a time, every answer decided by CertificateAuthority. */
import { constants } from 'node:crypto';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import { parseSpiffeId } from '../spiffe-id.ts';
import type { Svid } from '../svid.ts';
import { presentedChain, tlsMaterial } from '../tls-peer.ts';
import { verifySvid } from '../verify.ts';
import type { CertificateAuthority } from './certificate-authority.ts';
import { JOIN_EXPORTER } from './join-tokens.ts';
import { limitKey, RateLimit } from './limits.ts';
import type { Issued } from './link.ts';
import { ALPN, decodeQuestion, encodeAnswer, FrameReader, type Question } from './protocol.ts';

const MAX_CONNECTIONS = 256;
const MAX_CONNECTIONS_PER_ADDRESS = 16;
/** A node that starts with 250 service accounts asks for all of them over one connection. */
const CONNECTIONS = { burst: 20, perSecond: 5 };
const QUESTIONS = { burst: 500, perSecond: 50 };
const JOINS = { burst: 10, perSecond: 1 };
const HANDSHAKE_MS = 5000;
const IDLE_MS = 30_000;
const LIFETIME_MS = 300_000;
/** Of answers that a client asked for and does not take: some ten. */
const MAX_UNREAD_BYTES = 16 << 10;
const EXPORTED_BYTES = 32;

export interface ServerLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface AuthorityServerOptions {
  readonly authority: CertificateAuthority;
  readonly clock: Clock;
  readonly log: ServerLog;
  /** Where to listen. Default: all addresses. */
  readonly address?: string;
  /** 0: any. */
  readonly port: number;
}

export class AuthorityServer {
  readonly #options: AuthorityServerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();
  readonly #connections: RateLimit;
  readonly #questions: RateLimit;
  readonly #joins: RateLimit;
  #port = 0;
  #cancelRenewal = (): void => {};

  private constructor(options: AuthorityServerOptions) {
    const { clock, authority } = options;
    this.#options = options;
    this.#connections = new RateLimit(CONNECTIONS, clock);
    this.#questions = new RateLimit(QUESTIONS, clock);
    this.#joins = new RateLimit(JOINS, clock);
    const svid = authority.newServerSvid();
    this.#server = createServer({
      ...tlsMaterial(svid),
      minVersion: 'TLSv1.3',
      ALPNProtocols: [ALPN],
      secureOptions: constants.SSL_OP_NO_TICKET,
      // A node that joins has no certificate; one that has is judged by verifySvid at each question.
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_MS,
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('connection', (socket: Socket) => this.#admit(socket));
    this.#server.on('secureConnection', (socket) => this.#serve(socket));
    this.#renewAfter(svid);
  }

  /** @throws what listening throws */
  static async listen(options: AuthorityServerOptions): Promise<AuthorityServer> {
    const self = new AuthorityServer(options);
    const { port, address: host } = options;
    await new Promise<void>((resolve, reject) => {
      self.#server.once('error', reject);
      self.#server.listen(host === undefined ? { port } : { port, host }, resolve);
    });
    self.#port = (self.#server.address() as AddressInfo).port;
    return self;
  }

  /** Where it listens. */
  get port(): number {
    return this.#port;
  }

  async close(): Promise<void> {
    this.#cancelRenewal();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Connections that are open keep the certificate that they were opened with. */
  #renewAfter({ notAfter }: Svid): void {
    const { clock, authority } = this.#options;
    this.#cancelRenewal = clock.after((notAfter - clock.now()) / 2, () => {
      const svid = authority.newServerSvid();
      this.#server.setSecureContext({ ...tlsMaterial(svid), minVersion: 'TLSv1.3' });
      this.#renewAfter(svid);
    });
  }

  /** Before a byte of TLS is read. */
  #admit(socket: Socket): void {
    const key = limitKey(socket.remoteAddress ?? '');
    const open = this.#perAddress.get(key) ?? 0;
    if (open >= MAX_CONNECTIONS_PER_ADDRESS || !this.#connections.take(key)) {
      socket.destroy();
      return;
    }
    this.#perAddress.set(key, open + 1);
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      const left = (this.#perAddress.get(key) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(key);
      else this.#perAddress.set(key, left);
    });
  }

  #serve(socket: TLSSocket): void {
    const reader = new FrameReader();
    const cancel = this.#options.clock.after(LIFETIME_MS, () => socket.destroy());
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('close', cancel);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      try {
        for (const frame of reader.push(chunk)) {
          if (socket.writableEnded || socket.destroyed) return;
          this.#answer(socket, frame);
          if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
        }
      } catch (error) {
        // Who speaks another protocol is told once and sent away.
        sendAway(socket, error);
      }
    });
  }

  /** @throws CA_PROTOCOL */
  #answer(socket: TLSSocket, frame: Buffer): void {
    const { log } = this.#options;
    const address = socket.remoteAddress ?? '';
    const key = limitKey(address);
    const question = decodeQuestion(frame);
    // Not logged either: whoever asks too much must not fill the log.
    if (!(question.type === 'join' ? this.#joins : this.#questions).take(key)) {
      sendAway(socket, new SidestepError('CA_BUSY', `too many requests from ${key}`));
      return;
    }
    const about = { address, question: question.type, ...(question.type === 'join' && { node: question.node }) };
    try {
      const issued = this.#decide(socket, question);
      if (question.type === 'join') log.info(about, 'a node has joined');
      socket.write(encodeAnswer(issued));
    } catch (error) {
      const told = toldOf(error);
      log.warn({ ...about, code: told.code, err: error }, told.message);
      socket.write(encodeAnswer(told));
    }
  }

  #decide(socket: TLSSocket, question: Question): Issued {
    const { authority } = this.#options;
    if (question.type === 'join')
      return authority.join(question, socket.exportKeyingMaterial(EXPORTED_BYTES, JOIN_EXPORTER, Buffer.alloc(0)));
    const caller = this.#caller(socket);
    return question.type === 'node'
      ? authority.renewNode(caller, question.request)
      : authority.signWorkload(caller, question, question.request);
  }

  /** Asked at each question: a certificate may expire while its connection is open. @throws CA_NODE_REFUSED */
  #caller(socket: TLSSocket): string {
    const { authority, clock } = this.#options;
    const chain = presentedChain(socket);
    if (chain.length === 0) throw new SidestepError('CA_NODE_REFUSED', 'the caller has shown no certificate');
    let spiffeId: string;
    try {
      ({ spiffeId } = verifySvid(chain, authority.bundle, clock.now()));
    } catch (cause) {
      const why = (cause as Error).message;
      throw new SidestepError('CA_NODE_REFUSED', `the caller's certificate is refused: ${why}`, { cause });
    }
    const id = parseSpiffeId(spiffeId);
    if (id?.kind !== 'node') throw new SidestepError('CA_NODE_REFUSED', `${spiffeId} is not a node`);
    return id.name;
  }
}

function sendAway(socket: TLSSocket, error: unknown): void {
  socket.end(encodeAnswer(toldOf(error)), () => socket.destroy());
}

/** What goes wrong inside is not told outside. */
function toldOf(error: unknown): SidestepError {
  if (error instanceof SidestepError && error.code.startsWith('CA_')) return error;
  return new SidestepError('CA_FAILED', 'the authority could not decide', { cause: error });
}
