import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AdminClient } from './admin.ts';

let folder: string;
let server: Server | undefined;
let asked: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-admin-'));
  asked = [];
});

afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
  rmSync(folder, { recursive: true });
});

const socket = (): string => join(folder, 'admin.sock');

async function serve(listener: RequestListener): Promise<AdminClient> {
  server = createServer((request, response) => {
    asked.push(`${request.method} ${decodeURIComponent(request.url ?? '')}`);
    listener(request, response);
  });
  await new Promise<void>((resolve) => server?.listen(socket(), resolve));
  return new AdminClient(socket());
}

const says =
  (status: number, body: string): RequestListener =>
  (_, response) => {
    response.writeHead(status).end(body);
  };

test.each([
  [200, 'LIVE', 'ready'],
  [503, 'PRE_INITIALIZING', 'not-ready'],
  [503, 'DRAINING', 'not-ready'],
])('%i %s is %s', async (status, body, readiness) => {
  const admin = await serve(says(status, body));
  expect(await admin.ready(1000)).toBe(readiness);
  expect(asked).toEqual(['GET /ready']);
});

test('silence is noticed in time', async () => {
  const admin = await serve(() => undefined);
  const begin = performance.now();
  expect(await admin.ready(100)).toBe('silent');
  expect(performance.now() - begin).toBeLessThan(500);
});

test('an answer that does not end is silence', async () => {
  const admin = await serve((_, response) => response.writeHead(200).write('LI'));
  expect(await admin.ready(100)).toBe('silent');
});

test('nobody there is silence at once', async () => {
  expect(await new AdminClient(socket()).ready(60_000)).toBe('silent');
});

test('an answer that came while we were busy counts', async () => {
  const admin = await serve(says(200, 'LIVE'));
  const answer = admin.ready(50);
  // Sent and answered, then the time runs out before the answer is looked at.
  await sleep(5);
  const end = Date.now() + 100;
  while (Date.now() < end);
  expect(await answer).toBe('ready');
});

test('draining, taking it back and ending are asked for', async () => {
  const admin = await serve(says(200, 'OK'));
  await admin.drain();
  await admin.undrain();
  await admin.quit();
  expect(asked).toEqual(['POST /healthcheck/fail', 'POST /healthcheck/ok', 'POST /quitquitquit']);
});

test('what asks for much of nobody there does not fail', async () => {
  const admin = new AdminClient(socket());
  await admin.drain();
  await admin.quit();
  expect(await admin.connections()).toBeUndefined();
});

test('connections of clients are counted over listeners, without our own', async () => {
  const admin = await serve(
    says(
      200,
      'listener.127.0.0.1_15001.downstream_cx_active: 2\nlistener.127.0.0.1_15001.worker_0.downstream_cx_active: 2\nlistener.[__1]_15001.downstream_cx_active: 1\nlistener.admin.downstream_cx_active: 1\n',
    ),
  );
  expect(await admin.connections()).toBe(3);
  expect(asked).toEqual(['GET /stats?filter=^listener\\..*\\.downstream_cx_active$']);
});

test('no listener: nobody is connected; no answer: nobody knows', async () => {
  expect(await (await serve(says(200, ''))).connections()).toBe(0);
  server?.removeAllListeners('request').on('request', says(500, ''));
  expect(await new AdminClient(socket()).connections()).toBeUndefined();
});
