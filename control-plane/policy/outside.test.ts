import { expect, test } from 'vitest';
import { Numbers } from '../identity/numbers.ts';
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from '../model/address.ts';
import { NAMESPACE_KEY } from '../model/labels.ts';
import type { NodeObject, ObjectSet } from '../model/objects.ts';
import type { Peers, Policy } from '../model/policy.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { newCompiler, objectsOf, PODS } from './arbitrary.ts';
import { Compiler } from './compile.ts';
import { identityOf } from './kernel-model.ts';
import type { LearnedAddress } from './outside.ts';

const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard' };

/** Egress of web in shop to these peers. */
function policy(peers: Partial<Exclude<Peers, { kind: 'any' }>>): Policy {
  const all: Peers = { kind: 'selected', selectors: [], entities: [], ...peers };
  const matchLabels = new Map([
    ['any:app', 'web'],
    [`k8s:${NAMESPACE_KEY}`, 'shop'],
  ]);
  return {
    ref,
    subject: { matchLabels },
    defaultDeny: { egress: true, ingress: false },
    rules: [{ ref: { ...ref, rule: 'egress[0]' }, direction: 'egress', peers: all, ports: [] }],
    refused: false,
  };
}
const cidr = (prefix: string, ...except: string[]) => ({
  prefix: parsePrefix(prefix),
  except: except.map(parsePrefix),
});
const node = (name: string, ...addresses: string[]): NodeObject => ({
  name,
  podRanges: name === 'here' ? [parsePrefix('10.0.0.0/24')] : [],
  addresses: addresses.map(parseAddress),
});
const NODES = [node('here', '172.16.0.1'), node('there', '172.16.0.2'), node('far', '172.16.0.3')];
const apiServer = (...addresses: string[]): ObjectSet['endpointSlices'] => [
  { namespace: 'default', name: 'kubernetes', service: 'kubernetes', addresses: addresses.map(parseAddress) },
];
const objects = (list: Policy[], more: Partial<ObjectSet> = {}): ObjectSet => ({
  ...objectsOf(PODS, list),
  nodes: NODES,
  ...more,
});

/** Labels of whoever has the address. */
const at = (snapshot: Snapshot, text: string): string =>
  (snapshot.identities.get(identityOf(snapshot, parseAddress(text)))?.labels ?? []).join(' ').replaceAll('=', '');
/** Does the table of web let it pass? */
function passes(snapshot: Snapshot, text: string): boolean {
  const table = snapshot.tables.get(snapshot.workloads.find(({ name }) => name === 'pod-0')?.tables.egress ?? '');
  const identity = identityOf(snapshot, parseAddress(text));
  return table?.entries.some((entry) => entry.identity === identity && entry.verdict === 'allow') === true;
}

test('every range that a policy names, or excepts, is an identity, and the longest is that of an address', () => {
  const snapshot = newCompiler().compile(objects([policy({ cidrs: [cidr('192.0.2.0/24', '192.0.2.64/26')] })]));
  expect(at(snapshot, '192.0.2.1')).toBe('cidr:192.0.2.0/24 reserved:world');
  expect(at(snapshot, '192.0.2.65')).toBe('cidr:192.0.2.64/26 reserved:world');
  expect(at(snapshot, '192.0.3.1')).toBe('reserved:world');
  expect(['192.0.2.1', '192.0.2.65', '192.0.3.1'].map((text) => passes(snapshot, text))).toEqual([true, false, false]);
  for (const { identity } of snapshot.prefixes.filter(({ bits }) => bits > 104 && bits !== 128 && bits !== 120))
    expect(identity).toBeGreaterThanOrEqual(1 << 24);
});

test('numbers of ranges are kept over a restart and while other ranges come and go', () => {
  const compiler = newCompiler();
  const numberOf = (...cidrs: string[]): number =>
    identityOf(
      compiler.compile(objects([policy({ cidrs: cidrs.map((each) => cidr(each)) })])),
      parseAddress('192.0.2.1'),
    );
  const first = numberOf('192.0.2.0/24');
  expect(numberOf('10.9.0.0/16', '192.0.2.0/24')).toBe(first);
  expect(numberOf('10.9.0.0/16')).not.toBe(first);
  expect(numberOf('192.0.2.0/24')).toBe(first);
});

test('ranges of pods are pods or unmanaged, whatever range a policy names', () => {
  const snapshot = newCompiler().compile(
    objects([policy({ cidrs: [cidr('10.0.0.0/8'), cidr('10.0.0.0/24'), cidr('10.0.0.200/32'), cidr('10.0.0.1/32')] })]),
  );
  expect(at(snapshot, '10.0.0.200')).toBe('reserved:unmanaged');
  expect(at(snapshot, '10.0.0.1')).toContain('k8s:app');
  expect(at(snapshot, '10.0.1.1')).toBe('cidr:10.0.0.0/8 reserved:world');
  expect(['10.0.0.200', '10.0.0.1', '10.0.1.1'].map((text) => passes(snapshot, text))).toEqual([false, false, true]);
});

test('::/0 does not take IPv4, nor 0.0.0.0/0 IPv6', () => {
  const six = newCompiler().compile(objects([policy({ cidrs: [cidr('::/0')] })]));
  expect([at(six, '192.0.2.1'), at(six, '2001:db8::1')]).toEqual(['reserved:world', 'cidr:::/0 reserved:world']);
  const four = newCompiler().compile(objects([policy({ cidrs: [cidr('0.0.0.0/0')] })]));
  expect([at(four, '192.0.2.1'), at(four, '2001:db8::1')]).toEqual(['cidr:0.0.0.0/0 reserved:world', 'reserved:world']);
});

test('other nodes are remote nodes, by their own word as well, and no range takes them', () => {
  const mesh = {
    name: 'far',
    addresses: ['172.16.0.9', 'far.example'],
    port: 1,
    tunnelPort: 1,
    publicKey: '',
    spiffeId: '',
  };
  const snapshot = newCompiler().compile(
    objects([policy({ cidrs: [cidr('172.16.0.2/32'), cidr('0.0.0.0/0')] })], { meshNodes: [mesh] }),
  );
  expect([at(snapshot, '172.16.0.2'), at(snapshot, '172.16.0.9')]).toEqual([
    'reserved:remote-node',
    'reserved:remote-node',
  ]);
  expect([passes(snapshot, '172.16.0.2'), passes(snapshot, '172.16.0.4')]).toEqual([false, true]);
  // Its own addresses are the host's, which the datapath knows.
  expect(snapshot.prefixes.some(({ address }) => formatAddress(address) === '172.16.0.1')).toBe(false);
});

test('API servers: on another node, on this one, and outside', () => {
  const list = [policy({ entities: ['kube-apiserver'] })];
  const compile = (...addresses: string[]): Snapshot =>
    newCompiler().compile(objects(list, { endpointSlices: apiServer(...addresses) }));
  const there = compile('172.16.0.2');
  expect(identityOf(there, parseAddress('172.16.0.2'))).toBe(7);
  expect([at(there, '172.16.0.2'), passes(there, '172.16.0.2'), passes(there, '172.16.0.3')]).toEqual([
    'reserved:kube-apiserver reserved:remote-node',
    true,
    false,
  ]);
  const outside = compile('198.51.100.1');
  expect(at(outside, '198.51.100.1')).toBe('cidr:198.51.100.1/32 reserved:kube-apiserver reserved:world');
  expect(passes(outside, '198.51.100.1')).toBe(true);
  const here = compile('172.16.0.1');
  expect(here.identities.get(1)?.labels).toEqual(['reserved:host', 'reserved:kube-apiserver']);
  expect(compile().identities.get(1)?.labels.join()).not.toContain('kube-apiserver');
});

const learned = (address: string, ...names: string[]): LearnedAddress => ({ address: parseAddress(address), names });

test('an address that DNS told of has the names of policy that take it, in the range that holds it', () => {
  const list = [
    policy({ names: [{ matchPattern: '*.example.com' }] }),
    { ...policy({ cidrs: [cidr('192.0.2.0/24')], names: [{ matchName: 'b.org' }] }), ref: { ...ref, name: 'other' } },
  ];
  const snapshot = newCompiler().compile(objects(list), [
    learned('192.0.2.1', 'a.example.com', 'b.org'),
    learned('198.51.100.1', 'a.example.com'),
    learned('198.51.100.2', 'nobody.asks'),
    learned('10.0.0.1', 'a.example.com'),
    learned('10.0.0.200', 'a.example.com'),
    learned('172.16.0.2', 'a.example.com'),
  ]);
  expect(at(snapshot, '192.0.2.1')).toBe('cidr:192.0.2.0/24 fqdn:*.example.com fqdn:b.org reserved:world');
  expect(at(snapshot, '198.51.100.1')).toBe('fqdn:*.example.com reserved:world');
  expect(at(snapshot, '198.51.100.2')).toBe('reserved:world');
  expect(['10.0.0.1', '10.0.0.200', '172.16.0.2'].map((text) => at(snapshot, text).includes('fqdn'))).toEqual([
    false,
    false,
    false,
  ]);
  expect(['192.0.2.1', '198.51.100.1', '198.51.100.2'].map((text) => passes(snapshot, text))).toEqual([
    true,
    true,
    false,
  ]);
});

test('addresses of one name share an identity, and who learns says so', () => {
  const compiler = newCompiler();
  const set = objects([policy({ names: [{ matchName: 'a.org' }] })]);
  const one = compiler.compile(set, [learned('198.51.100.1', 'a.org')]);
  const two = compiler.compile(set, [learned('198.51.100.1', 'a.org'), learned('198.51.100.2', 'a.org')]);
  expect(identityOf(two, parseAddress('198.51.100.2'))).toBe(identityOf(one, parseAddress('198.51.100.1')));
  // One prefix more and nothing else: no table is made anew.
  expect(two.prefixes.length).toBe(one.prefixes.length + 1);
  for (const [key, table] of two.tables) expect(table).toBe(one.tables.get(key));
  const names = (snapshot: Snapshot): string[] =>
    snapshot.workloads.flatMap(({ name, learnsNames }) => (learnsNames ? [name] : []));
  expect(names(two)).toEqual(['pod-0', 'pod-3']);
  expect(names(compiler.compile(objects([policy({ cidrs: [cidr('0.0.0.0/0')] })])))).toEqual([]);
});

test('many ranges of one rule are compiled, each once', () => {
  const many = Array.from({ length: 20_000 }, (_, i) => cidr(`100.${i >> 8}.${i & 255}.0/24`));
  const compiler = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] });
  const snapshot = compiler.compile(objects([policy({ cidrs: many })]));
  expect([passes(snapshot, '100.1.2.3'), passes(snapshot, '100.200.0.1')]).toEqual([true, false]);
  expect(new Set(snapshot.prefixes.map(({ address, bits }) => formatPrefix({ address, bits }))).size).toBe(
    snapshot.prefixes.length,
  );
});
