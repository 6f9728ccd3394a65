/**
 * What a client hears from Envoy is what `policy check --http` says without one: rules from manifests, compiled and
 * translated as the agent does it, against requests as no honest client would send them.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import { SidestepError } from '../../control-plane/model/error.ts';
import type { ObjectSet } from '../../control-plane/model/objects.ts';
import type { Direction } from '../../control-plane/model/policy.ts';
import type { Snapshot } from '../../control-plane/model/snapshot.ts';
import { checkPolicy } from '../../control-plane/policy/check.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { normalizePath } from '../../control-plane/policy/http-path.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';
import { translate } from '../../control-plane/traffic/resources.ts';
import { Discovery, knownListener, possible } from './discovery.ts';
import { RawClient, type RawReply, RawServer } from './raw-http.ts';
import { freePort, MODULE, RealEnvoy, removeFolder, runFolder, until } from './real.ts';

const RANDOM_REQUESTS = 3_000;
/** The ruleset of a half that layer 4 has decided. */
const LAYER4 = 1;

/** Rules by what they are about, each on a port of its own. */
const RULES = {
  'a method and a subtree': [{ method: 'GET', path: '/api/.*' }],
  'two exact paths': [{ path: '/public' }, { path: '/a/b/?' }],
  'a path with its query': [{ path: '/search[?]q=[a-z]*' }],
  'all but a subtree': [{ path: '/([^s].*)?' }],
  'plain segments': [{ path: '(/[a-z]+)*/?' }],
  'no escapes': [{ path: '/[^%]*' }],
  'methods of capitals': [{ method: '[A-Z]+', path: '/.*' }],
  'a host': [{ host: 'web[.]shop' }],
  'a host in any case, with any port': [{ host: '(?i)web[.]shop(:[0-9]+)?' }],
  'a host or a path': [{ host: '.*[.]internal' }, { method: 'POST', path: '/open' }],
  'a header with a value': [{ headers: ['X-Role: admin'] }],
  'a header that is there': [{ headers: ['x-token'] }],
  'two headers and a method': [
    { method: 'GET', headers: ['X-Role: admin', 'x-tenant: blue'] },
    { headers: ['x-root'] },
  ],
  'a match of a header': [{ headerMatches: [{ name: 'X-Tenant', value: 'blue' }] }],
  'a match of the host': [{ headerMatches: [{ name: 'Host', value: 'web.shop' }] }],
  anything: [{}],
} as const;
type RuleName = keyof typeof RULES;
const NAMES = Object.keys(RULES) as RuleName[];
const portOf = (name: RuleName): number => 8000 + NAMES.indexOf(name);
/** At the client's end, in front of the last of them. */
const EGRESS = { name: 'anything' as const, rule: { method: 'GET|DELETE', path: '/out/.*' } };

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
const policy = (name: string, spec: object): object => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name, namespace: 'shop' },
  spec,
});
const toPorts = (port: number, http: readonly object[]): object => ({
  toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }], rules: { http } }],
});

const MANIFESTS = [
  pod('client', '10.0.0.1'),
  pod('careful', '10.0.0.2'),
  pod('server', '10.0.0.3'),
  policy('in', {
    endpointSelector: { matchLabels: { app: 'server' } },
    ingress: NAMES.map((name) => ({ fromEndpoints: [{}], ...toPorts(portOf(name), RULES[name]) })),
  }),
  policy('out', {
    endpointSelector: { matchLabels: { app: 'careful' } },
    egress: [{ toEndpoints: [{}], ...toPorts(portOf(EGRESS.name), [EGRESS.rule]) }],
  }),
];

interface Request {
  readonly method: string;
  /** As it stands in the request line. */
  readonly target: string;
  readonly hosts: readonly string[];
  readonly headers?: readonly (readonly [name: string, value: string])[];
}

/** As it is sent; characters are bytes. */
function wire({ method, target, hosts, headers = [] }: Request, more: readonly string[] = []): string {
  const lines = [...hosts.map((host) => ['Host', host]), ...headers].map((header) => header.join(': '));
  return `${[`${method} ${target} HTTP/1.1`, ...lines, ...more].join('\r\n')}\r\n\r\n`;
}

let objects: ObjectSet;
let snapshot: Snapshot;

/** What Envoy is to answer, as the offline evaluator sees it. refused: Envoy's own 400, 404 or 431, whatever the rules. */
function expected(from: string, port: number, { method, target, hosts, headers = [] }: Request): 200 | 403 | 'refused' {
  try {
    const http = `${method} ${target}`;
    const header = [...hosts.map((host) => `host=${host}`), ...headers.map((each) => each.join('='))];
    const { verdict, egress, ingress } = checkPolicy(objects, {
      from: `shop/${from}`,
      to: 'shop/server',
      port: `${port}/TCP`,
      http,
      header,
    });
    if (verdict === 'ALLOWED') return 200;
    return [egress.reason, ingress.reason].some((each) => each === 'bad-path' || each === 'bad-host') ? 'refused' : 403;
  } catch (error) {
    // The command line says what it cannot read, and so does Envoy.
    if (error instanceof SidestepError && error.code === 'USAGE') return 'refused';
    throw error;
  }
}

function heard({ status }: RawReply): number | 'refused' {
  return [400, 404, 431].includes(status) ? 'refused' : status;
}

/** Of a pod of this node: what it has at a port. */
function rulesetOf(app: string, direction: Direction, port: number): number {
  const workload = snapshot.workloads.find(({ name }) => name === app);
  const table = snapshot.tables.get(workload?.tables[direction] ?? '');
  return table?.entries.find((entry) => entry.port === port && entry.verdict === 'redirect')?.ruleset ?? LAYER4;
}

/** A client pod and the port that it asks; its own listener at Envoy knows whose decision points its connections are. */
class Asker {
  readonly from: string;
  readonly port: number;
  readonly client: RawClient;
  readonly envoyPort: number;

  private constructor(from: string, port: number, envoyPort: number) {
    this.from = from;
    this.port = port;
    this.envoyPort = envoyPort;
    this.client = new RawClient(envoyPort);
  }

  static async create(from: string, name: RuleName): Promise<Asker> {
    return new Asker(from, portOf(name), await freePort());
  }

  listener(translated: ReturnType<typeof translate>, backendPort: number) {
    return knownListener(`${this.from} ${this.port}`, this.envoyPort, translated, {
      egress: rulesetOf(this.from, 'egress', this.port),
      ingress: rulesetOf('server', 'ingress', this.port),
      identity: 4711,
      backendPort,
    });
  }

  /** @returns what differs from the offline answer, in words */
  async differences(requests: readonly Request[]): Promise<string[]> {
    const found: string[] = [];
    for (const request of requests) {
      const difference = this.#difference(request, await this.client.ask(wire(request)));
      if (difference !== undefined) found.push(difference);
    }
    return found;
  }

  #difference(request: Request, reply: RawReply): string | undefined {
    const want = expected(this.from, this.port, request);
    const got = heard(reply);
    const what = `${this.from} -> ${this.port} ${JSON.stringify(request)}`;
    if (got !== want) return `${what}: offline ${want}, Envoy ${got}`;
    if (got !== 200) return undefined;
    // And what the backend is asked for is what the rules were held against.
    const host = request.hosts.map((each) => each.trim()).filter((each) => each !== '');
    const passed = `${request.method} ${normalizePath(request.target)} HTTP/1.1\n${host.join(',')}`;
    return reply.body === passed ? undefined : `${what}: the backend was asked ${JSON.stringify(reply.body)}`;
  }
}

const folder = runFolder();
const askers: Asker[] = [];
let backend: RawServer;
let discovery: Discovery;
let envoy: RealEnvoy;

beforeAll(async () => {
  const inventory = new Inventory();
  const text = MANIFESTS.map((manifest) => JSON.stringify(manifest)).join('\n---\n');
  inventory.set('all.yaml', parseManifests(text, 'all.yaml'));
  objects = inventory.objects();
  snapshot = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] }).compile(objects);
  expect(snapshot.issues).toEqual([]);
  backend = await RawServer.start();
  for (const name of NAMES) askers.push(await Asker.create('client', name));
  askers.push(await Asker.create('careful', EGRESS.name));
  const translated = translate(snapshot.rulesets, { modulePath: MODULE, port: await freePort(), marks: [] });
  const listeners = [
    ...translated.listeners.map(possible),
    ...askers.map((asker) => asker.listener(translated, backend.port)),
  ];
  discovery = new Discovery(folder);
  await discovery.listen();
  discovery.set({ ...translated, listeners });
  envoy = RealEnvoy.start(folder);
  expect(await discovery.acknowledged()).toMatchObject({ outcome: 'acknowledged' });
  const live = (): Promise<boolean> => envoy.admin('/ready').then((said) => said.trim() === 'LIVE');
  await until('it is ready', () => live().catch(() => false));
});

afterAll(async () => {
  for (const { client } of askers) client.close();
  await envoy?.stop();
  discovery?.close();
  backend?.close();
  removeFolder(folder);
});

/** Under some rules, or under all. */
async function differences(requests: readonly Request[], names: readonly RuleName[] = NAMES): Promise<string[]> {
  const asking = askers.filter(({ port }) => names.some((name) => portOf(name) === port));
  return (await Promise.all(asking.map((asker) => asker.differences(requests)))).flat();
}

const get = (target: string, ...hosts: readonly string[]): Request => ({
  method: 'GET',
  target,
  hosts: hosts.length === 0 ? ['web.shop'] : hosts,
});
const bytes = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => String.fromCharCode(from + i));

test('every rule is served under a decision point of its own', () => {
  const points = askers.map(({ from, port }) => [
    rulesetOf(from, 'egress', port),
    rulesetOf('server', 'ingress', port),
  ]);
  expect(new Set(points.map(String)).size).toBe(askers.length);
  expect(points.at(-1)?.every((id) => id > LAYER4)).toBe(true);
});

describe('Envoy’s verdict is the one of `policy check --http`, under every rule, for', () => {
  test.each([
    [
      'dot segments',
      ['/..', '/.', '/api/..', '/api/../secret', '/secret/../api/x', '/api/./x', '/a/./b', '/a/b/.', '/...'],
    ],
    ['too many of them', ['/../../../../etc/passwd', '/api/../../api/../secret', '/api/x/../../../public']],
    [
      'escaped dots',
      ['/%2e%2e/secret', '/api/%2E%2e/secret', '/api/.%2e/public', '/%2e/public', '/api/%252e%252e/secret'],
    ],
    ['double slashes', ['//', '//api//x', '/api//../secret', '/a//b', '/a/b//', '//secret', '/public/']],
    ['escaped slashes', ['/api%2Fx', '/api%2f..%2fsecret', '/a%2fb', '/%2fsecret', '/search?q=%2f']],
    ['backslashes', ['/api\\x', '/a\\b', '/api\\..\\secret', '/\\secret', '/api%5cx', '/api/..%5C..%5Csecret']],
    [
      'parameters',
      ['/public;x', '/api;x/y', '/api/..;/secret', '/api/..;x=1/secret', '/;/api/x', '/a/b;', '/.;/secret'],
    ],
    [
      'queries',
      ['/public?', '/public?x', '/search?q=abc', '/search?q=ABC', '/search?q=a&r=/../secret', '/?', '/api/x?/..'],
    ],
    ['fragments', ['/public#', '/api/x#y', '/secret#/../api/x', '/search?q=a#b']],
    ['escapes of what needs none', ['/%61pi/x', '/%70ublic', '/secre%74', '/a%2Fb', '/publi%63', '/%73ecret']],
    ['escapes that are none', ['/api/%zz', '/%', '/a%2', '/%2%35', '/%u0061pi/x']],
    ['an escaped NUL', ['/api/%00', '/public%00', '/secret%00/../api/x']],
    ['no path at all', ['', '*', '?x', 'api/x', '.', '..', ';', '%2fapi']],
    ['length', [`/api/${'x'.repeat(59_000)}`, `/${'../'.repeat(9_000)}api/x`, `/api/${'x'.repeat(62_000)}`]],
  ])('%s', async (_, targets) => {
    expect(await differences(targets.map((target) => get(target)))).toEqual([]);
  });

  // A line break would end the line, a blank cut it: what is behind is another part of it.
  test('every other byte in a path', async () => {
    const inPath = [...bytes(0, 256)].filter((byte) => !/[\t\n\v\f\r ]/.test(byte));
    const requests = inPath.flatMap((byte) => [get(`/api/x${byte}`), get(`/public${byte}`)]);
    expect(await differences(requests, ['plain segments', 'no escapes', 'anything'])).toEqual([]);
  });

  test('every other byte in a host', async () => {
    const inHost = [...bytes(0, 256)].filter((byte) => !/[\n\r]/.test(byte));
    const requests = inHost.map((byte) => get('/api/x', `web${byte}.internal`));
    expect(await differences(requests, ['a host or a path', 'anything'])).toEqual([]);
  });

  test.each([
    ['in any case', ['WEB.shop', 'Web.Shop', 'web.shop', 'DB.Internal']],
    ['with a port', ['web.shop:80', 'web.shop:', 'web.shop:http', 'web.internal:8080', ':80']],
    ['with a dot behind', ['web.shop.', 'web.shop.:80', 'db.internal.']],
    ['that is an address', ['10.0.0.3', '[fd00::3]', '[fd00::3]:8080', '[']],
    ['that is empty', ['', ' ']],
    ['with blanks around it', [' web.shop', 'web.shop \t', '\t db.internal ']],
    ['that says who asks', ['user@web.shop', 'user:secret@web.shop']],
    ['with more behind it', ['web.shop/api', 'web.shop?x', 'web.shop#x', 'web.shop\\x', 'web.shop,db.internal']],
  ])('a host %s', async (_, hosts) => {
    expect(await differences(hosts.map((host) => get('/public', host)))).toEqual([]);
  });

  test('two hosts', async () => {
    const pairs = [
      ['web.shop', 'web.shop'],
      ['web.shop', 'db.internal'],
      ['db.internal', 'web.shop'],
      ['web.shop', ''],
      ['', 'web.shop'],
      ['a', 'b', 'db.internal'],
    ];
    expect(await differences(pairs.map((hosts) => get('/public', ...hosts)))).toEqual([]);
  });

  test.each<readonly [string, ...NonNullable<Request['headers']>[]]>([
    ['that is wanted, however it is spelled', [['x-role', 'admin']], [['X-ROLE', 'admin']], [['X-Role', '  admin\t']]],
    ['with nearly the value', [['x-role', 'Admin']], [['x-role', 'admin2']], [['x-role', 'adm in']], [['x-role', '']]],
    [
      'that stands twice',
      [
        ['x-role', 'admin'],
        ['x-role', 'admin'],
      ],
      [
        ['x-role', 'user'],
        ['X-Role', 'admin'],
      ],
      [['x-role', 'admin,user']],
    ],
    [
      'that is there, whatever it says',
      [['x-token', 'x']],
      [['x-token', '']],
      [['X-Token', '\x80\xff']],
      [['x-token', ' ']],
    ],
    ['whose name is another', [['x_role', 'admin']], [['x-role2', 'admin']], [['role', 'admin']]],
    [
      'and another',
      [
        ['x-role', 'admin'],
        ['x-tenant', 'blue'],
      ],
      [['x-tenant', 'blue']],
      [
        ['x-root', '1'],
        ['x-tenant', 'red'],
      ],
    ],
    [
      'that Envoy is asked to take away',
      [
        ['x-role', 'admin'],
        ['connection', 'x-role'],
      ],
      [
        ['x-token', '1'],
        ['connection', 'x-token, close'],
      ],
    ],
  ])('a header %s', async (_, ...all) => {
    const requests = (all as NonNullable<Request['headers']>[]).map((headers) => ({ ...get('/public'), headers }));
    expect(await differences(requests)).toEqual([]);
    expect(await differences(requests.map((each) => ({ ...each, method: 'POST' })))).toEqual([]);
  });

  test('methods', async () => {
    // QUERY is no request without a content type (RFC 10008), which the offline question does not speak of.
    const methods = [
      'get',
      'Get',
      'gEt',
      'POST',
      'DELETE',
      'OPTIONS',
      'TRACE',
      'PURGE',
      'PROPFIND',
      'M-SEARCH',
      'X',
      'x-y_z~',
    ];
    const odd = ['CONNECT', 'G"T', 'G(T', 'GET:', 'PRI', "!#$%&'*+.^_`|~"];
    const targets = ['/api/x', '/open', '/out/x', '*', '/public#'];
    const requests = [...methods, ...odd].flatMap((method) => targets.map((target) => ({ ...get(target), method })));
    expect(await differences(requests)).toEqual([]);
  });

  test(`${RANDOM_REQUESTS} random requests over kept connections`, { timeout: 40_000 }, async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
    console.log(`random requests: SEED=${seed}`);
    const part = fc.constantFrom(
      ...[
        '/',
        '/',
        '/',
        '//',
        '\\',
        '.',
        '..',
        '/../',
        '/./',
        '%2e',
        '%2E',
        '%2f',
        '%5C',
        '%',
        '%2',
        '%00',
        '%zz',
        '%61',
      ],
      ...[';', ';x', '?', '&', '#', '*', '"', '|', ':', '@', '~', '-', '_', '\x80', '\xc3\xa9', 'a', 'b', 'x', 'api'],
      ...['api/', 'public', 'secret', 'search?q=', 'open', 'out/', 'A', '%41', '%c3%a9', '+', '=', "'", '(', ','],
    );
    const request = fc.record({
      asker: fc.nat({ max: askers.length - 1 }),
      method: fc.constantFrom('GET', 'GET', 'GET', 'POST', 'DELETE', 'get', 'PURGE', 'X-Y'),
      // Nearly all begin as a path does, and so end no connection.
      target: fc
        .tuple(fc.integer({ min: 0, max: 199 }), fc.array(part, { maxLength: 9 }))
        .map(([n, parts]) => (n === 0 ? '' : '/') + parts.join('')),
      hosts: fc.oneof(
        {
          weight: 9,
          arbitrary: fc.constantFrom(['web.shop'], ['WEB.shop:8080'], ['db.internal'], ['web.shop.'], ['']),
        },
        {
          weight: 1,
          arbitrary: fc.array(fc.constantFrom('web.shop', 'db.internal', 'a,b', ''), { minLength: 2, maxLength: 3 }),
        },
      ),
      headers: fc.array(
        fc.tuple(
          fc.constantFrom('x-role', 'X-Role', 'x-tenant', 'x-token', 'x-root'),
          fc.constantFrom('admin', 'blue', ''),
        ),
        { maxLength: 2 },
      ),
    });
    const all = fc.sample(request, { numRuns: RANDOM_REQUESTS, seed });
    const own = askers.map((asker, i) => ({ asker, requests: all.filter((each) => each.asker === i) }));
    const found = await Promise.all(own.map(({ asker, requests }) => asker.differences(requests)));
    expect(found.flat()).toEqual([]);
    const wanted = own.flatMap(({ asker, requests }) => requests.map((each) => expected(asker.from, asker.port, each)));
    // The generator finds its way to each answer.
    for (const answer of [200, 403, 'refused'] as const)
      expect(wanted.filter((each) => each === answer).length).toBeGreaterThan(RANDOM_REQUESTS / 20);
  });
});

describe('what a client says beside the request changes nothing:', () => {
  const asked = get('/secret', 'web.shop');
  const from = (name: RuleName): RawClient => {
    const asker = askers.find(({ port }) => port === portOf(name));
    if (asker === undefined) throw new Error(`nobody asks under ${name}`);
    return asker.client;
  };

  test.each([
    ['X-Original-URL', '/api/x'],
    ['X-Rewrite-URL', '/api/x'],
    ['X-Envoy-Original-Path', '/api/x'],
    ['X-Forwarded-Host', 'db.internal'],
    ['X-Forwarded-Prefix', '/api'],
    ['X-HTTP-Method-Override', 'GET'],
    ['X-Sidestep-Ruleset', '1'],
    ['X-Envoy-Internal', 'true'],
  ])('%s: %s', async (name, value) => {
    const header = [`${name}: ${value}`, `${name}: ${value}`];
    for (const rule of ['a method and a subtree', 'plain segments', 'a host or a path'] as const) {
      const { status } = await from(rule).ask(wire(asked, header));
      expect([rule, status]).toEqual([rule, expected('client', portOf(rule), asked)]);
    }
  });

  test('a pseudo header, two lengths, a length beside chunks, a blank before a colon are refused', async () => {
    const lengths = ['Content-Length: 0', 'Content-Length: 1'];
    const both = ['Content-Length: 0', 'Transfer-Encoding: chunked'];
    for (const more of [[':path: /public'], [':authority: db.internal'], lengths, both, ['Host : db.internal']])
      expect(heard(await from('anything').ask(wire({ ...asked, method: 'POST' }, more)))).toBe('refused');
  });

  test('a request in the body of another is not looked at', async () => {
    const inner = wire(get('/public'));
    const outer = wire({ ...asked, method: 'POST' }, [`Content-Length: ${inner.length}`]);
    const client = from('two exact paths');
    expect(await client.ask(outer + inner)).toMatchObject({ status: 403 });
    expect(await client.ask(wire(get('/public')))).toMatchObject({ status: 200 });
  });

  test('a host missing altogether is refused, and by the older protocol too', async () => {
    for (const line of ['GET /public HTTP/1.1', 'GET /public HTTP/1.0', 'GET /public'])
      expect(heard(await from('two exact paths').ask(`${line}\r\n\r\n`))).toBe('refused');
  });

  test('a whole URL is its path and its own host', async () => {
    for (const [url, target, host] of [
      ['http://db.internal/secret', '/secret', 'db.internal'],
      ['HTTP://db.internal:80/api/../secret?x', '/api/../secret?x', 'db.internal:80'],
      ['https://web.shop', '/', 'web.shop'],
      ['http://user@db.internal/secret', '/secret', 'db.internal'],
    ] as const) {
      for (const name of ['a host or a path', 'a host', 'all but a subtree'] as const) {
        const { status } = await from(name).ask(wire(get(url, 'elsewhere')));
        expect([url, name, status]).toEqual([url, name, expected('client', portOf(name), get(target, host))]);
      }
    }
    for (const url of ['http://', 'http:///public', 'ftp://web.shop/public', '://web.shop/public'])
      expect(heard(await from('anything').ask(wire(get(url))))).toBe('refused');
  });
});
