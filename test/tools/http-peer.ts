/**
 * HTTP ends for the suites, one JSON line a thing that happens.
 *   http-peer.ts serve PORT                       answers with who asked and what; a path /slow waits 1 s
 *   http-peer.ts ask URL [METHOD] [HEADER=VALUE…] one request over a connection of its own
 *   http-peer.ts hold URL CONNECTIONS             keep-alive: each line of input "METHOD PATH" is a request on every connection
 */
import { Agent, createServer, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';

const [mode, target = '', ...rest] = process.argv.slice(2);
const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);

if (mode === 'serve') serve(Number(target));
else if (mode === 'hold') hold(new URL(target), Number(rest[0] ?? 1));
else say(await ask(new URL(target), rest[0] ?? 'GET', rest.slice(1)));

function serve(port: number): void {
  const server = createServer((asked, answer) => {
    const { method, url, headers } = asked;
    const { remoteAddress = '', remotePort } = asked.socket;
    const seen = { address: remoteAddress.replace(/^::ffff:/, ''), port: remotePort, method, url, headers };
    say({ event: 'request', time: Date.now(), ...seen });
    setTimeout(
      () => {
        answer.setHeader('content-type', 'application/json');
        answer.end(JSON.stringify(seen));
      },
      url?.startsWith('/slow') ? 1000 : 0,
    );
  });
  server.keepAliveTimeout = 600_000;
  server.listen({ host: '::', port }, () => process.stdout.write('listening\n'));
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  let body = '';
  response.setEncoding('utf8');
  for await (const chunk of response) body += chunk;
  return body;
}

function ask(url: URL, method: string, headers: readonly string[], agent?: Agent): Promise<object> {
  return new Promise((resolve) => {
    const set = Object.fromEntries(headers.map((each) => each.split('=', 2) as [string, string]));
    // The path as it was given: URL would tidy it up.
    const path = process.argv.includes('--raw') ? (process.argv.at(-1) ?? '/') : `${url.pathname}${url.search}`;
    const asked = request(
      {
        host: url.hostname.replace(/[[\]]/g, ''),
        port: url.port,
        path,
        method,
        headers: set,
        agent: agent ?? false,
        timeout: 5000,
      },
      (response) => {
        const port = response.socket.localPort;
        bodyOf(response).then(
          (body) => resolve({ status: response.statusCode, body, port }),
          (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? error.message, port }),
        );
      },
    );
    asked.on('timeout', () => asked.destroy(Object.assign(new Error('no answer'), { code: 'TIMEOUT' })));
    asked.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? error.message }));
    asked.end();
  });
}

function hold(url: URL, connections: number): void {
  const agents = Array.from({ length: connections }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  createInterface({ input: process.stdin }).on('line', (line) => {
    const [method = 'GET', path = '/'] = line.split(' ');
    void Promise.all(agents.map((agent) => ask(new URL(path, url), method, [], agent))).then(say);
  });
  process.stdin.on('end', () => {
    for (const agent of agents) agent.destroy();
  });
}
