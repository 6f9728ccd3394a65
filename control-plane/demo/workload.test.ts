import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { ask, type RequestOutcome, serve } from './workload.ts';

async function outcomes(
  url: string,
  options: { count: number; keepAlive?: boolean; timeoutMs?: number },
): Promise<RequestOutcome[]> {
  const seen: RequestOutcome[] = [];
  const { count, keepAlive = false, timeoutMs = 5_000 } = options;
  await ask({ url, count, intervalMs: 1, timeoutMs, keepAlive }, new AbortController().signal, (outcome) =>
    seen.push(outcome),
  );
  return seen;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function withServer(use: (url: string) => Promise<void>): Promise<void> {
  const port = await freePort();
  const stop = new AbortController();
  let ended: Promise<void> = Promise.resolve();
  await new Promise<void>((resolve) => {
    ended = serve(port, stop.signal, resolve);
  });
  await use(`http://127.0.0.1:${port}/`);
  stop.abort();
  await ended;
}

test('each request gets a connection of its own', () =>
  withServer(async (url) => {
    const seen = await outcomes(url, { count: 3 });
    expect(seen.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(new Set(seen.map(({ port }) => port)).size).toBe(3);
  }));

test('with keep-alive all requests share one', () =>
  withServer(async (url) => {
    const seen = await outcomes(url, { count: 3, keepAlive: true });
    expect(seen.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(new Set(seen.map(({ port }) => port)).size).toBe(1);
  }));

test('a closed port and silence are told apart', async () => {
  const [refused] = await outcomes(`http://127.0.0.1:${await freePort()}/`, { count: 1 });
  expect(refused).toMatchObject({ error: 'ECONNREFUSED' });

  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const address = silent.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const [unheard] = await outcomes(`http://127.0.0.1:${port}/`, { count: 1, timeoutMs: 50 });
  expect(unheard).toMatchObject({ error: 'TIMEOUT' });
  silent.close();
});
