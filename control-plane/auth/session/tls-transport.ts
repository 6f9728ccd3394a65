/** Channels over TCP and TLS 1.3: listening, dialling, and turning away who is no node that we know. */
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import tls, { type SecureContext, type TLSSocket } from 'node:tls';
import { type Clock, systemClock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { PeerNode } from '../peers.ts';
import { nodeId } from '../spiffe-id.ts';
import type { Svid, SvidSource, TrustBundle } from '../svid.ts';
import { LIMITS, type Limits, TIMES, type Times } from './limits.ts';
import { APPLICATION, nodeAtOtherEnd } from './node-certificate.ts';
import { missing } from './own-svid.ts';
import type { PeerCertificate, Transport, TransportHost } from './ports.ts';
import { LINGER_MS, partFrom, plainAddress, TlsChannel } from './tls-channel.ts';
import { contextOf } from './tls-context.ts';

export interface TlsTransportOptions {
  readonly source: Pick<SvidSource, 'node' | 'bundle' | 'trouble'>;
  /** Default: every address, port 4250. */
  readonly listen?: { readonly address?: string; readonly port?: number };
  readonly clock?: Clock;
  readonly times?: Partial<Pick<Times, 'handshakeMs'>>;
  readonly limits?: Partial<Pick<Limits, 'handshakes' | 'perAddress'>>;
}

export const SESSION_PORT = 4250;

/** Of both ends. The certificate of the other end is judged by nodeAtOtherEnd, before anything is read. */
const HANDSHAKE = { requestCert: true, rejectUnauthorized: false, ALPNProtocols: [APPLICATION] };

export class TlsTransport implements Transport {
  readonly #source: TlsTransportOptions['source'];
  readonly #listen: { readonly address?: string; readonly port?: number };
  readonly #clock: Clock;
  readonly #handshakeMs: number;
  readonly #limits: Pick<Limits, 'handshakes' | 'perAddress'>;
  readonly #listener: Server;
  readonly #tls = tls.createServer(HANDSHAKE);
  /** By address and port of the other end: what ends the wait for its TLS. */
  readonly #greeting = new Map<string, { readonly address: string; readonly stop: () => void }>();
  readonly #sockets = new Set<Socket>();
  #host: TransportHost | undefined;
  /** Why the newest certificate is not in use. */
  #unusable: SidestepError | undefined;
  #context: { readonly svid: Svid; readonly secure: SecureContext } | undefined;

  constructor(options: TlsTransportOptions) {
    this.#source = options.source;
    this.#listen = options.listen ?? {};
    this.#clock = options.clock ?? systemClock;
    this.#handshakeMs = options.times?.handshakeMs ?? TIMES.handshakeMs;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#listener = net.createServer((socket) => this.#connected(socket));
    this.#tls.on('secureConnection', (socket) => this.#secured(socket));
    this.#tls.on('tlsClientError', (error, socket) => {
      this.#greeted(socket);
      this.#turnAway(plainAddress(socket.remoteAddress ?? ''), tlsError(error));
      socket.destroy();
    });
  }

  async start(host: TransportHost): Promise<{ readonly port: number }> {
    this.#host = host;
    this.refresh();
    const { address, port = SESSION_PORT } = this.#listen;
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen({ port, ...(address === undefined ? {} : { host: address }) }, resolve);
    });
    return { port: (this.#listener.address() as AddressInfo).port };
  }

  refresh(): void {
    const { node } = this.#source;
    if (node === this.#context?.svid) return;
    if (node === undefined) {
      this.#context = undefined;
      return;
    }
    try {
      const context = contextOf(node);
      const secure = tls.createSecureContext(context);
      this.#tls.setSecureContext(context);
      this.#context = { svid: node, secure };
      this.#unusable = undefined;
    } catch (cause) {
      // The one before is used as long as it lasts.
      const words = cause instanceof Error ? cause.message : String(cause);
      this.#unusable = new SidestepError('AUTH_SVID_UNUSABLE', `${node.spiffeId}: ${words}`, { cause });
    }
  }

  async dial(node: PeerNode, over: AbortSignal): Promise<TlsChannel> {
    let failure = new SidestepError('AUTH_UNREACHABLE', `${node.name} has published no address`);
    for (const address of node.addresses) {
      try {
        return await this.#dialAddress(node, address, over);
      } catch (error) {
        failure = error as SidestepError;
        if (over.aborted) break;
      }
    }
    throw failure;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    for (const { stop } of this.#greeting.values()) stop();
    // Whoever is left was told, and has read it or never will.
    for (const socket of this.#sockets) socket.destroySoon();
    this.#clock.after(LINGER_MS, () => {
      for (const socket of this.#sockets) socket.destroy();
    });
    await closed;
  }

  /** @throws AUTH_SVID_MISSING, AUTH_SVID_UNUSABLE */
  #own(): { readonly secure: SecureContext; readonly bundle: TrustBundle; readonly host: TransportHost } {
    const { bundle } = this.#source;
    const host = this.#host;
    if (host === undefined) throw new SidestepError('AUTH_SVID_MISSING', 'nothing was started yet');
    if (this.#context === undefined && this.#unusable !== undefined) throw this.#unusable;
    if (this.#context === undefined || bundle?.trustDomain !== host.trustDomain)
      throw missing(this.#source, nodeId(host.trustDomain, host.node));
    return { secure: this.#context.secure, bundle, host };
  }

  #dialAddress(node: PeerNode, address: string, over: AbortSignal): Promise<TlsChannel> {
    return new Promise((resolve, reject) => {
      const { secure } = this.#own();
      const where = `${node.name} at ${address} port ${node.port}`;
      const socket = tls.connect({
        ...HANDSHAKE,
        host: address,
        port: node.port,
        secureContext: secure,
        // The other end is known by its SPIFFE ID, not by a host name (X509-SVID §5).
        servername: '',
        checkServerIdentity: () => undefined,
      });
      this.#track(socket);
      let connected = false;
      const fail = (error: SidestepError): void => {
        settle();
        socket.destroy();
        reject(error);
      };
      const failed = (error: Error): void => fail(connected ? tlsError(error) : unreachable(where, error));
      const ended = (): void => fail(new SidestepError('AUTH_TLS_FAILED', `${where} closed the connection`));
      const aborted = (): void => fail(new SidestepError('AUTH_SESSION_REPLACED', `${where} is not needed any more`));
      const cancel = this.#clock.after(this.#handshakeMs, () => {
        const text = `${where} did not ${connected ? 'finish TLS' : 'answer'} within ${this.#handshakeMs} ms`;
        fail(new SidestepError(connected ? 'AUTH_HANDSHAKE_TIMEOUT' : 'AUTH_UNREACHABLE', text));
      });
      const settle = (): void => {
        cancel();
        over.removeEventListener('abort', aborted);
        socket.off('error', failed).off('close', ended);
        socket.on('error', () => undefined);
      };
      over.addEventListener('abort', aborted);
      socket.on('error', failed).on('close', ended);
      socket.once('connect', () => {
        connected = true;
      });
      socket.once('secureConnect', () => {
        settle();
        try {
          const channel = this.#verified(socket, 'us');
          const { spiffeId } = channel.certificate;
          if (channel.certificate.node !== node.name)
            throw new SidestepError('AUTH_WRONG_NODE', `${where} is ${spiffeId}`);
          resolve(channel);
        } catch (error) {
          partFrom(socket, error as SidestepError, this.#clock);
          reject(error);
        }
      });
      if (over.aborted) aborted();
    });
  }

  #connected(socket: Socket): void {
    this.#track(socket);
    socket.on('error', () => undefined);
    const address = plainAddress(socket.remoteAddress ?? '');
    const refusal = this.#refusal(address);
    if (refusal !== undefined) {
      this.#turnAway(address, refusal);
      socket.destroy();
      return;
    }
    const name = nameOf(socket);
    const stopTimer = this.#clock.after(this.#handshakeMs, () => {
      this.#turnAway(address, new SidestepError('AUTH_HANDSHAKE_TIMEOUT', `${address} did not finish TLS in time`));
      this.#greeted(socket, name);
      socket.destroy();
    });
    this.#greeting.set(name, { address, stop: stopTimer });
    socket.once('close', () => this.#greeted(socket, name));
    this.#tls.emit('connection', socket);
  }

  /** Before anything costly is done for it. */
  #refusal(address: string): SidestepError | undefined {
    if (this.#greeting.size >= this.#limits.handshakes)
      return new SidestepError('AUTH_LIMIT', `${this.#greeting.size} connections are at their TLS handshake`);
    const same = [...this.#greeting.values()].filter((other) => other.address === address).length;
    if (same >= this.#limits.perAddress)
      return new SidestepError('AUTH_LIMIT', `${same} connections of ${address} are at their TLS handshake`);
    try {
      this.#own();
      return undefined;
    } catch (error) {
      return error as SidestepError;
    }
  }

  #secured(socket: TLSSocket): void {
    this.#greeted(socket);
    this.#track(socket);
    const address = plainAddress(socket.remoteAddress ?? '');
    socket.on('error', () => undefined);
    try {
      const channel = this.#verified(socket, 'them');
      const refusal = this.#strangerError(channel.certificate);
      if (refusal !== undefined) throw refusal;
      this.#host?.accepted(channel);
    } catch (error) {
      this.#turnAway(address, error as SidestepError);
      partFrom(socket, error as SidestepError, this.#clock);
    }
  }

  #strangerError({ node, spiffeId }: PeerCertificate): SidestepError | undefined {
    if (node === this.#host?.node)
      return new SidestepError('AUTH_WRONG_NODE', `${spiffeId} is this node, or somebody with its key`);
    if (this.#host?.knows(node) !== true)
      return new SidestepError('AUTH_NODE_UNKNOWN', `${spiffeId} has a certificate and is not among the nodes`);
    return undefined;
  }

  #verified(socket: TLSSocket, dialledBy: 'us' | 'them'): TlsChannel {
    const { bundle, host } = this.#own();
    const view = { bundle, nodeOf: (spiffeId: string) => host.nodeOf(spiffeId), now: this.#clock.now() };
    return new TlsChannel(socket, dialledBy, nodeAtOtherEnd(socket, view), this.#clock);
  }

  #greeted(socket: Socket, name = nameOf(socket)): void {
    this.#greeting.get(name)?.stop();
    this.#greeting.delete(name);
  }

  #turnAway(address: string, reason: SidestepError): void {
    this.#host?.turnedAway(address, reason);
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }
}

function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function unreachable(where: string, cause: Error): SidestepError {
  return new SidestepError('AUTH_UNREACHABLE', `${where}: ${cause.message}`, { cause });
}

/** OpenSSL's words, whichever end found it out. */
const VERSION_ERRORS = new Set(['ERR_SSL_UNSUPPORTED_PROTOCOL', 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION']);

function tlsError(cause: Error): SidestepError {
  const code = VERSION_ERRORS.has((cause as NodeJS.ErrnoException).code ?? '') ? 'AUTH_TLS_VERSION' : 'AUTH_TLS_FAILED';
  return new SidestepError(code, cause.message, { cause });
}
