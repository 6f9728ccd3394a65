/** HTTP rules that come, change and go under live traffic, and attempts to get past them. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { ask, HeldHttp, HTTP_PORT, httpServer } from '../lib/http.ts';
import { podName, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';

const CONNECTIONS = 1_000;

let system: System;
let client: Workload;
let server: Workload;

beforeAll(async () => {
  // Idle for longer than the slow request takes: what follows it must meet an Envoy that does not drain yet.
  system = await System.create('l7', ['--envoy-strict', 'true', '--envoy-idle-seconds', '3']);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  await httpServer(server);
  await system.start();
});

afterAll(() => system?.remove());

interface EnvoyView {
  readonly state: string;
  readonly discovery: { readonly revision: number; readonly acknowledged: number };
}

async function envoy(): Promise<EnvoyView> {
  return JSON.parse((await system.agent.get('/v1/envoy')).body) as EnvoyView;
}

function rule(...http: readonly object[]): void {
  system.policy('http', {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'client' } }],
        toPorts: [{ ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: { http } }],
      },
    ],
  });
}

async function inForce(method: string, status: number): Promise<void> {
  await expect.poll(() => ask(client, server, 'ipv4', method, '/probe'), { timeout: 10_000 }).toMatchObject({ status });
}

test('a live connection that comes under an HTTP rule is reset, and the flow says why', async () => {
  const held = HeldHttp.start(client, server, 'ipv4', 1);
  const [before] = await held.round('POST', '/x');
  expect(before).toMatchObject({ status: 200 });
  rule({ method: 'GET' });
  await inForce('POST', 403);
  const [after] = await held.round('POST', '/x');
  // Node's client tries again on a connection of its own when an idle one was reset: then Envoy judges the request.
  expect(after?.status === 403 || after?.error === 'ECONNRESET').toBe(true);
  const { stdout } = await system.agent.cli(['observe', '--last', '50', '--verdict', 'DROPPED', '--type', 'drop']);
  expect(stdout).toMatch(/L7 proxy required DROPPED/);
  await held.close();
});

test(`${CONNECTIONS} keep-alive connections live through an edited rule, and their next request obeys it`, async () => {
  rule({ method: 'GET' });
  await inForce('GET', 200);
  const held = HeldHttp.start(client, server, 'ipv4', CONNECTIONS);
  const first = await held.round('GET', '/x');
  expect(first.filter(({ status }) => status === 200)).toHaveLength(CONNECTIONS);
  rule({ method: 'GET', path: '/y' });
  await inForce('GET', 403);
  const second = await held.round('GET', '/x');
  expect(second.filter(({ status }) => status === 403)).toHaveLength(CONNECTIONS);
  const third = await held.round('GET', '/y');
  expect(third.filter(({ status }) => status === 200)).toHaveLength(CONNECTIONS);
  const ports = (answers: readonly { port?: number }[]): number[] => answers.map(({ port }) => port ?? 0).sort();
  expect(ports(second)).toEqual(ports(first));
  expect(ports(third)).toEqual(ports(first));
  await held.close();
});

test('a request in flight when the rule goes is answered, and its connection stays with Envoy until it closes', async () => {
  rule({ method: 'GET' });
  await inForce('POST', 403);
  const held = HeldHttp.start(client, server, 'ipv4', 1);
  expect(await held.round('GET', '/x')).toMatchObject([{ status: 200 }]);
  const slow = held.round('GET', '/slow');
  system.removePolicy('http');
  await inForce('POST', 200);
  expect(await slow).toMatchObject([{ status: 200 }]);
  expect(await held.round('POST', '/after')).toMatchObject([{ status: 200 }]);
  // The rule that is gone allowed nothing: the flow does not name it.
  const flows = async (): Promise<string> =>
    (await system.agent.cli(['observe', '--type', 'l7', '--last', '20'])).stdout;
  await expect.poll(flows, { timeout: 10_000 }).toContain('/after');
  expect((await flows()).split('\n').filter((line) => line.includes('/after') && line.includes('allowed by'))).toEqual(
    [],
  );
  expect((await envoy()).state).not.toBe('stopped');
  await held.close();
  await expect.poll(async () => (await envoy()).state, { timeout: 15_000 }).toBe('stopped');
});

test("Envoy's port answers nobody who connects to it, from a pod or from outside", async () => {
  rule({ method: 'GET' });
  await inForce('POST', 403);
  const { node, far } = system.topology;
  const to = { ...node, ipv4: '192.0.2.1' };
  for (const from of [client, far]) {
    const script = `fetch('http://${to.ipv4}:15001/',{signal:AbortSignal.timeout(1500)}).then((r)=>console.log(r.status),(e)=>console.log(e.cause?.code??e.name))`;
    const { stdout } = await run('nsenter', inside(from.namespace, [process.execPath, '-e', script]));
    expect(stdout.trim()).toMatch(/ECONNREFUSED|TimeoutError/);
  }
});

test("a workload cannot use the ports that are Envoy's", async () => {
  const since = Date.now() - 20;
  const script = `require('net').connect({host:'${server.ipv4}',port:${HTTP_PORT},localPort:61500}).on('connect',()=>{console.log('connected');process.exit()}).on('error',(e)=>{console.log(e.code);process.exit()});setTimeout(()=>{console.log('silence');process.exit()},1500)`;
  const { stdout } = await run('nsenter', inside(client.namespace, [process.execPath, '-e', script]));
  expect(stdout.trim()).toBe('silence');
  const flow = await system.flow(
    'the port',
    (each) => each.time >= since && each.dropReason === 'SOCKET_ASSIGN_FAILED' && each.verdict === 'DROPPED',
  );
  expect(flow.destinationAddress).toBe(server.ipv4);
});

test('a mark that a workload or a process beyond the uplink sets opens nothing', async () => {
  const { far } = system.topology;
  const stranger = await system.pod('stranger', 'routed');
  const script = (host: string): string => `
import socket
s = socket.socket(); s.settimeout(1.5)
s.setsockopt(socket.SOL_SOCKET, 36, 0x200)
try:
    s.connect(('${host}', ${HTTP_PORT})); s.send(b'POST / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'); print(s.recv(64).split()[1].decode())
except OSError as e: print(type(e).__name__)`;
  for (const from of [stranger, far]) {
    const { stdout } = await run('nsenter', inside(from.namespace, ['python3', '-c', script(server.ipv4)]));
    expect(stdout.trim()).toMatch(/timeout|TimeoutError/i);
  }
  const flow = await system.flow(
    'the stranger',
    (each) => each.source === podName(stranger) && each.verdict === 'DROPPED',
  );
  expect(flow.deniedBy.length).toBeGreaterThan(0);
});
