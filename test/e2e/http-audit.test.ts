/** HTTP rules on trial: every request passes, and the record of each that would be refused says so and names the rules. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ask, HTTP_PORT, httpServer } from '../lib/http.ts';
import { podName, policyName, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { FAMILIES } from '../lib/traffic.ts';

const AUDIT = { 'sidestep.dev/audit': 'true' };
const PATIENCE = { timeout: 15_000 };

let system: System;
let client: Workload;
let server: Workload;

const http = (...rules: readonly object[]): object => ({
  endpointSelector: { matchLabels: { app: 'server' } },
  ingress: [
    {
      fromEndpoints: [{ matchLabels: { app: 'client' } }],
      toPorts: [{ ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: { http: rules } }],
    },
  ],
});
const status = async (method: string, path: string, ...headers: readonly string[]): Promise<number | undefined> =>
  (await ask(client, server, 'ipv4', method, path, HTTP_PORT, headers)).status;
const record = (method: string, verdict: string, path: string) =>
  system.flow(
    `${method} ${path} ${verdict}`,
    (flow) => flow.method === method && flow.verdict === verdict && flow.summary.includes(path),
  );

beforeAll(async () => {
  system = await System.create('http-audit', ['--envoy-idle-seconds', '1']);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  await httpServer(server);
  await system.start();
}, 60_000);
afterAll(() => system?.remove());

test('a policy on trial alone: requests that it would refuse pass with AUDIT, the others as allowed', async () => {
  system.policy('trial', http({ method: 'GET', path: '/api/.*' }), AUDIT);
  // Connections that begin once Envoy listens go through it; nothing fails before.
  await expect
    .poll(async () => {
      expect(await status('POST', '/api/first')).toBe(200);
      return (await system.agent.cli(['envoy', 'status', '-o', 'json'], { tolerate: true })).stdout;
    }, PATIENCE)
    .toContain('"state":"ready"');
  expect(await status('POST', '/api/audited')).toBe(200);
  const flow = await record('POST', 'AUDIT', '/api/audited');
  expect(flow).toMatchObject({
    source: podName(client),
    destination: podName(server),
    deniedBy: [policyName('trial')],
  });
  expect(flow.summary).toContain(
    `ingress would be denied: not admitted by ${policyName('trial')}#ingress[0].toPorts[0].rules.http[0]`,
  );
  for (const family of FAMILIES) expect((await ask(client, server, family, 'GET', `/api/${family}`)).status).toBe(200);
  expect((await record('GET', 'FORWARDED', '/api/ipv6')).deniedBy).toEqual([]);
});

test('beside rules that are enforced: those refuse, and what only they admit is audited', async () => {
  system.policy('enforced', http({ method: 'GET' }, { method: 'PUT' }));
  await expect.poll(() => status('POST', '/other'), PATIENCE).toBe(403);
  system.policy('stricter', http({ method: 'GET', headers: ['X-Team: shop'] }), AUDIT);
  system.removePolicy('trial');
  // All of them add up: the enforced rules admit GET and PUT, and those on trial take nothing away.
  expect(await status('PUT', '/kept')).toBe(200);
  expect((await record('PUT', 'FORWARDED', '/kept')).deniedBy).toEqual([]);
  expect(await status('DELETE', '/refused')).toBe(403);
  await record('DELETE', 'DROPPED', '/refused');
});

test('no longer on trial: what was audited is refused', async () => {
  system.removePolicy('enforced');
  system.removePolicy('stricter');
  system.policy('trial', http({ method: 'GET', path: '/api/.*' }), AUDIT);
  await expect.poll(() => status('POST', '/api/again'), PATIENCE).toBe(200);
  system.policy('trial', http({ method: 'GET', path: '/api/.*' }));
  await expect.poll(() => status('POST', '/api/again'), PATIENCE).toBe(403);
  expect(await status('GET', '/api/again')).toBe(200);
});
