/** HTTP/1 byte by byte, as no library would send it, and a server that answers whatever it is sent. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

const HEAD_END = Buffer.from('\r\n\r\n');
const PATIENCE_MS = 5_000;

export interface RawReply {
  readonly status: number;
  readonly body: string;
  /** The server says that it is the last on its connection. */
  readonly last: boolean;
}

/** @returns undefined while it has not come whole */
function parseReply(bytes: Buffer): { readonly reply: RawReply; readonly length: number } | undefined {
  const end = bytes.indexOf(HEAD_END);
  if (end === -1) return undefined;
  const head = bytes.subarray(0, end).toString('latin1');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]);
  const size = Number(/^content-length: *(\d+)$/im.exec(head)?.[1] ?? 0);
  const start = end + HEAD_END.length;
  if (bytes.length < start + size) return undefined;
  const body = bytes.subarray(start, start + size).toString('latin1');
  return { reply: { status, body, last: /^connection: *close$/im.test(head) }, length: start + size };
}

/** One connection after the other to one port: a new one where the last was closed. */
export class RawClient {
  readonly #port: number;
  #socket: Socket | undefined;
  #received = Buffer.alloc(0);
  #changed: () => void = () => undefined;
  /** Connections made. */
  connections = 0;

  constructor(port: number) {
    this.#port = port;
  }

  /**
   * One request. Not several at once: behind one that it answers itself, Envoy reads no other from the connection, and
   * closes it a second later.
   * @param request characters are bytes
   */
  async ask(request: string): Promise<RawReply> {
    const socket = this.#connected();
    socket.write(request, 'latin1');
    const reply = await this.#next();
    if (reply === undefined) throw new Error(`closed without an answer to ${JSON.stringify(request.slice(0, 200))}`);
    if (reply.last) socket.destroy();
    return reply;
  }

  #connected(): Socket {
    if (this.#socket !== undefined && !this.#socket.destroyed) return this.#socket;
    this.#received = Buffer.alloc(0);
    this.connections++;
    const socket = connect(this.#port, '127.0.0.1');
    socket.setNoDelay(true);
    socket.on('data', (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#changed();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => this.#changed());
    socket.on('end', () => socket.destroy());
    this.#socket = socket;
    return socket;
  }

  /** @returns undefined when the server has closed */
  async #next(): Promise<RawReply | undefined> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = parseReply(this.#received);
      if (found !== undefined) {
        this.#received = this.#received.subarray(found.length);
        return found.reply;
      }
      if (this.#socket?.destroyed !== false) return undefined;
      if (Date.now() > deadline) throw new Error(`no answer within ${PATIENCE_MS} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 500);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.#socket?.destroy();
  }
}

/** Answers every request with its first line and its Host. No request has a body. */
export class RawServer {
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<RawServer> {
    const server = createServer();
    const started = new RawServer(server);
    server.on('connection', (socket) => started.#serve(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return started;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #serve(socket: Socket): void {
    this.#open.add(socket);
    socket.setNoDelay(true);
    let received = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#open.delete(socket));
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes]);
      for (let end = received.indexOf(HEAD_END); end !== -1; end = received.indexOf(HEAD_END)) {
        const head = received.subarray(0, end).toString('latin1');
        received = received.subarray(end + HEAD_END.length);
        const body = `${head.split('\r\n')[0]}\n${/^host: *(.*)$/im.exec(head)?.[1] ?? ''}`;
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`, 'latin1');
      }
    });
  }

  close(): void {
    for (const socket of this.#open) socket.destroy();
    this.#server.close();
  }
}
