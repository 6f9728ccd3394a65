import { expect, test } from 'vitest';
import { parseManifests } from '../api/manifests.ts';
import type { ObjectSet } from '../model/objects.ts';
import { Inventory } from './inventory.ts';

function policy(rule: string, name = 'guard'): string {
  return `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${name}, namespace: shop }
spec: { endpointSelector: {}, ingress: [${rule}] }
`;
}
const GOOD = policy('{ fromEntities: [world] }');
const OTHER = policy('{ fromEntities: [host] }');
const BAD = policy('{ fromGroups: [] }');
const MALFORMED = 'a: [\n';

/** The inventory after each file was set to each content in turn; undefined takes it away. */
function after(...changes: (readonly [string, string | undefined])[]): ObjectSet {
  const inventory = new Inventory();
  let objects = inventory.objects();
  for (const [file, text] of changes) {
    inventory.set(file, text === undefined ? undefined : parseManifests(text, file));
    objects = inventory.objects();
  }
  return objects;
}

/** State and first entity of each policy; "closed" where a refused one denies. */
function inForce({ policies }: ObjectSet): string[] {
  return policies.map(({ state, policy: version }) => {
    const peers = version?.rules[0]?.peers;
    return `${state} ${peers?.kind === 'selected' ? peers.entities.join() : version ? 'closed' : 'nothing'}`;
  });
}

function codes({ issues }: ObjectSet): string[] {
  return issues.map(({ code }) => code);
}

test('a good policy is accepted', () => {
  expect(inForce(after(['a', GOOD]))).toEqual(['accepted world']);
});

test('a good policy edited into another good one changes', () => {
  expect(inForce(after(['a', GOOD], ['a', OTHER]))).toEqual(['accepted host']);
});

test('a good policy edited into a bad one stays as it was, through several bad edits', () => {
  const objects = after(['a', GOOD], ['a', BAD], ['a', policy('1')]);
  expect(inForce(objects)).toEqual(['last-good world']);
  expect(codes(objects)).toEqual(['FIELD_INVALID']);
});

test('mended, it is accepted again', () => {
  expect(inForce(after(['a', GOOD], ['a', BAD], ['a', OTHER]))).toEqual(['accepted host']);
});

test('a new bad policy closes what it selects', () => {
  expect(inForce(after(['a', BAD]))).toEqual(['refused closed']);
});

test('deleted and written again it is new', () => {
  expect(inForce(after(['a', GOOD], ['a', undefined], ['a', BAD]))).toEqual(['refused closed']);
});

test('a policy that moves to another file in one change keeps its last good version', () => {
  const inventory = new Inventory();
  inventory.set('a', parseManifests(GOOD, 'a'));
  inventory.objects();
  inventory.set('a', undefined);
  inventory.set('b', parseManifests(BAD, 'b'));
  expect(inForce(inventory.objects())).toEqual(['last-good world']);
});

test('a file that is no YAML any more keeps what it held, and says so', () => {
  const objects = after(['a', GOOD], ['a', MALFORMED], ['a', `${MALFORMED}b: [`]);
  expect(inForce(objects)).toEqual(['last-good world']);
  expect(codes(objects)).toEqual(['YAML_MALFORMED']);
});

test('nothing of a new file that is malformed in one place counts', () => {
  const objects = after(['a', `${GOOD}---\n${MALFORMED}`]);
  expect(objects.policies).toEqual([]);
  expect(codes(objects)).toEqual(['YAML_MALFORMED']);
});

test('a malformed file that is taken away takes its objects with it', () => {
  expect(after(['a', GOOD], ['a', MALFORMED], ['a', undefined]).policies).toEqual([]);
});

test('a pod edited into a bad one stays as it was: unread it would be open', () => {
  const pod = (label: string): string =>
    `apiVersion: v1\nkind: Pod\nmetadata: { name: api, labels: { app: ${label} } }\n`;
  const objects = after(['a', pod('api')], ['a', pod('1')]);
  expect(objects.pods.map(({ labels }) => labels.get('app'))).toEqual(['api']);
  expect(codes(objects)).toEqual(['FIELD_INVALID']);
});

test('of two files with one object the first by name counts, whichever came first', () => {
  for (const objects of [after(['a', GOOD], ['b', OTHER]), after(['b', OTHER], ['a', GOOD])]) {
    expect(inForce(objects)).toEqual(['accepted world']);
    expect(objects.issues).toMatchObject([{ code: 'OBJECT_DUPLICATE', origin: 'b:1' }]);
  }
});

test('when the first of two goes, the second counts', () => {
  expect(inForce(after(['a', GOOD], ['b', OTHER], ['a', undefined]))).toEqual(['accepted host']);
});

test('objects of files that did not change are the same objects', () => {
  const inventory = new Inventory();
  inventory.set('a', parseManifests(GOOD, 'a'));
  const [before] = inventory.objects().policies;
  inventory.set('b', parseManifests(policy('{}', 'other'), 'b'));
  expect(inventory.objects().policies[0]?.policy).toBe(before?.policy);
});

const meshNode = (port: number | string, name = 'n1'): string => `apiVersion: sidestep.dev/v1alpha1
kind: SidestepNode
metadata: { name: ${name} }
spec:
  addresses: [192.0.2.1]
  port: ${port}
  publicKey: ${Buffer.alloc(32).toString('base64')}
  spiffeID: spiffe://cluster.local/node/${name}
`;

test('a mesh node that is edited into a bad one stays as it was, a new bad one is not there', () => {
  const ports = ({ meshNodes }: ObjectSet): number[] => meshNodes.map(({ port }) => port);
  expect(ports(after(['a', meshNode(1)], ['a', meshNode(2)]))).toEqual([2]);
  const bad = after(['a', meshNode(1)], ['a', meshNode('x')]);
  expect([ports(bad), codes(bad)]).toEqual([[1], ['FIELD_INVALID']]);
  expect(ports(after(['a', meshNode('x')]))).toEqual([]);
});

test('two files that claim one mesh node: the first counts', () => {
  const objects = after(['b', meshNode(2)], ['a', meshNode(1)]);
  expect([objects.meshNodes.map(({ port }) => port), codes(objects)]).toEqual([[1], ['OBJECT_DUPLICATE']]);
});
