/** Speaks the configuration protocol over the UNIX socket of a user-space WireGuard. */
import { connect } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { SidestepError } from '../model/error.ts';
import type { EngineState } from './ports.ts';
import { GET, parseAnswer, parseState } from './uapi.ts';

/** A thousand peers with a hundred prefixes each take 4 MB. */
const MOST_BYTES = 64 << 20;
const END = '\n\n';

export class UapiClient {
  readonly #path: string;
  readonly #timeoutMs: number;

  /** @param timeoutMs of one exchange */
  constructor(path: string, timeoutMs: number) {
    this.#path = path;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws TUNNEL_FAILED when nobody answers, or not in the words of the protocol */
  async state(): Promise<EngineState> {
    return parseState(await this.#ask(GET));
  }

  /** @param message one of encode* in uapi.ts. @throws TUNNEL_PORT_BUSY, TUNNEL_REFUSED, TUNNEL_FAILED */
  async send(message: string): Promise<void> {
    await this.#ask(message);
  }

  async #ask(message: string): Promise<ReturnType<typeof parseAnswer>['lines']> {
    const { errno, lines } = parseAnswer(await exchange(this.#path, message, this.#timeoutMs));
    if (errno === 0) return lines;
    const name = errno < 0 ? getSystemErrorName(errno) : String(errno);
    if (name === 'EADDRINUSE') throw new SidestepError('TUNNEL_PORT_BUSY', 'the UDP port is taken');
    throw new SidestepError('TUNNEL_REFUSED', `WireGuard refuses its configuration: ${name}`);
  }
}

function exchange(path: string, message: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: Buffer[] = [];
    let size = 0;
    const fail = (what: string, cause?: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new SidestepError('TUNNEL_FAILED', `${path}: ${what}`, { cause }));
    };
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    socket.on('error', (error) => fail(error.message, error));
    socket.on('end', () => fail('it ends in the middle of an answer'));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MOST_BYTES) return fail(`an answer of more than ${MOST_BYTES} bytes`);
      if (!endsAnswer(chunks)) return;
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('utf8'));
    });
    socket.write(message);
  });
}

/** The empty line may come in two pieces. */
function endsAnswer(chunks: readonly Buffer[]): boolean {
  const [before, last] = [chunks.at(-2), chunks.at(-1)];
  const tail = Buffer.concat([before?.subarray(-1) ?? Buffer.alloc(0), last?.subarray(-2) ?? Buffer.alloc(0)]);
  return tail.toString('latin1').endsWith(END);
}
