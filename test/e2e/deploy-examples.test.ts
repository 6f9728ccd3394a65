/** The policies that are handed out do what their first lines say: each alone in force, and traffic that it admits and refuses. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ipBatch } from '../../control-plane/demo/namespaces.ts';
import { ask, httpServer } from '../lib/http.ts';
import { askAndConnect, NamesServer, namedWorld } from '../lib/names.ts';
import { NODE, System } from '../lib/system.ts';
import { askTls } from '../lib/tls.ts';
import { ROOT } from '../lib/tools.ts';
import { type Host, UPLINK } from '../lib/topology.ts';
import { Asker, echoServers, FAMILIES, ping } from '../lib/traffic.ts';

const FOLDER = join(ROOT, 'deploy/examples');
const TLS = 443;

interface PodSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports?: readonly object[];
}

const PODS: readonly PodSpec[] = [
  { name: 'web', labels: { app: 'frontend-web' } },
  { name: 'api', labels: { app: 'backend-api' }, ports: [{ name: 'metrics', containerPort: 9090 }] },
  { name: 'orders', labels: { app: 'orders' }, ports: [{ name: 'http', containerPort: 8080 }] },
  { name: 'checkout', labels: { app: 'checkout' } },
  { name: 'builder', labels: { app: 'builder' } },
  { name: 'media', labels: { app: 'media' } },
  { name: 'admin', labels: { app: 'admin' } },
  { name: 'db', labels: { tier: 'database' } },
  { name: 'stranger', labels: { app: 'stranger' } },
  { name: 'ledger', namespace: 'finance', labels: { app: 'ledger' } },
  { name: 'prometheus', namespace: 'monitoring', labels: { app: 'prometheus' } },
  { name: 'dns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
];
/** Of the far end. */
const OUTSIDE = ['192.0.2.2', '192.0.2.130', '198.51.100.7', '198.51.100.200', '203.0.113.9'];
/** Every pod and address outside answers there. */
const SPECS = ['80/tcp', '9090/tcp', '8005/tcp', '8011/tcp', '30050/udp', '30101/udp'];

let system: System;
const hosts = new Map<string, Host>();
const askers = new Map<string, Asker>();

const host = (name: string): Host => {
  const found = hosts.get(name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
};

beforeAll(async () => {
  system = await System.create('examples', ['--envoy-idle-seconds', '1']);
  const { topology, manifests } = system;
  const write = (kind: string, name: string, rest: object, metadata: object = {}, apiVersion = 'v1'): void => {
    manifests.write(
      `${kind}-${name}.yaml`,
      JSON.stringify({ apiVersion, kind, metadata: { name, ...metadata }, ...rest }),
    );
  };
  for (const name of ['production', 'monitoring', 'kube-system']) write('Namespace', name, {});
  write('Namespace', 'finance', {}, { labels: { team: 'payments' } });
  for (const { name, namespace = 'production', labels, ports = [] } of PODS) {
    const pod = await topology.workload(name, 'routed');
    hosts.set(name, pod);
    const metadata = { namespace, labels, annotations: { 'sidestep.dev/netns': pod.namespace } };
    const status = { podIPs: [{ ip: pod.ipv4 }, { ip: pod.ipv6 }] };
    write('Pod', name, { spec: { nodeName: NODE, containers: [{ name: 'main', ports }] }, status }, metadata);
    await echoServers(pod, SPECS);
  }
  const { far, node } = topology;
  const here = OUTSIDE.filter((address) => address.startsWith('192.0.2.') && address !== far.ipv4);
  const beyond = OUTSIDE.filter((address) => !address.startsWith('192.0.2.'));
  await ipBatch(far.namespace, [
    ...here.map((address) => `addr add ${address}/24 dev ${UPLINK}`),
    ...beyond.map((address) => `addr add ${address}/32 dev lo`),
  ]);
  await ipBatch(
    node.namespace,
    beyond.map((address) => `route add ${address} via ${far.ipv4}`),
  );
  for (const address of OUTSIDE) hosts.set(address, { ...far, name: address, ipv4: address });
  await echoServers(far, SPECS);
  await namedWorld(topology, TLS);
  await NamesServer.start(host('dns'));
  await httpServer(host('orders'));
  // What the example of Services is about.
  const service = (name: string, spec: object, labels = {}): void =>
    write('Service', name, { spec: { clusterIP: 'None', ...spec } }, { namespace: 'production', labels });
  service('backend-api', { selector: { app: 'backend-api' } });
  service('legacy', {}, { exposed: 'everywhere' });
  const endpoints = (name: string, namespace: string, address: string): void =>
    write(
      'EndpointSlice',
      name,
      { addressType: 'IPv4', endpoints: [{ addresses: [address] }], ports: [] },
      { namespace, labels: { 'kubernetes.io/service-name': name } },
      'discovery.k8s.io/v1',
    );
  endpoints('legacy', 'production', '198.51.100.7');
  endpoints('kubernetes', 'default', '203.0.113.9');
  await system.start();
}, 60_000);
afterAll(() => system?.remove());

async function revision(): Promise<number> {
  return (JSON.parse(await system.status()) as { readonly revision: { readonly kernel: number } }).revision.kernel;
}

/** Makes these the only policies. @param files in the folder of examples */
async function inForce(...files: readonly string[]): Promise<void> {
  const before = await revision();
  const text = files.map((file) => readFileSync(join(FOLDER, file), 'utf8')).join('\n---\n');
  system.manifests.write('policies.yaml', text);
  await expect.poll(revision).toBeGreaterThan(before);
}

/** `web -> api 80/tcp`: yes or no. */
async function answered(...probes: readonly string[]): Promise<Readonly<Record<string, 'yes' | 'no'>>> {
  const found: Record<string, 'yes' | 'no'> = {};
  for (const probe of probes) {
    const [, from = '', to = '', port, protocol] = /^(\S+) -> (\S+) (\d+)\/(tcp|udp)$/.exec(probe) ?? [];
    const asker = askers.get(from) ?? new Asker(host(from));
    askers.set(from, asker);
    const source = OUTSIDE.includes(from) ? { from } : {};
    const target = { protocol: protocol as 'tcp' | 'udp', address: host(to).ipv4, port: Number(port), ...source };
    found[probe] = (await asker.ask([target]))[0] === 'answered' ? 'yes' : 'no';
  }
  return found;
}

/** What is refused takes its time: all at once, and each as it is wanted. */
async function expectAnswers(wanted: Readonly<Record<string, 'yes' | 'no'>>): Promise<void> {
  const bySource = Object.groupBy(Object.keys(wanted), (probe) => probe.split(' ')[0] ?? '');
  const found = await Promise.all(Object.values(bySource).map((probes = []) => answered(...probes)));
  expect(Object.assign({}, ...found)).toEqual(wanted);
}

/** By file; each has the only policies. */
const EXAMPLES: Readonly<Record<string, () => Promise<void>>> = {
  'default-deny.yaml': () =>
    expectAnswers({
      'web -> api 80/tcp': 'no',
      'ledger -> api 80/tcp': 'no',
      'web -> 198.51.100.7 80/tcp': 'no',
      'ledger -> prometheus 80/tcp': 'yes',
    }),
  'policies/clusterwide.yaml': async () => {
    await inForce('default-deny.yaml', 'policies/clusterwide.yaml');
    await expectAnswers({ 'web -> dns 80/tcp': 'no', 'web -> api 80/tcp': 'no', 'ledger -> dns 80/tcp': 'yes' });
    for (const transport of ['udp', 'tcp'] as const)
      expect(await askAndConnect(host('web'), host('dns'), ['n1.example.test'], { transport })).toEqual({
        answered: 1,
      });
  },
  'policies/deny.yaml': () =>
    expectAnswers({ 'ledger -> db 80/tcp': 'yes', 'web -> db 80/tcp': 'no', 'prometheus -> db 80/tcp': 'no' }),
  'policies/http.yaml': async () => {
    const status = async (method: string, path: string, ...headers: readonly string[]): Promise<number | undefined> =>
      (await ask(host('web'), host('orders'), 'ipv4', method, path, undefined, headers)).status;
    await expect.poll(() => status('GET', '/orders/17'), { timeout: 10_000 }).toBe(200);
    expect(await status('POST', '/orders', 'X-Team=shop')).toBe(200);
    expect(await status('POST', '/orders')).toBe(403);
    expect(await status('POST', '/orders', 'X-Team=blog')).toBe(403);
    expect(await status('DELETE', '/orders/17', 'X-Team=shop')).toBe(403);
    await expectAnswers({ 'web -> orders 80/tcp': 'no', 'stranger -> orders 8080/tcp': 'no' });
    const flow = await system.flow('refused', ({ method, verdict }) => method === 'DELETE' && verdict === 'DROPPED');
    expect(new Set(flow.deniedBy)).toEqual(new Set(['CiliumNetworkPolicy/production/orders']));
  },
  'policies/kubernetes.yaml': () =>
    expectAnswers({
      'prometheus -> api 9090/tcp': 'yes',
      'prometheus -> api 80/tcp': 'no',
      'web -> api 9090/tcp': 'no',
      'api -> 192.0.2.2 8005/tcp': 'yes',
      'api -> 192.0.2.2 8011/tcp': 'no',
      'api -> 192.0.2.130 8005/tcp': 'no',
      'api -> web 8005/tcp': 'no',
    }),
  'policies/names.yaml': async () => {
    const checkout = (...names: readonly string[]) =>
      askAndConnect(host('checkout'), host('dns'), names, { port: TLS });
    expect(await checkout('api.example.com')).toEqual({ connected: 1 });
    expect(await checkout('n2.example.com')).toEqual({ timeout: 1 });
    expect(await checkout('n3.example.test')).toEqual({ REFUSED: 1 });
    await expectAnswers({ 'checkout -> 198.51.100.7 80/tcp': 'no', 'checkout -> api 80/tcp': 'no' });
  },
  'policies/on-trial.yaml': async () => {
    await expectAnswers({ 'web -> api 80/tcp': 'yes', 'stranger -> api 80/tcp': 'yes' });
    const flow = await system.flow('audited', ({ verdict }) => verdict === 'AUDIT');
    expect(flow).toMatchObject({ source: 'production/stranger', destination: 'production/api' });
    expect(flow.raw).toContain('"policy_log":["on-trial"]');
  },
  'policies/ports-and-icmp.yaml': async () => {
    await expectAnswers({
      'stranger -> media 30050/udp': 'yes',
      'stranger -> media 30101/udp': 'no',
      'stranger -> media 80/tcp': 'no',
    });
    for (const family of FAMILIES) expect(await ping(host('stranger'), host('media'), family)).toBe(1);
  },
  'policies/ranges.yaml': () =>
    expectAnswers({
      '192.0.2.2 -> admin 80/tcp': 'yes',
      '198.51.100.7 -> admin 80/tcp': 'yes',
      '198.51.100.200 -> admin 80/tcp': 'no',
      '203.0.113.9 -> admin 80/tcp': 'no',
      'web -> admin 80/tcp': 'no',
    }),
  'policies/services.yaml': () =>
    expectAnswers({
      'web -> api 80/tcp': 'yes',
      'web -> 198.51.100.7 80/tcp': 'yes',
      'web -> 203.0.113.9 80/tcp': 'yes',
      'web -> 198.51.100.200 80/tcp': 'no',
      'web -> stranger 80/tcp': 'no',
    }),
  'policies/headers.yaml': async () => {
    const seen = async (...headers: readonly string[]): Promise<Record<string, string>> => {
      const { status, body } = await ask(host('web'), host('orders'), 'ipv4', 'GET', '/', undefined, headers);
      expect(status).toBe(200);
      return (JSON.parse(body ?? '{}') as { headers: Record<string, string> }).headers;
    };
    await expect.poll(() => seen('x-debug=all'), { timeout: 10_000 }).not.toHaveProperty('x-debug');
    expect(await seen('x-debug=off', 'x-tenant=other')).toMatchObject({ 'x-debug': 'off', 'x-tenant': 'shop' });
    const flow = await system.flow('mended', ({ raw }) => raw.includes('x-tenant is not as asked: REPLACE'));
    expect(flow).toMatchObject({ verdict: 'FORWARDED', allowedBy: ['CiliumNetworkPolicy/production/orders-headers'] });
    expect(flow.raw).toContain('x-request-id is not as asked: LOG');
  },
  'policies/tls-names.yaml': async () => {
    const outcome = async (name: string): Promise<string> =>
      (await askTls(host('builder'), host('198.51.100.7'), 'ipv4', TLS, name)).outcome;
    // Nobody there speaks TLS: that somebody is reached is what counts.
    await expect.poll(() => outcome('deb.example.org'), { timeout: 10_000 }).toBe('no TLS');
    expect(await outcome('www.example.com')).toBe('closed');
    expect(await outcome('')).toBe('closed');
    const flow = await system.flow('refused', ({ summary }) => summary.startsWith('TLS name www.example.com'));
    expect(flow).toMatchObject({ verdict: 'DROPPED', deniedBy: ['CiliumNetworkPolicy/production/package-mirrors'] });
  },
};

test.each(Object.entries(EXAMPLES))('%s', { timeout: 30_000 }, async (file, check) => {
  await inForce(file);
  await check();
});

/** Manifests of pods, which the others are about; and what other suites enforce. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'workloads.yaml': 'no policy',
  'secure-app-access.yaml': 'control-plane/demo: acts 2 and 5 put it in force',
};

test('no example is left out', () => {
  const files = readdirSync(FOLDER, { recursive: true }).map(String);
  const policies = files.filter((file) => file.endsWith('.yaml') && !(file in ELSEWHERE));
  expect(policies.sort()).toEqual(Object.keys(EXAMPLES).sort());
});
