/** A channel over a TLS socket whose other end has been verified. */
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import { ERRORS, type ErrorCode } from '../../model/error-codes.ts';
import { FrameReader, frame } from './frames.ts';
import { decodeMessage, encodeMessage, type Message } from './messages.ts';
import type { Channel, ChannelEvents, PeerCertificate } from './ports.ts';

const EXPORTER_BYTES = 32;
/** So long may the last words take. */
export const LINGER_MS = 1000;

export class TlsChannel implements Channel {
  readonly dialledBy: 'us' | 'them';
  readonly certificate: PeerCertificate;
  readonly address: string;
  readonly #socket: TLSSocket;
  readonly #clock: Clock;
  readonly #reader = new FrameReader();
  #events: ChannelEvents | undefined;
  #closed: SidestepError | undefined;
  #held = false;

  constructor(socket: TLSSocket, dialledBy: 'us' | 'them', certificate: PeerCertificate, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.dialledBy = dialledBy;
    this.certificate = certificate;
    this.address = plainAddress(socket.remoteAddress ?? '');
    // Frames are whole messages: none waits for another.
    socket.setNoDelay(true);
    socket.on('error', (cause) => this.#end(lost(`the connection with ${certificate.node} failed`, cause)));
    socket.on('close', () => this.#end(lost(`${certificate.node} closed the connection`)));
  }

  exporter(label: string, context: Uint8Array): Uint8Array {
    return this.#socket.exportKeyingMaterial(EXPORTER_BYTES, label, Buffer.from(context));
  }

  open(events: ChannelEvents): void {
    this.#events = events;
    if (this.#closed !== undefined) events.closed(this.#closed);
    else this.#socket.on('data', (chunk) => this.#read(chunk));
  }

  send(message: Message): void {
    if (this.#closed === undefined) this.#socket.write(frame(encodeMessage(message)));
  }

  get backlog(): number {
    return this.#socket.writableLength;
  }

  hold(held: boolean): void {
    if (this.#closed !== undefined || held === this.#held) return;
    this.#held = held;
    if (held) this.#socket.pause();
    else this.#socket.resume();
  }

  close(reason: SidestepError): void {
    if (this.#closed !== undefined) return;
    partFrom(this.#socket, reason, this.#clock);
    this.#end(reason);
  }

  #read(chunk: Uint8Array): void {
    try {
      for (const bytes of this.#reader.push(chunk)) {
        if (this.#closed !== undefined) return;
        const message = decodeMessage(bytes);
        if (message.kind === 'bye') {
          this.#end(farewell(this.certificate.node, message.code));
          this.#socket.destroySoon();
        } else this.#events?.message(message);
      }
    } catch (error) {
      this.close(
        error instanceof SidestepError ? error : new SidestepError('AUTH_INTERNAL', String(error), { cause: error }),
      );
    }
  }

  #end(reason: SidestepError): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    this.#events?.closed(reason);
  }
}

/** Says why, to somebody who may not be known, and hangs up. */
export function partFrom(socket: TLSSocket, reason: SidestepError, clock: Clock): void {
  socket.end(frame(encodeMessage({ kind: 'bye', code: reason.code })));
  // Behind what is still unread comes the other end's own end, at which this is over before LINGER_MS.
  socket.resume();
  clock.after(LINGER_MS, () => socket.destroy());
}

/** @param code the other end's, which may be of a newer version than ours */
export function farewell(node: string, code: string): SidestepError {
  if (code === 'AUTH_SESSION_REPLACED' || code === 'AUTH_AGENT_STOPS')
    return new SidestepError(code, `${node}: ${ERRORS[code].text}`);
  const text = Object.hasOwn(ERRORS, code) ? ` (${ERRORS[code as ErrorCode].text})` : '';
  return new SidestepError('AUTH_REFUSED_BY_PEER', `${node} closed the session: ${code}${text}`);
}

function lost(what: string, cause?: unknown): SidestepError {
  const words = cause instanceof Error ? `${what}: ${cause.message}` : what;
  return new SidestepError('AUTH_SESSION_LOST', words, { cause });
}

/** An IPv4 address as such, also where a socket for both families has it. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}
