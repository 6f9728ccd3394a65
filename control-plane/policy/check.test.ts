import { expect, test } from 'vitest';
import { parseManifests } from '../api/manifests.ts';
import { parseAddress, parsePrefix } from '../model/address.ts';
import type { NodeObject, ObjectSet, PodObject, PolicyObject } from '../model/objects.ts';
import { type CheckAnswer, checkPolicy } from './check.ts';

function pod(name: string, ip: string, more: Partial<PodObject> = {}): PodObject {
  return {
    namespace: 'shop',
    name,
    uid: name,
    labels: new Map([['app', name]]),
    serviceAccount: 'default',
    nodeName: '',
    hostNetwork: false,
    namedPorts: [],
    netns: '',
    addresses: [parseAddress(ip)],
    origin: 'test',
    ...more,
  };
}

function policy(name: string, sections: string): PolicyObject[] {
  const text = `apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: { ${sections} }\n`;
  const [object] = parseManifests(text, 'p.yaml').objects;
  if (object?.kind !== 'Policy') throw new Error('not a policy');
  const { ref, issues, policies, closed } = object.object;
  return [...policies, ...closed].map((each) => ({
    ref,
    origin: 'p.yaml',
    state: issues.length > 0 ? 'refused' : 'accepted',
    policy: each,
    issues,
  }));
}

const node = (name: string, address: string, range: string): NodeObject => ({
  name,
  podRanges: [parsePrefix(range)],
  addresses: [parseAddress(address)],
});

const PODS = [
  pod('web', '10.0.1.1', { nodeName: 'n1' }),
  pod('api', '10.0.2.1', { nodeName: 'n2' }),
  pod('probe', '192.0.2.2', { nodeName: 'n2', hostNetwork: true }),
  pod('loose', '10.0.3.1'),
  pod('system', '10.0.1.9', { namespace: 'default' }),
];
const NODES = [node('n1', '192.0.2.1', '10.0.1.0/24'), node('n2', '192.0.2.2', '10.0.2.0/24')];

function world(...policies: PolicyObject[][]): ObjectSet {
  const list = policies.flat();
  const issues = list.flatMap((each) => each.issues);
  return {
    namespaces: [],
    pods: PODS,
    nodes: NODES,
    meshNodes: [],
    services: [],
    endpointSlices: [],
    cidrGroups: [],
    policies: list,
    issues,
  };
}
const GUARD = policy(
  'guard',
  'endpointSelector: { matchLabels: { app: api } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: web } }], toPorts: [{ ports: [{ port: "80", protocol: TCP }] }] }]',
);

/** Web may ask api for some things, and anybody may POST to it. */
const HTTP = policy(
  'http',
  `endpointSelector: { matchLabels: { app: api } }, ingress: [
    { fromEndpoints: [{ matchLabels: { app: web } }], toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { http: [
      { method: GET, path: "/api(/.*)?" }, { path: "/shop\\\\?.*", host: "(?i)shop\\\\.example" }] } }] },
    { toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { http: [{ method: POST }] } }] }]`,
);

function ask(objects: ObjectSet, from: string, to: string, port = '80/TCP'): CheckAnswer {
  return checkPolicy(objects, { from, to, port });
}

test('the answer has the documented shape', () => {
  expect(ask(world(GUARD), 'shop/web', 'shop/api')).toEqual({
    verdict: 'ALLOWED',
    l7: false,
    egress: { verdict: 'ALLOWED', policies: [], reason: 'no-policy' },
    ingress: {
      verdict: 'ALLOWED',
      policies: [{ kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard', rule: 'ingress[0]' }],
      reason: 'rule',
    },
    authentication: 'disabled',
  });
});

test('default deny names the policies that switched it on', () => {
  const { verdict, ingress } = ask(world(GUARD), 'shop/loose', 'shop/api');
  expect([verdict, ingress]).toEqual([
    'DENIED',
    {
      verdict: 'DENIED',
      policies: [{ kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard', rule: '' }],
      reason: 'default-deny',
    },
  ]);
});

test('a flow passes only when both ends let it', () => {
  const closedEgress = policy('no-way-out', 'endpointSelector: { matchLabels: { app: web } }, egress: [{}]');
  const answer = ask(world(GUARD, closedEgress), 'shop/web', 'shop/api');
  expect([answer.verdict, answer.egress.verdict, answer.ingress.verdict]).toEqual(['DENIED', 'DENIED', 'ALLOWED']);
});

test.each([
  ['80/TCP', 'ALLOWED'],
  ['80/tcp', 'ALLOWED'],
  ['81/TCP', 'DENIED'],
  ['80/UDP', 'DENIED'],
  ['8/ICMP', 'DENIED'],
  ['128/ICMPv6', 'DENIED'],
])('port %s is %s by a rule for 80/TCP', (port, verdict) => {
  expect(ask(world(GUARD), 'shop/web', 'shop/api', port).verdict).toBe(verdict);
});

test('ICMP passes a rule without ports', () => {
  const anyPort = policy(
    'any-port',
    'endpointSelector: { matchLabels: { app: api } }, ingress: [{ fromEndpoints: [{}] }]',
  );
  expect(ask(world(anyPort), 'shop/web', 'shop/api', '8/ICMP').verdict).toBe('ALLOWED');
});

/** Admits exactly one entity to every pod of the namespace. */
const onlyFrom = (entity: string): ObjectSet =>
  world(policy('only', `endpointSelector: {}, ingress: [{ fromEntities: [${entity}] }]`));

test.each([
  ['world', 'shop/api', 'world'],
  ['8.8.8.8', 'shop/api', 'world'],
  ['2001:db8::1', 'shop/api', 'world'],
  ['host', 'shop/api', 'host'],
  // The address of the node that the pod is on, and a pod of its host network.
  ['192.0.2.2', 'shop/api', 'host'],
  ['shop/probe', 'shop/api', 'host'],
  // Another node.
  ['192.0.2.1', 'shop/api', 'remote-node'],
  ['shop/probe', 'shop/web', 'remote-node'],
  // A pod that names no node is on whatever node reads it.
  ['192.0.2.1', 'shop/loose', 'host'],
  // Addresses of pods, and of nobody that we know.
  ['10.0.1.1', 'shop/api', 'pod'],
  ['10.0.1.77', 'shop/api', 'unmanaged'],
])('%s is to %s: %s', (from, to, what) => {
  const admitted = ['world', 'host', 'cluster'].filter((entity) => {
    const { reason } = ask(onlyFrom(entity), from, to).ingress;
    return reason === 'rule';
  });
  const expected = {
    world: ['world'],
    host: ['host', 'cluster'],
    'remote-node': ['cluster'],
    unmanaged: ['cluster'],
    pod: ['cluster'],
  }[what];
  expect(admitted).toEqual(expected);
});

test.each([
  ['shop/web', 'GET /api', [], 'rule ingress[0].toPorts[0].rules.http[0]'],
  ['shop/web', 'GET /api/a/b', [], 'rule ingress[0].toPorts[0].rules.http[0]'],
  ['shop/web', 'GET /api/../api', [], 'rule ingress[0].toPorts[0].rules.http[0]'],
  ['shop/web', 'GET /api?x=1', [], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'get /api', [], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'GET /apiary', [], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'GET /api/%2e%2e/secret', [], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'GET /api%2Fsecret', [], 'bad-path ingress[0] ingress[1]'],
  ['shop/web', 'GET /shop?id=1', [], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'GET /shop?id=1', ['host=SHOP.example'], 'rule ingress[0].toPorts[0].rules.http[1]'],
  ['shop/web', 'GET /shop?id=1', ['host=', 'host= shop.example\t'], 'rule ingress[0].toPorts[0].rules.http[1]'],
  ['shop/web', 'GET /shop?id=1', ['Host=shop.example:80'], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'GET /shop?id=1', ['host=shop.example', 'host=shop.example'], 'no-http-rule ingress[0] ingress[1]'],
  ['shop/web', 'GET /api', ['host=web/shop'], 'bad-host ingress[0] ingress[1]'],
  ['shop/web', 'GET /api', ['host=web', 'host=sh op'], 'bad-host ingress[0] ingress[1]'],
  ['shop/web', `GET /${'a'.repeat(70_000)}`, [], 'bad-path ingress[0] ingress[1]'],
  ['shop/web', 'POST /api', [], 'rule ingress[1].toPorts[0].rules.http[0]'],
  // Whom only the second rule admits has nothing of the first.
  ['shop/loose', 'GET /api', [], 'no-http-rule ingress[1]'],
  ['shop/loose', 'POST /api', [], 'rule ingress[1].toPorts[0].rules.http[0]'],
  ['world', 'GET /api%2Fsecret', [], 'bad-path ingress[1]'],
])('from %s the request %s %j: %s', (from, http, header, expected) => {
  const { verdict, l7, ingress } = checkPolicy(world(HTTP), { from, to: 'shop/api', port: '80/TCP', http, header });
  expect([ingress.reason, ...ingress.policies.map(({ rule }) => rule)].join(' ')).toBe(expected);
  expect([verdict, l7]).toEqual([ingress.reason === 'rule' ? 'ALLOWED' : 'DENIED', true]);
});

test('without a request a flow under HTTP rules is allowed and says so', () => {
  const answer = ask(world(HTTP), 'shop/web', 'shop/api');
  expect([answer.verdict, answer.l7, answer.egress.reason]).toEqual(['ALLOWED', true, 'no-policy']);
  expect(answer.ingress.policies.map(({ rule }) => rule)).toEqual(['ingress[0]', 'ingress[1]']);
});

test('a plain rule for the same peer admits every request, as one of several', () => {
  const plain = policy(
    'plain',
    'endpointSelector: { matchLabels: { app: api } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: web } }] }]',
  );
  const both = world(HTTP, plain);
  const asked = { from: 'shop/web', to: 'shop/api', port: '80/TCP', http: 'DELETE /x' };
  expect(checkPolicy(both, asked)).toMatchObject({
    verdict: 'ALLOWED',
    l7: true,
    ingress: { reason: 'rule', policies: [{ name: 'plain', rule: 'ingress[0]' }] },
  });
  expect(checkPolicy(both, { ...asked, http: 'GET /api%2f' }).ingress.reason).toBe('bad-path');
  expect(checkPolicy(both, { ...asked, from: 'shop/loose' }).ingress.reason).toBe('no-http-rule');
  expect(ask(both, 'shop/web', 'shop/api', '81/TCP')).toMatchObject({ verdict: 'ALLOWED', l7: false });
});

test('the server’s end sees the headers as rules of the client’s end leave them', () => {
  const mends = policy(
    'mends',
    'endpointSelector: { matchLabels: { app: web } }, egress: [{ toEndpoints: [{}], toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { http: [{ method: GET, headerMatches: [{ name: X-Role, value: admin, mismatch: REPLACE }] }, { method: PUT }] } }] }]',
  );
  const wants = policy(
    'wants',
    'endpointSelector: { matchLabels: { app: api } }, ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { http: [{ headers: ["X-Role: admin"] }] } }] }]',
  );
  const asked = { from: 'shop/web', to: 'shop/api', port: '80/TCP', header: ['x-role=user'] };
  const verdict = (http: string): string => checkPolicy(world(mends, wants), { ...asked, http }).verdict;
  expect([verdict('GET /'), verdict('PUT /')]).toEqual(['ALLOWED', 'DENIED']);
});

test('both ends must admit the request', () => {
  const out = policy(
    'out',
    'endpointSelector: { matchLabels: { app: web } }, egress: [{ toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { http: [{ method: GET }] } }] }]',
  );
  const verdicts = (http: string): string[] => {
    const { verdict, egress, ingress } = checkPolicy(world(HTTP, out), {
      from: 'shop/web',
      to: 'shop/api',
      port: '80/TCP',
      http,
    });
    return [verdict, egress.verdict, ingress.verdict];
  };
  expect(verdicts('GET /api')).toEqual(['ALLOWED', 'ALLOWED', 'ALLOWED']);
  expect(verdicts('GET /x')).toEqual(['DENIED', 'ALLOWED', 'DENIED']);
  expect(verdicts('POST /api')).toEqual(['DENIED', 'DENIED', 'ALLOWED']);
});

test('what a node sends to its own pods is never looked into', () => {
  const asked = { from: 'host', to: 'shop/api', port: '80/TCP', http: 'DELETE /%2f' };
  expect(checkPolicy(world(HTTP), asked)).toMatchObject({ verdict: 'ALLOWED', l7: false });
  expect(checkPolicy(world(HTTP), asked).ingress).toEqual({ verdict: 'ALLOWED', policies: [], reason: 'local-host' });
});

test('to a flow that no HTTP rule concerns a request does not matter', () => {
  const asked = { from: 'shop/web', to: 'shop/api', port: '80/TCP', http: 'DELETE /%2f' };
  expect(checkPolicy(world(GUARD), asked)).toMatchObject({ verdict: 'ALLOWED', l7: false });
});

test.each([
  ['GET', [], '80/TCP'],
  ['/api', [], '80/TCP'],
  ['GET api', [], '80/TCP'],
  ['GET http://api/', [], '80/TCP'],
  ['GET /api HTTP/1.1', [], '80/TCP'],
  ['G(T /api', [], '80/TCP'],
  ['', [], '80/TCP'],
  ['GET /api', [], '80/UDP'],
  ['GET /api', ['x user=me'], '80/TCP'],
  ['GET /api', ['host'], '80/TCP'],
  [undefined, ['host=api'], '80/TCP'],
])('the request %j %j at %s is a usage error', (http, header, port) => {
  expect(() => checkPolicy(world(HTTP), { from: 'shop/web', to: 'shop/api', port, http, header })).toThrow(
    expect.objectContaining({ code: 'USAGE' }),
  );
});

test('a node reaches its own pods though default deny is on', () => {
  expect(ask(world(GUARD), 'host', 'shop/api').ingress).toEqual({
    verdict: 'ALLOWED',
    policies: [],
    reason: 'local-host',
  });
});

test('an end that is no pod enforces nothing', () => {
  expect(ask(world(), 'shop/web', 'world').ingress).toEqual({
    verdict: 'ALLOWED',
    policies: [],
    reason: 'no-endpoint',
  });
});

test('a bare name is a pod of the namespace default', () => {
  expect(ask(world(GUARD), 'system', 'shop/api').verdict).toBe('DENIED');
});

test('a refused policy denies what it selects and is listed', () => {
  const bad = policy('bad', 'endpointSelector: { matchLabels: { app: api } }, ingress: [{ fromGroups: [] }]');
  const answer = ask(world(bad), 'shop/web', 'shop/api');
  expect(answer.verdict).toBe('DENIED');
  expect(answer.issues).toMatchObject([{ code: 'FIELD_NOT_SUPPORTED', path: 'spec.ingress[0].fromGroups' }]);
});

test.each(['', '80', 'TCP', '80/', '80/ANY', '65536/TCP', '256/ICMP', '-1/TCP', '80/TCP/x'])(
  'port %j is a usage error',
  (port) => {
    expect(() => ask(world(), 'shop/web', 'shop/api', port)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  },
);

test.each(['', '/', 'a/b/c', 'shop/'])('end %j is a usage error', (end) => {
  expect(() => ask(world(), end, 'shop/api')).toThrow(expect.objectContaining({ code: 'USAGE' }));
});

test('a pod that is not there is named', () => {
  expect(() => ask(world(), 'shop/nobody', 'shop/api')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
});

/** Ingress of api, one line for each rule. */
const ingress = (...rules: string[]): PolicyObject[] =>
  policy('auth', `endpointSelector: { matchLabels: { app: api } }, ingress: [${rules.join(', ')}]`);
const from = (app: string, more: string): string => `{ fromEndpoints: [{ matchLabels: { app: ${app} } }], ${more} }`;
const mode = (name: string): string => `authentication: { mode: ${name} }`;
const port = (number: number): string => `toPorts: [{ ports: [{ port: "${number}", protocol: TCP }] }]`;
const tcp = 'toPorts: [{ ports: [{ port: "0", protocol: TCP }] }]';
const http = (number: number, path: string): string =>
  `toPorts: [{ ports: [{ port: "${number}", protocol: TCP }], rules: { http: [{ path: ${path} }] } }]`;
const [REQUIRED, DISABLED] = [mode('required'), mode('disabled')];

test.each([
  // One rule, and whom it does not name.
  [[from('web', REQUIRED)], 'shop/web', 'ALLOWED required'],
  [[from('web', DISABLED)], 'shop/web', 'ALLOWED disabled'],
  [[from('web', REQUIRED)], 'shop/loose', 'DENIED disabled'],
  // Where rules meet, an explicit mode beats none, and the stricter the milder.
  [[from('web', REQUIRED), '{ fromEndpoints: [{}] }'], 'shop/web', 'ALLOWED required'],
  [[from('web', DISABLED), from('web', REQUIRED)], 'shop/web', 'ALLOWED required'],
  [[`{ fromEndpoints: [{}], ${REQUIRED} }`, from('web', DISABLED)], 'shop/web', 'ALLOWED required'],
  // The narrower port says something itself, or takes it from the wider.
  [[from('web', REQUIRED), from('web', `${port(80)}, ${DISABLED}`)], 'shop/web', 'ALLOWED disabled'],
  [[from('web', DISABLED), from('web', `${port(80)}, ${REQUIRED}`)], 'shop/web', 'ALLOWED required'],
  [[from('web', REQUIRED), from('web', port(80))], 'shop/web', 'ALLOWED required'],
  [[from('web', `${tcp}, ${REQUIRED}`), from('web', port(80))], 'shop/web', 'ALLOWED required'],
  [[from('web', REQUIRED), from('web', `${tcp}, ${DISABLED}`), from('web', port(80))], 'shop/web', 'ALLOWED disabled'],
  [[from('web', REQUIRED), from('web', `${port(81)}, ${DISABLED}`)], 'shop/web', 'ALLOWED required'],
  // A rule for everybody and one for the peer: each inherits from the other.
  [[from('web', REQUIRED), `{ ${port(80)} }`], 'shop/web', 'ALLOWED required'],
  [[`{ ${port(80)}, ${REQUIRED} }`, from('web', port(80))], 'shop/web', 'ALLOWED required'],
  [[`{ ${port(80)}, ${REQUIRED} }`, from('web', `${port(80)}, ${DISABLED}`)], 'shop/web', 'ALLOWED disabled'],
  [[`{ ${port(80)}, ${DISABLED} }`, from('web', REQUIRED)], 'shop/web', 'ALLOWED disabled'],
  [[`{ ${port(80)}, ${REQUIRED} }`, from('web', DISABLED), from('web', port(80))], 'shop/web', 'ALLOWED required'],
  [[`{ ${port(80)}, ${REQUIRED} }`, '{ fromEntities: [all] }'], 'shop/web', 'ALLOWED required'],
  // Nobody on the other side could prove anything.
  [['{ fromEntities: [world], authentication: { mode: required } }'], 'world', 'ALLOWED disabled'],
  [[`{ ${port(80)}, ${REQUIRED} }`], 'world', 'ALLOWED disabled'],
  [[`{ ${port(80)}, ${REQUIRED} }`], 'host', 'ALLOWED disabled'],
  [['{ fromEntities: [host], authentication: { mode: test-always-fail } }'], 'host', 'ALLOWED disabled'],
  [[`{ ${port(80)}, ${REQUIRED} }`], '10.0.1.77', 'ALLOWED required'],
  // An HTTP rule takes nothing from a plain one, and has what its own key says.
  [[from('web', REQUIRED), from('web', http(80, '/a'))], 'shop/web', 'ALLOWED disabled'],
  [[from('web', REQUIRED), `{ ${http(80, '/a')} }`], 'shop/web', 'ALLOWED disabled'],
  [[from('web', `${http(80, '/a')}, ${REQUIRED}`)], 'shop/web', 'ALLOWED required'],
  [[from('web', `${port(80)}, ${REQUIRED}`), from('web', http(80, '/a'))], 'shop/web', 'ALLOWED required'],
  [[`{ ${http(80, '/a')}, ${REQUIRED} }`, from('web', http(80, '/b'))], 'shop/web', 'ALLOWED required'],
  [[`{ ${http(80, '/a')}, ${REQUIRED} }`, from('web', port(80))], 'shop/web', 'ALLOWED required'],
  [
    [`{ ${http(80, '/a')}, ${REQUIRED} }`, from('web', `${http(80, '/b')}, ${DISABLED}`)],
    'shop/web',
    'ALLOWED disabled',
  ],
  // It never succeeds.
  [[from('web', mode('test-always-fail'))], 'shop/web', 'DENIED required'],
  [[from('web', mode('test-always-fail')), from('web', REQUIRED)], 'shop/web', 'DENIED required'],
])('rules %j for %s: %s', (rules, who, expected) => {
  const { verdict, authentication } = ask(world(ingress(...rules)), who, 'shop/api');
  expect(`${verdict} ${authentication}`).toBe(expected);
});

test('either end may ask for authentication', () => {
  const out = policy(
    'out',
    `endpointSelector: { matchLabels: { app: web } }, egress: [{ toEndpoints: [{}], ${REQUIRED} }]`,
  );
  expect(ask(world(out), 'shop/web', 'shop/api').authentication).toBe('required');
  expect(ask(world(out), 'shop/loose', 'shop/api').authentication).toBe('disabled');
  const both = ask(world(out, ingress(from('web', mode('test-always-fail')))), 'shop/web', 'shop/api');
  expect([both.verdict, both.egress.reason, both.ingress.reason]).toEqual(['DENIED', 'rule', 'authentication-fails']);
  expect(both.ingress.policies).toMatchObject([{ name: 'auth', rule: 'ingress[0]' }]);
});

test('a plain rule under authentication admits no request where HTTP rules let the flow pass without', () => {
  const objects = world(ingress(from('web', REQUIRED), `{ ${http(80, '/a')} }`));
  const request = (path: string): CheckAnswer =>
    checkPolicy(objects, { from: 'shop/web', to: 'shop/api', port: '80/TCP', http: `GET ${path}` });
  expect(request('/a')).toMatchObject({ verdict: 'ALLOWED', authentication: 'disabled' });
  expect(request('/b')).toMatchObject({ verdict: 'DENIED', ingress: { reason: 'no-http-rule' } });
  const proven = world(ingress(from('web', REQUIRED), `{ ${http(80, '/a')}, ${REQUIRED} }`));
  const answer = checkPolicy(proven, { from: 'shop/web', to: 'shop/api', port: '80/TCP', http: 'GET /b' });
  expect(answer).toMatchObject({ verdict: 'ALLOWED', authentication: 'required' });
});

test('that a request is refused does not change what the connection needs', () => {
  const objects = world(ingress(from('web', `${http(80, '/a')}, ${REQUIRED}`)));
  const asked = { from: 'shop/web', to: 'shop/api', port: '80/TCP', http: 'GET /b' };
  expect(checkPolicy(objects, asked)).toMatchObject({ verdict: 'DENIED', authentication: 'required' });
});

test('ranges take addresses outside by their own address, and neither pods, nodes nor what is unmanaged', () => {
  const cidr = (prefix: string, ...except: string[]) => ({
    prefix: parsePrefix(prefix),
    except: except.map(parsePrefix),
  });
  const [guard] = GUARD;
  if (guard?.policy === undefined) throw new Error('there is no policy');
  const { policy: from } = guard;
  const rules = from.rules.map((rule) => ({
    ...rule,
    ports: [],
    peers: { kind: 'selected', selectors: [], entities: [], cidrs: [cidr('0.0.0.0/0', '203.0.113.0/24')] } as const,
  }));
  const objects = world([{ ...guard, policy: { ...from, rules } }]);
  const ask = (end: string): string =>
    checkPolicy(objects, { from: end, to: 'shop/api', port: '80/TCP' }).ingress.reason;
  expect(ask('8.8.8.8')).toBe('rule');
  expect(ask('203.0.113.7')).toBe('default-deny');
  expect(ask('2001:db8::1')).toBe('default-deny');
  expect(ask('192.0.2.1')).toBe('default-deny');
  expect(ask('10.0.1.77')).toBe('default-deny');
  expect(ask('10.0.1.1')).toBe('default-deny');
});

test('denials are named, and come before what allows', () => {
  const [guard] = GUARD;
  if (guard?.policy === undefined) throw new Error('there is no policy');
  const { policy: from } = guard;
  const deny = { ...from.ref, rule: 'ingressDeny[0]' };
  const rules = [
    ...from.rules,
    { ref: deny, direction: 'ingress', deny: true, peers: { kind: 'any' }, ports: [] } as const,
  ];
  const objects = world([{ ...guard, policy: { ...from, rules } }]);
  const { verdict, ingress } = checkPolicy(objects, { from: 'shop/web', to: 'shop/api', port: '80/TCP' });
  expect([verdict, ingress.reason, ingress.policies.map(({ rule }) => rule)]).toEqual([
    'DENIED',
    'deny-rule',
    ['ingressDeny[0]'],
  ]);
  expect(checkPolicy(objects, { from: 'host', to: 'shop/api', port: '80/TCP' }).verdict).toBe('DENIED');
});
