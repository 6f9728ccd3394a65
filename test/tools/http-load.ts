/**
 * Keeps asking: http-load.ts URL CONNECTIONS SEED. Random methods and paths, some connections kept, some new. Ends when its
 * input does and then says what it met, by method and outcome.
 */
import { Agent, request } from 'node:http';

const [target = '', connections = '8', seed = '1'] = process.argv.slice(2);
const url = new URL(target);
const METHODS = ['GET', 'GET', 'GET', 'HEAD', 'POST', 'DELETE'];
const PATHS = ['/api/a', '/api/b?c=1', '/admin', '/api/../admin', '/'];
/** Requests over one connection before it is given up for another. */
const KEPT = 40;

let state = Number(seed) >>> 0;
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
const pick = <T>(list: readonly T[], otherwise: T): T => list[Math.floor(random() * list.length)] ?? otherwise;

const met = new Map<string, number>();
let ended = false;
process.stdin.on('end', () => (ended = true)).resume();

function ask(agent: Agent): Promise<string> {
  const method = pick(METHODS, 'GET');
  return new Promise((resolve) => {
    const settle = (outcome: string | number | undefined): void => resolve(`${method} ${outcome}`);
    const asked = request(
      { host: url.hostname, port: url.port, path: pick(PATHS, '/'), method, agent, timeout: 3000 },
      (response) => {
        response.on('end', () => settle(response.statusCode));
        response.on('error', (error: NodeJS.ErrnoException) => settle(error.code));
        response.resume();
      },
    );
    asked.on('timeout', () => asked.destroy(Object.assign(new Error('no answer'), { code: 'TIMEOUT' })));
    asked.on('error', (error: NodeJS.ErrnoException) => settle(error.code));
    asked.end();
  });
}

async function keepAsking(): Promise<void> {
  let agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let made = 1; !ended; made++) {
    const outcome = await ask(agent);
    met.set(outcome, (met.get(outcome) ?? 0) + 1);
    if (made % KEPT !== 0) continue;
    agent.destroy();
    agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }
  agent.destroy();
}

await Promise.all(Array.from({ length: Number(connections) }, keepAsking));
process.stdout.write(`${JSON.stringify(Object.fromEntries([...met].sort()))}\n`);
