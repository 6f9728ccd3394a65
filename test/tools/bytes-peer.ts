/**
 * TCP ends that show bytes as they are, for what an HTTP library would never send or never tell. One JSON line a thing that
 * happens; bytes are latin1.
 *   bytes-peer.ts serve PORT   tells every byte that arrives and of whom; answers each empty line with a 200, whatever stands
 *                              before it: after "/fail" with a 503, after "/stream" with 1 MB in two seconds
 *   bytes-peer.ts send         a line of input {"id", "host", "port", "localPort"?, "parts", "quietMs"} is a connection of its own: its
 *                              parts are written one by one, each after an answer or `quietMs` of silence, and silence ends it;
 *                              {"id", "part"} writes more into one that is open, {"id", "close": true} ends it
 */
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

const STREAM_BYTES = 1_000_000;
const STREAM_PARTS = 40;
const STREAM_MS = 2_000;
/** Of an answer: its length is told in full. */
const MOST_TOLD = 4_000;

interface Opening {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly localPort?: number;
  readonly parts: readonly string[];
  readonly quietMs: number;
}

interface More {
  readonly id: number;
  readonly part: string;
}

interface Closing {
  readonly id: number;
  readonly close: true;
}

const [mode, port = '0'] = process.argv.slice(2);
const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);
const open = new Map<number, Socket>();

if (mode === 'serve') serve(Number(port));
else
  createInterface({ input: process.stdin }).on('line', (line) => {
    const asked = JSON.parse(line) as Opening | More | Closing;
    if ('part' in asked) open.get(asked.id)?.write(Buffer.from(asked.part, 'latin1'));
    else if ('close' in asked) open.get(asked.id)?.destroy();
    else send(asked);
  });

function serve(port: number): void {
  let connections = 0;
  const server = createServer((socket) => {
    const connection = ++connections;
    const from = { connection, address: (socket.remoteAddress ?? '').replace(/^::ffff:/, ''), port: socket.remotePort };
    let unanswered = '';
    say({ event: 'opened', ...from });
    socket.on('data', (data) => {
      const bytes = data.toString('latin1');
      say({ event: 'bytes', ...from, bytes });
      unanswered += bytes;
      const heads = unanswered.split('\r\n\r\n');
      unanswered = heads.pop() ?? '';
      for (const head of heads) answer(socket, head);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => say({ event: 'closed', ...from }));
  });
  server.listen({ host: '::', port }, () => process.stdout.write('listening\n'));
}

function answer(socket: Socket, head: string): void {
  if (head.includes('/stream')) stream(socket);
  else socket.write(`HTTP/1.1 ${head.includes('/fail') ? '503 No' : '200 OK'}\r\ncontent-length: 2\r\n\r\nok`);
}

function stream(socket: Socket): void {
  const part = Buffer.alloc(STREAM_BYTES / STREAM_PARTS, 's');
  let sent = 0;
  socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${STREAM_BYTES}\r\n\r\n`);
  const timer = setInterval(() => {
    socket.write(part);
    if (++sent === STREAM_PARTS) clearInterval(timer);
  }, STREAM_MS / STREAM_PARTS);
  socket.on('close', () => clearInterval(timer));
}

function send({ id, host, port, localPort, parts, quietMs }: Opening): void {
  const left = [...parts];
  let bytes = '';
  let length = 0;
  let how = 'quiet';
  let from = localPort;
  const socket = connect({ host, port, ...(localPort === undefined ? {} : { localPort }) });
  open.set(id, socket);
  const next = (): void => {
    const part = left.shift();
    if (part === undefined) return void socket.destroy();
    socket.write(Buffer.from(part, 'latin1'));
    timer.refresh();
  };
  const timer = setTimeout(next, quietMs);
  socket.on('connect', () => {
    from = socket.localPort;
    next();
  });
  socket.on('data', (data) => {
    length += data.length;
    if (bytes.length < MOST_TOLD) bytes += data.toString('latin1');
    say({ event: 'answer', id, bytes, length, port: from });
    if (left.length > 0) next();
    else timer.refresh();
  });
  socket.on('end', () => {
    how = 'FIN';
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    how = error.code ?? error.message;
  });
  socket.on('close', () => {
    clearTimeout(timer);
    open.delete(id);
    say({ event: 'ended', id, bytes, length, port: from ?? 0, how });
  });
}
