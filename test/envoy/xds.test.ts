/** The discovery server and the translated rulesets against a real Envoy that refuses every field it does not know. */
import { Agent, createServer, type RequestOptions, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HttpMatch, RuleRef } from '../../control-plane/model/policy.ts';
import type { Ruleset } from '../../control-plane/model/snapshot.ts';
import { type TrafficResources, translate } from '../../control-plane/traffic/resources.ts';
import { LISTENER_TYPE, ROUTE_TYPE } from '../../control-plane/xds/types.ts';
import { Discovery, knownListener, type Listener, type LogEntry, possible } from './discovery.ts';
import { fetchText, freePort, MODULE, RealEnvoy, type Reply, removeFolder, runFolder, until } from './real.ts';

const RULESET = 16;

const ref = (name: string, rule = 'ingress[0].toPorts[0].rules.http[0]'): RuleRef => ({
  kind: 'CiliumNetworkPolicy',
  namespace: 'production',
  name,
  rule,
});

function ruleset(id: number, direction: Ruleset['direction'], ...matches: (HttpMatch | undefined)[]): Ruleset {
  const rules = matches.map((match, i) => ({ ref: ref('web', `${direction}[0].toPorts[0].rules.http[${i}]`), match }));
  return { id, direction, key: String(id), rules };
}

describe('a real Envoy', () => {
  const folder = runFolder();
  let port = 0;
  let knownPort = 0;
  let backend: Server;
  let discovery: Discovery;
  let envoy: RealEnvoy;
  /** One connection, kept. */
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });

  /** As translated, and a listener on which every connection is of ruleset 16 and meant for the backend. */
  function resources(...rulesets: Ruleset[]): TrafficResources {
    const translated = translate(new Map(rulesets.map((each) => [each.id, each])), {
      modulePath: MODULE,
      port,
      marks: [],
    });
    const backendPort = (backend.address() as AddressInfo).port;
    const known = knownListener('known', knownPort, translated, {
      egress: 1,
      ingress: RULESET,
      identity: 4711,
      backendPort,
    });
    return { ...translated, listeners: [...translated.listeners.map(possible), known] };
  }

  const ask = (options: RequestOptions): Promise<Reply> =>
    fetchText({ host: '127.0.0.1', port: knownPort, path: '/', agent, ...options });

  beforeAll(async () => {
    [port, knownPort] = [await freePort(), await freePort()];
    backend = createServer((asked, reply) => reply.end(JSON.stringify(asked.headers)));
    await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
    discovery = new Discovery(folder);
    await discovery.listen();
    discovery.set(resources(ruleset(RULESET, 'ingress', { method: 'GET', path: '/a.*' })));
    envoy = RealEnvoy.start(folder);
  });

  afterAll(async () => {
    agent.destroy();
    await envoy?.stop();
    discovery?.close();
    backend?.close();
    removeFolder(folder);
  });

  test('takes every listener, route and cluster as translated', async () => {
    expect(await discovery.acknowledged()).toEqual({ outcome: 'acknowledged', clients: 1, rejections: [] });
    expect(discovery.nacks).toEqual([]);
    await until('it is ready', async () => (await envoy.admin('/ready')).trim() === 'LIVE');
    expect(await envoy.stat('listener_manager.total_listeners_active')).toBe(3);
    expect(discovery.ads.clients()).toMatchObject([{ node: { id: 'sidestep', cluster: 'sidestep' } }]);
  });

  test('refuses, in its own words, who has no identity', async () => {
    const reply = await ask({ port });
    expect(reply).toMatchObject({ status: 403, body: 'Access denied\r\n' });
  });

  test('decides by the ruleset of the connection', async () => {
    expect(await ask({ path: '/a/1?q=2' })).toMatchObject({ status: 200 });
    expect(await ask({ path: '/b' })).toMatchObject({ status: 403, body: 'Access denied\r\n' });
    expect(await ask({ method: 'POST', path: '/a' })).toMatchObject({ status: 403 });
    expect(await ask({ path: '/a%2fb' })).toMatchObject({ status: 400 });
    expect(await ask({ path: '//b/..//a' })).toMatchObject({ status: 200 });
    expect(await ask({ method: 'OPTIONS', path: '*' })).toMatchObject({ status: 404 });
  });

  test('adds nothing to a request but its scheme, and keeps what the client says about where it is from', async () => {
    const sent = { 'x-forwarded-for': '192.0.2.1', 'x-request-id': 'mine' };
    const { body, headers } = await ask({ path: '/a', headers: sent });
    expect(JSON.parse(body)).toEqual({ host: `127.0.0.1:${knownPort}`, ...sent, 'x-forwarded-proto': 'http' });
    expect(Object.keys(headers)).toEqual(['date', 'content-length']);
  });

  test('an edited rule counts from the next request of a kept connection on, and only the routes travel', async () => {
    expect(await ask({ path: '/a' })).toMatchObject({ status: 200 });
    const connections = await envoy.stat('http.sidestep.downstream_cx_total');
    const before = discovery.acks.length;
    discovery.set(resources(ruleset(RULESET, 'ingress', { method: 'GET', path: '/b.*' })));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    expect(discovery.acks.slice(before).map(({ typeUrl }) => typeUrl)).toEqual([ROUTE_TYPE]);
    expect(await ask({ path: '/a' })).toMatchObject({ status: 403 });
    expect(await ask({ path: '/b' })).toMatchObject({ status: 200 });
    expect(await envoy.stat('http.sidestep.downstream_cx_total')).toBe(connections);
  });

  test('a plain rule behind HTTP rules admits the rest, and a ruleset without rules nothing', async () => {
    discovery.set(resources(ruleset(RULESET, 'ingress', { path: '/special' }, undefined)));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    expect(await ask({ path: '/whatever' })).toMatchObject({ status: 200 });
    discovery.set(resources(ruleset(RULESET, 'ingress')));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    expect(await ask({ path: '/special' })).toMatchObject({ status: 403 });
  });

  test('a broken route is refused in words, and what was there stays in force', async () => {
    discovery.set(resources(ruleset(RULESET, 'ingress', { path: '/good' })));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    const held = discovery.ads.clients()[0]?.types.find(({ typeUrl }) => typeUrl === ROUTE_TYPE)?.held;
    discovery.set(resources(ruleset(RULESET, 'ingress', { path: '/bad(' })));
    expect(await discovery.acknowledged()).toMatchObject({
      outcome: 'rejected',
      rejections: [{ typeUrl: ROUTE_TYPE, name: 'sidestep', message: expect.stringContaining('missing )') }],
    });
    expect(discovery.nacks.at(-1)).toMatchObject({ names: ['sidestep'] });
    expect(discovery.ads.clients()[0]?.types.find(({ typeUrl }) => typeUrl === ROUTE_TYPE)?.held).toEqual(held);
    expect(await ask({ path: '/good' })).toMatchObject({ status: 200 });
    discovery.set(resources(ruleset(RULESET, 'ingress', { path: '/mended' })));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    expect(await ask({ path: '/good' })).toMatchObject({ status: 403 });
  });

  test('a broken listener among good ones is named alone, and the good ones are taken', async () => {
    const good = resources(ruleset(RULESET, 'ingress', { path: '/mended' }));
    const [first] = good.listeners;
    const extra = async (name: string, module: string): Promise<Listener> => ({
      ...first,
      name,
      address: { socket_address: { address: '127.0.0.1', port_value: await freePort() } },
      additional_addresses: [],
      listener_filters: (first?.listener_filters ?? []).slice(0, 1).map((filter) => ({
        ...filter,
        typed_config: {
          '@type': 'envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter',
          dynamic_module_config: { module: { local: { filename: module } } },
        },
      })),
    });
    const [before, broken, after] = [
      await extra('aa', MODULE),
      await extra('bb', '/nowhere.so'),
      await extra('cc', MODULE),
    ];
    discovery.set({ ...good, listeners: [...good.listeners, before, broken, after] });
    expect(await discovery.acknowledged()).toMatchObject({
      outcome: 'rejected',
      rejections: [{ typeUrl: LISTENER_TYPE, name: 'bb', message: expect.stringContaining('/nowhere.so') }],
    });
    expect(await envoy.stat('listener_manager.total_listeners_active')).toBe(5);
    discovery.set(good);
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    await until('they are gone', async () => (await envoy.stat('listener_manager.total_listeners_active')) === 3);
  });

  test('names the rule of every request in its access log', async () => {
    discovery.set(resources(ruleset(RULESET, 'ingress', { path: '/logged' })));
    await discovery.acknowledged();
    discovery.logged.length = 0;
    await ask({ path: '/logged' });
    await ask({ path: '/refused' });
    const entry = (path: string) => discovery.logged.find(({ request }) => request?.path === path);
    await until('both are told', () => entry('/logged') !== undefined && entry('/refused') !== undefined);
    const [admitted, refused] = [entry('/logged'), entry('/refused')];
    const said = (entry: LogEntry | undefined) =>
      Object.fromEntries(
        Object.entries(
          entry?.common_properties?.metadata?.filter_metadata?.['envoy.filters.http.rbac']?.fields ?? {},
        ).map(([key, value]) => [key, value.string_value]),
      );
    expect(said(admitted)).toEqual({
      egress_enforced_engine_result: 'allowed',
      egress_enforced_effective_policy_id: 'layer4',
      ingress_enforced_engine_result: 'allowed',
      ingress_enforced_effective_policy_id: 'CiliumNetworkPolicy/production/web#ingress[0].toPorts[0].rules.http[0]',
    });
    expect(said(refused)).toMatchObject({ ingress_enforced_engine_result: 'denied' });
    expect(admitted?.common_properties?.filter_state_objects?.['sidestep.source_identity']).toEqual({
      '@type': 'google.protobuf.StringValue',
      value: '4711',
    });
    expect(admitted).toMatchObject({
      request: { request_method: 'GET', path: '/logged' },
      response: { response_code: { value: 200 } },
    });
  });

  test('comes back to a restarted server and is told only what it does not have', async () => {
    const rules = ruleset(RULESET, 'ingress', { path: '/logged' });
    discovery.close();
    discovery = new Discovery(folder);
    // Before the content is known nothing is said, so nothing is taken away.
    await discovery.listen();
    await until('it is back', () => discovery.ads.clients().length === 1);
    expect(await ask({ path: '/logged' })).toMatchObject({ status: 200 });
    discovery.set(resources(rules));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    expect(discovery.acks).toEqual([]);
    discovery.set(resources(rules, ruleset(17, 'egress', { method: 'GET' })));
    expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
    expect(discovery.acks.map(({ typeUrl }) => typeUrl)).toEqual([ROUTE_TYPE]);
  });

  test('takes 5,000 rulesets, and an edit of one of them', async () => {
    const many = Array.from({ length: 5000 }, (_, i) =>
      ruleset(
        RULESET + i,
        i % 2 === 0 ? 'ingress' : 'egress',
        { method: 'GET', path: `/api/v${i}/.*` },
        { path: `/${i}` },
      ),
    );
    const took = async (rulesets: readonly Ruleset[]): Promise<number> => {
      const start = performance.now();
      discovery.set(resources(...rulesets));
      expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
      return performance.now() - start;
    };
    const first = await took(many);
    const edit = await took([ruleset(RULESET, 'ingress', { path: '/last' }), ...many.slice(1)]);
    expect(await ask({ path: '/last' })).toMatchObject({ status: 200 });
    const route = discovery.cache.get(ROUTE_TYPE)?.get('sidestep');
    const sizes = `${((route?.bytes.length ?? 0) / 2 ** 20).toFixed(1)} MiB`;
    console.log(`5,000 rulesets, ${sizes}: ACK after ${first.toFixed(0)} ms, an edit after ${edit.toFixed(0)} ms`);
  });
});
