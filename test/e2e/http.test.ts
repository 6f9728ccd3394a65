import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask, HTTP_PORT, httpServer } from '../lib/http.ts';
import { podName, policyName, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { FAMILIES } from '../lib/traffic.ts';

const GET_ONLY = { http: [{ method: 'GET', path: '/api/.*' }] };
const toPorts = [{ ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: GET_ONLY }];

describe.each(['routed', 'bridge'] as const)('an HTTP rule, %s workloads', (attach) => {
  let system: System;
  let client: Workload;
  let server: Workload;
  let stranger: Workload;

  beforeAll(async () => {
    system = await System.create(`http-${attach}`, ['--envoy-strict', 'true', '--envoy-idle-seconds', '1']);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    stranger = await system.pod('stranger', attach);
    await httpServer(server);
    await httpServer(system.topology.far);
    await system.start();
  });

  afterAll(() => system?.remove());

  const envoy = async (): Promise<{ state: string; pid?: number }> =>
    JSON.parse((await system.agent.get('/v1/envoy')).body) as { state: string; pid?: number };

  test('no rule: no Envoy', async () => {
    expect(await ask(client, server, 'ipv4', 'POST', '/api/x')).toMatchObject({ status: 200 });
    expect(await envoy()).toMatchObject({ state: 'stopped' });
  });

  test('a rule comes, Envoy comes, and both are in force', async () => {
    system.policy('http', {
      endpointSelector: { matchLabels: { app: 'server' } },
      ingress: [
        { fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts },
        { fromEntities: ['world'], toPorts },
      ],
    });
    await expect
      .poll(() => ask(client, server, 'ipv4', 'POST', '/api/x'), { timeout: 10_000 })
      .toMatchObject({ status: 403 });
    await expect.poll(() => envoy()).toMatchObject({ state: 'ready' });
  });

  test.each(FAMILIES)('GET passes with the address of the client, POST is refused, over %s', async (family) => {
    const answer = await ask(client, server, family, 'GET', '/api/x?y=1');
    expect(answer).toMatchObject({ status: 200 });
    expect(JSON.parse(answer.body ?? '{}')).toMatchObject({
      address: client[family],
      method: 'GET',
      url: '/api/x?y=1',
    });
    expect(await ask(client, server, family, 'POST', '/api/x')).toMatchObject({
      status: 403,
      body: 'Access denied\r\n',
    });
    expect(await ask(client, server, family, 'GET', '/admin')).toMatchObject({ status: 403 });
  });

  test.each(FAMILIES)('a client beyond the uplink is held to it, too, over %s', async (family) => {
    const answer = await ask(system.topology.far, server, family, 'GET', '/api/x');
    expect(answer).toMatchObject({ status: 200 });
    expect(JSON.parse(answer.body ?? '{}')).toMatchObject({ address: system.topology.far[family] });
    expect(await ask(system.topology.far, server, family, 'POST', '/api/x')).toMatchObject({ status: 403 });
  });

  test('the node itself is not proxied', async () => {
    expect(await ask(system.topology.node, server, 'ipv4', 'POST', '/healthz')).toMatchObject({ status: 200 });
  });

  test('whom no rule names hears nothing, and layer 4 names the policy', async () => {
    const since = Date.now() - 20;
    expect(await ask(stranger, server, 'ipv4', 'GET', '/api/x')).toMatchObject({ error: 'TIMEOUT' });
    const flow = await system.flow(
      'the stranger',
      (each) => each.time >= since && each.source === podName(stranger) && each.verdict === 'DROPPED',
    );
    expect(flow.deniedBy).toContain(policyName('http'));
  });

  test('egress rules are Envoy’s as well, for a server beyond the uplink', async () => {
    system.policy('egress', {
      endpointSelector: { matchLabels: { app: 'stranger' } },
      egress: [{ toEntities: ['world'], toPorts }],
    });
    const { far } = system.topology;
    await expect
      .poll(() => ask(stranger, far, 'ipv4', 'POST', '/api/x'), { timeout: 10_000 })
      .toMatchObject({ status: 403 });
    for (const family of FAMILIES) {
      const answer = await ask(stranger, far, family, 'GET', '/api/x');
      expect(answer).toMatchObject({ status: 200 });
      expect(JSON.parse(answer.body ?? '{}')).toMatchObject({ address: stranger[family] });
    }
  });

  test('requests stand in the flows with the rule that allowed or refused them', async () => {
    await ask(client, server, 'ipv4', 'GET', '/api/named');
    await ask(client, server, 'ipv4', 'PUT', '/api/named');
    await expect
      .poll(async () => (await system.agent.cli(['observe', '--type', 'l7', '--last', '20'])).stdout, {
        timeout: 5_000,
      })
      .toMatch(
        /http-request FORWARDED \(HTTP\/1\.1 GET http:\/\/[^ ]+\/api\/named.*CiliumNetworkPolicy\/shop\/http#ingress\[0\]/,
      );
    // Envoy's two workers tell of their requests each for itself: in no promised order.
    const refused = ['observe', '--type', 'l7', '--verdict', 'DROPPED', '--last', '1'];
    await expect
      .poll(async () => (await system.agent.cli(refused)).stdout, { timeout: 5_000 })
      .toMatch(/DROPPED \(HTTP\/1\.1 PUT .*\/api\/named.*CiliumNetworkPolicy\/shop\/http/);
    // As records they name endpoint and policy revision, too.
    const records = (await system.agent.cli([...refused, '-o', 'json'])).stdout;
    const status = JSON.parse(await system.status()) as { readonly revision: { readonly snapshot: number } };
    expect(JSON.parse(records)).toMatchObject({
      flow: {
        source: { ID: expect.any(Number), pod_name: 'client' },
        destination: { ID: expect.any(Number), pod_name: 'server' },
        ingress_denied_by: [{ name: 'http', revision: String(status.revision.snapshot) }],
      },
    });
  });

  test('Envoy killed: refused by name, then back', async () => {
    const { pid = 0 } = await envoy();
    process.kill(pid, 'SIGKILL');
    await expect.poll(async () => (await envoy()).pid, { timeout: 5_000 }).not.toBe(pid);
    await expect
      .poll(() => ask(client, server, 'ipv4', 'GET', '/api/x'), { timeout: 5_000 })
      .toMatchObject({ status: 200 });
    expect(await ask(client, server, 'ipv4', 'POST', '/api/x')).toMatchObject({ status: 403 });
  });

  test('the next agent takes Envoy over, and no agent changes nothing', async () => {
    const { pid } = await envoy();
    await system.agent.killHard();
    expect(await ask(client, server, 'ipv4', 'GET', '/api/x')).toMatchObject({ status: 200 });
    expect(await ask(client, server, 'ipv4', 'POST', '/api/x')).toMatchObject({ status: 403 });
    await system.start();
    await expect.poll(() => envoy(), { timeout: 5_000 }).toMatchObject({ state: 'ready', pid });
    expect(await ask(client, server, 'ipv4', 'POST', '/api/x')).toMatchObject({ status: 403 });
  });

  test('the rules go, and Envoy goes', async () => {
    system.removePolicy('http');
    system.removePolicy('egress');
    await expect
      .poll(() => ask(client, server, 'ipv4', 'POST', '/api/x'), { timeout: 10_000 })
      .toMatchObject({ status: 200 });
    await expect.poll(() => envoy(), { timeout: 10_000 }).toMatchObject({ state: 'stopped' });
  });
});
