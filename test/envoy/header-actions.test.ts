/** What becomes of a request whose headers are not as a rule asks (`headerMatches` with `mismatch`), as the server sees it. */
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import { type Direction, formatRuleRef } from '../../control-plane/model/policy.ts';
import type { Snapshot } from '../../control-plane/model/snapshot.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';
import { translate } from '../../control-plane/traffic/resources.ts';
import { Discovery, knownListener, possible } from './discovery.ts';
import { freePort, MODULE, RealEnvoy, removeFolder, runFolder, until } from './real.ts';

const blue = (mismatch: string, more: object = {}): object => ({
  headerMatches: [{ name: 'X-Tenant', value: 'blue', mismatch }],
  ...more,
});
/** Each on a port of its own at the server; the client's end has rules for the last one only. */
const RULES = {
  LOG: [blue('LOG')],
  ADD: [blue('ADD')],
  DELETE: [blue('DELETE')],
  REPLACE: [blue('REPLACE')],
  'a value that Envoy would take for a command': [
    { headerMatches: [{ name: 'x-share', value: '50% %REQ(x-secret)%', mismatch: 'REPLACE' }] },
  ],
  'one that must be there, LOG': [{ headerMatches: [{ name: 'x-token', mismatch: 'LOG' }] }],
  'only for what the rule takes': [{ path: '/open' }, blue('REPLACE', { path: '/tenant/.*' })],
  'all rules that take it': [{}, blue('ADD', { method: 'GET' }), { ...blue('LOG'), path: '/a' }],
  'many of them': [
    {
      headerMatches: Array.from({ length: 11 }, (_, i) => ({ name: `x-${i}`, value: `${i}`, mismatch: 'REPLACE' })),
    },
  ],
  'both ends': [
    {
      headerMatches: [
        { name: 'x-from', value: 'client', mismatch: 'LOG' },
        { name: 'x-to', value: 'server', mismatch: 'ADD' },
      ],
    },
  ],
} as const;
type RuleName = keyof typeof RULES;
const NAMES = Object.keys(RULES) as RuleName[];
const portOf = (name: RuleName): number => 8000 + NAMES.indexOf(name);
const toPorts = (name: RuleName, http: readonly object[]): object => ({
  toPorts: [{ ports: [{ port: String(portOf(name)), protocol: 'TCP' }], rules: { http } }],
});
const pod = (name: string, address: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    namespace: 'shop',
    labels: { app: name },
    annotations: { 'sidestep.dev/netns': `/run/netns/${name}` },
  },
  spec: { nodeName: 'here' },
  status: { podIPs: [{ ip: address }] },
});
const policy = (name: string, app: string, sections: object): object => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name, namespace: 'shop' },
  spec: { endpointSelector: { matchLabels: { app } }, ...sections },
});
const MANIFESTS = [
  pod('client', '10.0.0.1'),
  pod('server', '10.0.0.2'),
  policy('in', 'server', {
    ingress: NAMES.map((name) => ({ fromEndpoints: [{}], ...toPorts(name, RULES[name]) })),
  }),
  policy('out', 'client', {
    egress: [
      ...[
        toPorts('both ends', [{ headerMatches: [{ name: 'x-from', value: 'client', mismatch: 'REPLACE' }] }]),
        { toPorts: [{ ports: [{ port: '8000', endPort: 8099, protocol: 'TCP' }] }] },
      ].map((rule) => ({ toEndpoints: [{}], ...rule })),
    ],
  }),
];

const folder = runFolder();
const ports = new Map<RuleName, number>();
let backend: Server;
let discovery: Discovery;
let envoy: RealEnvoy;

function rulesetOf(snapshot: Snapshot, app: string, direction: Direction, port: number): number {
  const workload = snapshot.workloads.find(({ name }) => name === app);
  const table = snapshot.tables.get(workload?.tables[direction] ?? '');
  return table?.entries.find((entry) => entry.port === port && entry.verdict === 'redirect')?.ruleset ?? 1;
}

/** @returns what the server got */
function ask(
  name: RuleName,
  path: string,
  headers: Record<string, string | string[]>,
): Promise<Record<string, string>> {
  return new Promise((resolve, reject) => {
    const asked = request({ port: ports.get(name), path, headers }, (reply) => {
      let text = '';
      reply.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      reply.on('end', () => (reply.statusCode === 200 ? resolve(JSON.parse(text)) : reject(Error(text))));
    });
    asked.on('error', reject).end();
  });
}

beforeAll(async () => {
  const inventory = new Inventory();
  inventory.set('all.yaml', parseManifests(MANIFESTS.map((each) => JSON.stringify(each)).join('\n---\n'), 'all.yaml'));
  const snapshot = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] }).compile(
    inventory.objects(),
  );
  expect(snapshot.issues).toEqual([]);
  backend = createServer((asked, reply) => reply.end(JSON.stringify(asked.headers)));
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
  const translated = translate(snapshot.rulesets, { modulePath: MODULE, port: await freePort(), marks: [] });
  const listeners = translated.listeners.map(possible);
  for (const name of NAMES) {
    const port = await freePort();
    ports.set(name, port);
    const known = {
      egress: rulesetOf(snapshot, 'client', 'egress', portOf(name)),
      ingress: rulesetOf(snapshot, 'server', 'ingress', portOf(name)),
      identity: 4711,
      backendPort: (backend.address() as AddressInfo).port,
    };
    listeners.push(knownListener(name, port, translated, known));
  }
  discovery = new Discovery(folder);
  await discovery.listen();
  discovery.set({ ...translated, listeners });
  envoy = RealEnvoy.start(folder);
  expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
  const live = (): Promise<boolean> => envoy.admin('/ready').then((said) => said.trim() === 'LIVE');
  await until('it is ready', () => live().catch(() => false));
});

afterAll(async () => {
  await envoy?.stop();
  discovery?.close();
  backend?.close();
  backend?.closeAllConnections();
  removeFolder(folder);
});

const RED = { 'x-tenant': 'red' };

test.each<readonly [RuleName, string, Record<string, string | string[]>, Record<string, string | undefined>]>([
  ['LOG', '/', RED, RED],
  ['LOG', '/', {}, { 'x-tenant': undefined }],
  ['ADD', '/', RED, { 'x-tenant': 'red, blue' }],
  ['ADD', '/', {}, { 'x-tenant': 'blue' }],
  ['ADD', '/', { 'x-tenant': 'blue' }, { 'x-tenant': 'blue' }],
  ['DELETE', '/', { ...RED, 'x-other': 'red' }, { 'x-tenant': undefined, 'x-other': 'red' }],
  ['DELETE', '/', { 'x-tenant': ['blue', 'red'] }, { 'x-tenant': undefined }],
  ['DELETE', '/', { 'x-tenant': 'blue' }, { 'x-tenant': 'blue' }],
  ['REPLACE', '/', { 'x-tenant': ['blue', 'red'] }, { 'x-tenant': 'blue' }],
  ['REPLACE', '/', {}, { 'x-tenant': 'blue' }],
  [
    'a value that Envoy would take for a command',
    '/',
    { 'x-share': 'all', 'x-secret': 'hidden' },
    { 'x-share': '50% %REQ(x-secret)%' },
  ],
  ['one that must be there, LOG', '/', {}, { 'x-token': undefined }],
  ['only for what the rule takes', '/open', RED, RED],
  ['only for what the rule takes', '/tenant/1', RED, { 'x-tenant': 'blue' }],
  ['all rules that take it', '/', RED, { 'x-tenant': 'red, blue' }],
  [
    'many of them',
    '/',
    { 'x-3': 'x', 'x-4': '4', 'x-10': '?' },
    Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`x-${i}`, `${i}`])),
  ],
  ['both ends', '/', { 'x-from': 'elsewhere', 'x-to': 'x' }, { 'x-from': 'client', 'x-to': 'x, server' }],
])('%s: %s %o', async (name, path, sent, received) => {
  const headers = await ask(name, path, sent);
  expect(Object.fromEntries(Object.keys(received).map((key) => [key, headers[key]]))).toEqual(received);
});

test('what a rule does not take is refused as ever', async () => {
  await expect(ask('only for what the rule takes', '/elsewhere', RED)).rejects.toThrow('Access denied');
});

test('the access log tells what was done, by which rule', async () => {
  await ask('all rules that take it', '/a?log', RED);
  await ask('both ends', '/b?log', {});
  const actionsOf = (path: string): string[] | undefined =>
    discovery.events
      .find(({ url }) => url.endsWith(path))
      ?.headerActions?.map(({ direction, action, header, rule: by }) =>
        [direction, action, header, by ? formatRuleRef(by) : ''].join(' '),
      )
      .sort();
  await until('both are told', () => actionsOf('/a?log') !== undefined && actionsOf('/b?log') !== undefined);
  const rule = (name: RuleName, i: number): string =>
    `CiliumNetworkPolicy/shop/in#ingress[${NAMES.indexOf(name)}].toPorts[0].rules.http[${i}]`;
  expect(actionsOf('/a?log')).toEqual([
    `ingress ADD x-tenant ${rule('all rules that take it', 1)}`,
    // Its path is another: with the query.
  ]);
  expect(actionsOf('/b?log')).toEqual([
    'egress REPLACE x-from CiliumNetworkPolicy/shop/out#egress[0].toPorts[0].rules.http[0]',
    `ingress ADD x-to ${rule('both ends', 0)}`,
  ]);
});
