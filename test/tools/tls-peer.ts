/**
 * Both ends of TLS, run inside a network namespace; one JSON line a thing that happens.
 *   tls-peer.ts serve PORT CERTIFICATE KEY   PEM files; answers with the name that it was asked for
 *   tls-peer.ts ask HOST PORT [NAME]         one connection: {"outcome","name"}, what the server says it was asked for
 */
import { readFileSync } from 'node:fs';
import { connect, createServer, type TLSSocket } from 'node:tls';

const TIMEOUT_MS = 2_000;
const [mode, first = '', second = '', third = ''] = process.argv.slice(2);
const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);

if (mode === 'serve') {
  const server = createServer({ cert: readFileSync(second), key: readFileSync(third) }, (socket) => {
    socket.on('error', () => undefined);
    socket.end(`${(socket as TLSSocket & { servername?: string | false }).servername || ''}\n`);
  });
  server.on('tlsClientError', () => undefined);
  server.listen({ port: Number(first), host: '::' }, () => process.stdout.write('listening\n'));
} else {
  const socket = connect({
    host: first,
    port: Number(second),
    rejectUnauthorized: false,
    ...(third === '' ? {} : { servername: third }),
  });
  let heard = '';
  let secured = false;
  const finish = (outcome: string): void => {
    clearTimeout(timer);
    say({ outcome, name: heard.trim() });
    process.exit(0);
  };
  const timer = setTimeout(() => finish('timeout'), TIMEOUT_MS);
  socket.on('secureConnect', () => {
    secured = true;
  });
  socket.on('data', (chunk) => {
    heard += String(chunk);
  });
  // Who answers something else than TLS was reached, too.
  socket.on('error', ({ code = '' }: NodeJS.ErrnoException) =>
    finish(code.startsWith('ERR_SSL') ? 'no TLS' : 'closed'),
  );
  socket.on('close', () => finish(secured ? 'answered' : 'closed'));
}
