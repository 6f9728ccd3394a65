import { expect, test } from 'vitest';
import { formatPrefix, parseAddress, parsePrefix } from '../model/address.ts';
import { NAMESPACE_KEY } from '../model/labels.ts';
import type { CidrGroupObject, EndpointSliceObject, ServiceObject } from '../model/objects.ts';
import type { Peers, Policy } from '../model/policy.ts';
import { type ResolveObjects, Resolver } from './resolve.ts';

const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard' };
type Selected = Exclude<Peers, { kind: 'any' }>;

function policy(peers: Partial<Selected>): Policy {
  const all: Peers = { kind: 'selected', selectors: [], entities: [], ...peers };
  return {
    ref,
    subject: { matchLabels: new Map() },
    defaultDeny: { egress: true, ingress: false },
    rules: [{ ref: { ...ref, rule: 'egress[0]' }, direction: 'egress', peers: all, ports: [] }],
    refused: false,
  };
}
const service = (namespace: string, name: string, app?: string, tier?: string): ServiceObject => ({
  namespace,
  name,
  labels: new Map(tier === undefined ? [] : [['tier', tier]]),
  selector: app === undefined ? undefined : { matchLabels: new Map([['k8s:app', app]]) },
  addresses: [parseAddress('10.96.0.1')],
});
const slice = (namespace: string, of: string, ...addresses: string[]): EndpointSliceObject => ({
  namespace,
  name: `${of}-1`,
  service: of,
  addresses: addresses.map(parseAddress),
});
const group = (name: string, kind: string, ...prefixes: string[]): CidrGroupObject => ({
  name,
  labels: new Map([['kind', kind]]),
  prefixes: prefixes.map(parsePrefix),
});
const objects = (more: Partial<ResolveObjects>): ResolveObjects => ({
  services: [],
  endpointSlices: [],
  cidrGroups: [],
  ...more,
});
function peersOf(from: Policy, with_: ResolveObjects, resolver = new Resolver()): Selected {
  const peers = resolver.resolve([from], with_)[0]?.rules[0]?.peers;
  if (peers?.kind !== 'selected') throw new Error('no peers');
  return peers;
}
/** `10.0.0.0/8 - 10.1.0.0/16` */
const cidrsOf = ({ cidrs = [] }: Selected): string[] =>
  cidrs.map(({ prefix, except }) => [prefix, ...except].map(formatPrefix).join(' - '));
const selectorsOf = ({ selectors }: Selected): (string | undefined)[][] =>
  selectors.map(({ matchLabels }) => [matchLabels.get(`k8s:${NAMESPACE_KEY}`), matchLabels.get('k8s:app')]);

test('a Service stands for the pods that it selects in its namespace, or for the addresses of its endpoints', () => {
  const all = objects({
    services: [service('shop', 'api', 'api'), service('lab', 'api', 'other'), service('shop', 'external')],
    endpointSlices: [slice('shop', 'external', '192.0.2.1', '2001:db8::1'), slice('lab', 'external', '192.0.2.9')],
  });
  const by = (namespace: string, name: string): Selected =>
    peersOf(policy({ services: [{ namespace, service: { name } }] }), all);
  expect(selectorsOf(by('shop', 'api'))).toEqual([['shop', 'api']]);
  expect(selectorsOf(by('', 'api'))).toEqual([
    ['shop', 'api'],
    ['lab', 'other'],
  ]);
  expect(cidrsOf(by('shop', 'external'))).toEqual(['192.0.2.1/32', '2001:db8::1/128']);
  expect(by('shop', 'nobody')).toEqual({ kind: 'selected', selectors: [], entities: [] });
});

test('Services by their labels', () => {
  const all = objects({
    services: [service('shop', 'a', 'a', 'back'), service('lab', 'b', 'b', 'back'), service('lab', 'c', 'c', 'front')],
  });
  const selector = { matchLabels: new Map([['any:tier', 'back']]) };
  const by = (namespace: string): unknown =>
    selectorsOf(peersOf(policy({ services: [{ namespace, service: { selector } }] }), all));
  expect(by('')).toEqual([
    ['shop', 'a'],
    ['lab', 'b'],
  ]);
  expect(by('lab')).toEqual([['lab', 'b']]);
});

test('a group stands for its ranges, each without the exceptions that concern it', () => {
  const all = objects({
    cidrGroups: [group('one', 'x', '10.0.0.0/8', '192.0.2.0/24'), group('two', 'x', '10.0.0.0/8')],
  });
  const by = (name: string, ...except: string[]): string[] =>
    cidrsOf(peersOf(policy({ cidrGroups: [{ group: { name }, except: except.map(parsePrefix) }] }), all));
  expect(by('one')).toEqual(['10.0.0.0/8', '192.0.2.0/24']);
  expect(by('one', '10.1.0.0/16')).toEqual(['10.0.0.0/8 - 10.1.0.0/16', '192.0.2.0/24']);
  expect(by('one', '192.0.0.0/16')).toEqual(['10.0.0.0/8']);
  expect(by('missing')).toEqual([]);
  const selector = { matchLabels: new Map([['any:kind', 'x']]) };
  expect(cidrsOf(peersOf(policy({ cidrGroups: [{ group: { selector }, except: [] }] }), all))).toHaveLength(3);
});

test('what has nothing to resolve is the same object, and what is resolved stays it while its sources do', () => {
  const resolver = new Resolver();
  const [plain, named] = [policy({}), policy({ services: [{ namespace: 'shop', service: { name: 'api' } }] })];
  const api = service('shop', 'api', 'api');
  const first = resolver.resolve([plain, named], objects({ services: [api] }));
  expect(first[0]).toBe(plain);
  const again = resolver.resolve([plain, named], objects({ services: [service('shop', 'new', 'x'), api] }));
  expect(again[1]).toBe(first[1]);
  const changed = resolver.resolve([plain, named], objects({ services: [service('shop', 'api', 'web')] }));
  expect(changed[1]).not.toBe(first[1]);
  expect(selectorsOf(changed[1]?.rules[0]?.peers as Selected)).toEqual([['shop', 'web']]);
  const alone = [plain];
  expect(resolver.resolve(alone, objects({}))).toBe(alone);
});
