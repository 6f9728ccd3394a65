import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FlowResponse } from '../observe/flow.ts';
import { sampleFlow } from '../observe/sample.ts';
import { FlowStore } from '../observe/store.ts';
import { AgentServer, type FlowQuery, socketPath } from './server.ts';
import type { AgentStatus, AgentView } from './view.ts';

let folder: string;
let flows: FlowStore;
let server: AgentServer;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-server-'));
  flows = new FlowStore({ maxFlows: 100_000, maxBytes: 1 << 30 });
  server = await AgentServer.open(folder, 'test', undefined);
});

afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const view = (): AgentView => ({
  nodeName: 'node-1',
  status: () => ({ health: 'ready' }) as AgentStatus,
  endpoints: () => [],
  envoy: () => undefined,
  authentication: () => undefined,
  tunnel: async () => ({ encryption: 'auth', tunnel: undefined, peers: [] }),
  rotateTunnelKey: async () => ({ publicKey: 'key', nodes: [], failed: [] }),
  createJoinToken: (node) => `token of ${node}`,
  identities: () => [],
  names: () => [{ name: 'www.example.com', taken: [], addresses: [] }],
  policies: () => [],
  flows,
  metrics: async () => 'sidestep_up 1\n',
  metricsType: 'text/plain',
});

function add(number: number): void {
  flows.add({ ...sampleFlow(), uuid: String(number) });
}

function open(path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ socketPath: socketPath(folder), path, agent: false }, resolve)
      .on('error', reject)
      .end();
  });
}

async function get(path: string): Promise<{ status: number | undefined; body: string }> {
  const response = await open(path);
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, body };
}

function flowsPath(query: FlowQuery | string): string {
  return `/v1/flows?query=${encodeURIComponent(typeof query === 'string' ? query : JSON.stringify(query))}`;
}

async function* responses(message: IncomingMessage): AsyncGenerator<FlowResponse> {
  let rest = '';
  for await (const chunk of message) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line) as FlowResponse;
  }
}

test('before it has something to show it says that it is starting', async () => {
  expect(await get('/v1/status')).toEqual({ status: 503, body: 'starting\n' });
  expect(await get('/readyz')).toEqual({ status: 503, body: 'starting\n' });
  expect(await get('/healthz')).toEqual({ status: 200, body: 'ok\n' });
  server.show(view());
  expect(await get('/readyz')).toEqual({ status: 200, body: 'ready\n' });
});

test.each(['//', '/%', '/nowhere', 'http://'])('the path %s ends nothing', async (path) => {
  server.show(view());
  expect([400, 404]).toContain((await get(path)).status);
  expect((await get('/healthz')).status).toBe(200);
});

test.each([
  ['no JSON', '{'],
  ['an unknown field', '{"frist": 3}'],
  ['an unknown option', '{"filter": [{"option": "colour", "values": [], "not": false}]}'],
  ['a wrong value', '{"filter": [{"option": "port", "values": ["http"], "not": false}]}'],
  ['a negative number', '{"last": -1}'],
])('a query with %s is refused', async (_, query) => {
  server.show(view());
  const { status, body } = await get(flowsPath(query));
  expect([status, (JSON.parse(body) as { error: { code: string } }).error.code]).toEqual([400, 'INPUT_INVALID']);
});

test('a second agent cannot take the instance, and takes it when the first is gone', async () => {
  await expect(AgentServer.open(folder, 'test', undefined)).rejects.toMatchObject({ code: 'INSTANCE_BUSY' });
  await server.close();
  server = await AgentServer.open(folder, 'test', undefined);
});

test('a follower gets history and what comes, each once, however the two fall together', async () => {
  server.show(view());
  let next = 0;
  const filling = setInterval(() => add(next++), 0);
  const seen: number[] = [];
  for await (const response of responses(await open(flowsPath({ follow: true, last: 1_000_000 })))) {
    if ('flow' in response) seen.push(Number(response.flow.uuid));
    if (seen.length === 100) break;
  }
  clearInterval(filling);
  expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
});

test('a follower that does not read is told what it lost, and the rest follows', async () => {
  server.show(view());
  const message = await open(flowsPath({ follow: true, last: 0 }));
  let added = 0;
  // Until sockets and queue are full. The server writes what it can in between.
  while (flows.numbers.lostByFollowers === 0) {
    for (let i = 0; i < 1000; i++) add(added++);
    await nextTurn();
  }
  let seen = 0;
  let lost = 0;
  for await (const response of responses(message)) {
    if ('flow' in response) seen++;
    else lost += Number(response.lost_events.num_events_lost);
    if (seen + lost === added) break;
  }
  expect(lost).toBe(flows.numbers.lostByFollowers);
});

test('a follower that is slow again and again leaves nothing behind at its connection', async () => {
  server.show(view());
  const warnings: string[] = [];
  const note = ({ name }: Error): unknown => warnings.push(name);
  process.on('warning', note);
  const message = await open(flowsPath({ follow: true, last: 0 }));
  const lines = responses(message);
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 2000; i++) add(i);
    for (let i = 0; i < 2000; i++) await lines.next();
  }
  await nextTurn();
  process.off('warning', note);
  expect(warnings).toEqual([]);
});
