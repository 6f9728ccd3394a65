import { expect, test } from 'vitest';
import { formatAddress } from '../model/address.ts';
import type { NamespaceObject, NodeObject, PodObject } from '../model/objects.ts';
import { type ApiObject, type ParsedFile, parseManifests } from './manifests.ts';

function faults({ issues }: ParsedFile): string[] {
  return issues.map(({ code, path, origin }) => `${code} ${path} ${origin}`);
}

function pod(text: string): PodObject | undefined {
  const file = parseManifests(`apiVersion: v1\nkind: Pod\n${text}`, 'pod.yaml');
  const [object] = file.objects;
  return object?.kind === 'Pod' ? object.object : undefined;
}

test('a pod is read as far as we need it, and nothing else of it matters', () => {
  const read = pod(`
metadata:
  name: api
  namespace: shop
  uid: u-1
  labels: { app: api }
  annotations: { sidestep.dev/netns: backend, other: "1" }
  managedFields: [{ anything: [1, null] }]
spec:
  nodeName: n1
  serviceAccountName: checkout
  containers: [{ image: 5 }]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ ip: 10.0.0.1 }, { ip: "fd00::1" }]
`);
  expect(read).toMatchObject({
    namespace: 'shop',
    name: 'api',
    uid: 'u-1',
    serviceAccount: 'checkout',
    nodeName: 'n1',
    hostNetwork: false,
    netns: '/run/netns/backend',
    origin: 'pod.yaml:1',
  });
  expect([...(read?.labels ?? [])]).toEqual([['app', 'api']]);
  expect(read?.addresses.map(formatAddress)).toEqual(['10.0.0.1', 'fd00::1']);
});

test('a pod that says little has the defaults', () => {
  expect(pod('metadata: { name: api }\nstatus: { podIP: 10.0.0.1 }')).toMatchObject({
    namespace: 'default',
    uid: 'default/api',
    serviceAccount: 'default',
    nodeName: '',
    netns: '',
  });
});

test('the network namespace is a name or an absolute path', () => {
  const netns = (value: string): string | undefined =>
    pod(`metadata: { name: api, annotations: { sidestep.dev/netns: ${value} } }`)?.netns;
  expect(netns('/proc/7/ns/net')).toBe('/proc/7/ns/net');
  expect(netns('web')).toBe('/run/netns/web');
  expect(netns('../x')).toBeUndefined();
  expect(netns('a/b')).toBeUndefined();
});

test.each([
  ['labels: { app: 1 }', 'metadata.labels.app'],
  ['labels: { app: "a b" }', 'metadata.labels.app'],
  ['labels: { "a=b": c }', 'metadata.labels["a=b"]'],
  ['labels: []', 'metadata.labels'],
  ['uid: 5', 'metadata.uid'],
])('a pod with %s is refused, and its key is still known', (field, path) => {
  const file = parseManifests(`apiVersion: v1\nkind: Pod\nmetadata:\n  name: api\n  ${field}\n`, 'pod.yaml');
  expect(faults(file)).toEqual([`FIELD_INVALID ${path} pod.yaml:5`]);
  expect(file.objects).toMatchObject([{ kind: 'Pod', key: 'Pod/default/api', object: undefined }]);
});

test('a wrong address is named with its line', () => {
  const text =
    'apiVersion: v1\nkind: Pod\nmetadata: { name: api }\nstatus:\n  podIPs:\n    - ip: 10.0.0.1\n    - ip: 10.0.0.300\n';
  expect(faults(parseManifests(text, 'pod.yaml'))).toEqual(['FIELD_INVALID status.podIPs[1].ip pod.yaml:7']);
});

test('a namespace has labels, a node ranges and addresses', () => {
  const text = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { team: red } }
---
apiVersion: v1
kind: Node
metadata: { name: n1 }
spec: { podCIDR: 10.1.0.0/24 }
status:
  addresses:
    - { type: Hostname, address: n1 }
    - { type: InternalIP, address: 192.0.2.1 }
    - { type: ExternalIP, address: "2001:db8::1" }
`;
  const [namespace, node] = parseManifests(text, 'f.yaml').objects.map(({ object }: ApiObject) => object);
  expect(namespace as NamespaceObject).toEqual({ name: 'shop', labels: new Map([['team', 'red']]), audit: false });
  const { podRanges, addresses } = node as NodeObject;
  expect(podRanges.map(({ address, bits }) => [formatAddress(address), bits])).toEqual([['10.1.0.0', 120]]);
  expect(addresses.map(formatAddress)).toEqual(['192.0.2.1', '2001:db8::1']);
});

test('empty documents are nothing, and a kind we do not read is named', () => {
  const file = parseManifests(
    '---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata: { name: api }\n---\nfoo: 1\n',
    'f.yaml',
  );
  expect(file.objects).toEqual([]);
  expect(faults(file)).toEqual(['OBJECT_UNKNOWN_KIND kind f.yaml:4', 'OBJECT_UNKNOWN_KIND kind f.yaml:8']);
});

test('malformed YAML is named with its line and makes the file unreadable', () => {
  const file = parseManifests('apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\na: [\n', 'f.yaml');
  expect(file.readable).toBe(false);
  expect(file.issues).toMatchObject([{ code: 'YAML_MALFORMED', origin: 'f.yaml:6' }]);
});

test('a key that stands twice is malformed', () => {
  expect(parseManifests('kind: Pod\nkind: Node\n', 'f.yaml').readable).toBe(false);
});

test('an alias bomb is refused and not expanded', () => {
  const bomb = [
    'a0: &a0 [x, x]',
    ...Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}]`),
  ];
  expect(parseManifests(bomb.join('\n'), 'f.yaml').issues).toMatchObject([{ code: 'YAML_MALFORMED' }]);
});

test('lines are found through anchors and aliases', () => {
  const text =
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: api\n  annotations: &x\n    good: "1"\n    bad: 2\n  labels: *x\n';
  expect(faults(parseManifests(text, 'f.yaml'))).toContain('FIELD_INVALID metadata.labels.bad f.yaml:7');
});
