/** A TLS client is let through by the name that it asks for, or not, as `policy check --server-name` says; nobody decrypts. */
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import type { ObjectSet } from '../../control-plane/model/objects.ts';
import type { Snapshot } from '../../control-plane/model/snapshot.ts';
import { checkPolicy } from '../../control-plane/policy/check.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';
import { translate } from '../../control-plane/traffic/resources.ts';
import { clientHello } from '../lib/tls.ts';
import { Discovery, knownListener, possible } from './discovery.ts';
import { freePort, MODULE, RealEnvoy, removeFolder, runFolder, until } from './real.ts';

/** The ruleset of a half that layer 4 has decided. */
const LAYER4 = 1;
const PATIENCE_MS = 5_000;

/** What stands beside `ports`, each on a port of its own. */
const RULES = {
  'a name': { serverNames: ['www.example.com'] },
  'a wildcard': { serverNames: ['*.example.com'] },
  'a part of a label': { serverNames: ['api-*.example.com'] },
  'labels in front': { serverNames: ['**.example.com'] },
  'every name': { serverNames: ['*'] },
  several: { serverNames: ['a.org', '*.b.org'] },
  'requests, and nothing of TLS': { rules: { http: [{}] } },
} as const;
type RuleName = keyof typeof RULES;
const NAMES = Object.keys(RULES) as RuleName[];
const portOf = (name: RuleName): number => 8000 + NAMES.indexOf(name);

const SERVER_NAMES = [
  ...['www.example.com', 'WWW.Example.Com', 'example.com', 'a.b.example.com', 'api-1.example.com', 'api-.example.com'],
  ...[
    'wwwXexample.com',
    'www.example.com.evil.org',
    'evilexample.com',
    'a.org',
    'x.b.org',
    'b.org',
    'under_score.example.com',
  ],
];

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
const MANIFESTS = [
  pod('client', '10.0.0.1'),
  pod('server', '10.0.0.2'),
  {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'in', namespace: 'shop' },
    spec: {
      endpointSelector: { matchLabels: { app: 'server' } },
      ingress: NAMES.map((name) => ({
        fromEndpoints: [{}],
        toPorts: [{ ports: [{ port: String(portOf(name)), protocol: 'TCP' }], ...RULES[name] }],
      })),
    },
  },
];

/** passed: the backend has all of it, byte for byte. closed: nothing came back. */
function say(port: number, bytes: Buffer): Promise<'passed' | 'closed'> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.setTimeout(PATIENCE_MS, () => reject(new Error('neither an answer nor an end')));
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
      if (heard.length === bytes.length) socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(heard === bytes.toString('latin1') ? 'passed' : 'closed'));
  });
}

const folder = runFolder();
const ports = new Map<RuleName, number>();
let objects: ObjectSet;
let snapshot: Snapshot;
let backend: Server;
let discovery: Discovery;
let envoy: RealEnvoy;

beforeAll(async () => {
  const inventory = new Inventory();
  inventory.set('all.yaml', parseManifests(MANIFESTS.map((each) => JSON.stringify(each)).join('\n---\n'), 'all.yaml'));
  objects = inventory.objects();
  snapshot = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] }).compile(objects);
  expect(snapshot.issues).toEqual([]);
  backend = createServer((socket) => socket.pipe(socket).on('error', () => undefined));
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
  const { port: backendPort } = backend.address() as AddressInfo;
  const translated = translate(snapshot.rulesets, { modulePath: MODULE, port: await freePort(), marks: [] });
  const table = snapshot.tables.get(snapshot.workloads.find(({ name }) => name === 'server')?.tables.ingress ?? '');
  const listeners = [];
  for (const name of NAMES) {
    const entry = table?.entries.find((each) => each.port === portOf(name) && each.verdict === 'redirect');
    ports.set(name, await freePort());
    const known = { egress: LAYER4, ingress: entry?.ruleset ?? 0, identity: 4711, backendPort };
    listeners.push(knownListener(name, ports.get(name) ?? 0, translated, known));
  }
  discovery = new Discovery(folder);
  await discovery.listen();
  discovery.set({ ...translated, listeners: [...translated.listeners.map(possible), ...listeners] });
  envoy = RealEnvoy.start(folder);
  expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
  const live = (): Promise<boolean> => envoy.admin('/ready').then((said) => said.trim() === 'LIVE');
  await until('it is ready', () => live().catch(() => false));
});
afterAll(async () => {
  await envoy?.stop();
  discovery?.close();
  backend?.close();
  removeFolder(folder);
});

test.each(NAMES)('under %s', async (name) => {
  const found: Record<string, string> = {};
  const wanted: Record<string, string> = {};
  for (const serverName of SERVER_NAMES) {
    found[serverName] = await say(ports.get(name) ?? 0, await clientHello(serverName));
    const question = { from: 'shop/client', to: 'shop/server', port: `${portOf(name)}/TCP`, serverName };
    wanted[serverName] = checkPolicy(objects, question).verdict === 'ALLOWED' ? 'passed' : 'closed';
  }
  expect(found).toEqual(wanted);
  // Who asks for no name asks for none that a rule admits.
  expect(await say(ports.get(name) ?? 0, await clientHello(undefined))).toBe('closed');
});
