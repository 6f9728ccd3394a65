/** Envoy's worker threads each have a listening socket of their own: what is steered to Envoy is spread over them. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { envoyPaths } from '../../control-plane/envoy/paths.ts';
import { fetchText, until } from '../envoy/real.ts';
import { ask, HeldHttp, HTTP_PORT, httpServer } from '../lib/http.ts';
import { System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { FAMILIES, type Family } from '../lib/traffic.ts';

const WORKERS = 2;
const CONNECTIONS = 64;
/** Fewer at one worker are luck that nobody has: with fair coins less than once in a million runs. */
const LEAST = 12;

let system: System;
let client: Workload;
let server: Workload;

beforeAll(async () => {
  system = await System.create('workers', ['--envoy-strict', 'true', '--envoy-concurrency', String(WORKERS)]);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  await httpServer(server);
  system.policy('http', {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'client' } }],
        toPorts: [{ ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: { http: [{ method: 'GET' }] } }],
      },
    ],
  });
  await system.start();
  await until('the rule is in force', async () => (await ask(client, server, 'ipv4', 'POST', '/')).status === 403);
});

afterAll(() => system?.remove());

/** Connections that each worker has accepted at the listeners of a family. */
async function accepted(family: Family): Promise<readonly number[]> {
  const { admin: socketPath } = envoyPaths(join('/run/sidestep', system.instance));
  const { body } = await fetchText({ socketPath, path: '/stats' });
  const address = family === 'ipv4' ? String.raw`127\.0\.0\.1` : String.raw`\[__1\]`;
  const counts = Array.from({ length: WORKERS }, () => 0);
  for (const [, worker = '', count] of body.matchAll(
    new RegExp(String.raw`^listener\.${address}_\d+\.worker_(\d+)\.downstream_cx_total: (\d+)$`, 'gm'),
  ))
    counts[Number(worker)] = (counts[Number(worker)] ?? 0) + Number(count);
  return counts;
}

test.each(FAMILIES)('both workers take their share of %s connections, and each is answered', async (family) => {
  const before = await accepted(family);
  const held = HeldHttp.start(client, server, family, CONNECTIONS);
  const answers = await held.round('GET', '/');
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(CONNECTIONS);
  const counts = (await accepted(family)).map((count, worker) => count - (before[worker] ?? 0));
  await held.close();
  expect(counts).toHaveLength(WORKERS);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(CONNECTIONS);
  expect(Math.min(...counts), `by worker: ${counts.join(', ')}`).toBeGreaterThanOrEqual(LEAST);
});
