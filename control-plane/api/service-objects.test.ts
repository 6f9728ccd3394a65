/** CIDR groups, Services and their endpoints, named ports: what policies lead to. */
import { expect, test } from 'vitest';
import { formatAddress, formatPrefix } from '../model/address.ts';
import { type ApiObject, parseManifests } from './manifests.ts';

type Read = { [E in ApiObject as E['kind']]: E['object'] };

function read<K extends ApiObject['kind']>(kind: K, text: string): Read[K] {
  const { objects, issues } = parseManifests(text, 'x.yaml');
  const [object] = objects;
  if (issues.length > 0 || object?.kind !== kind) throw new Error(`${object?.kind}: ${issues[0]?.message}`);
  return object.object as Read[K];
}

function faults(text: string): string[] {
  const { objects, issues } = parseManifests(text, 'x.yaml');
  expect(objects.map(({ object }) => object)).toEqual([undefined]);
  return issues.map(({ code, path }) => `${code} ${path}`);
}

const GROUP = 'apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\n';

test.each(['cilium.io/v2', 'cilium.io/v2alpha1'])('a CIDR group of %s has its ranges and labels', (version) => {
  const group = read(
    'CiliumCIDRGroup',
    `${GROUP.replace('cilium.io/v2', version)}metadata: { name: office, labels: { site: a } }\nspec: { externalCIDRs: [192.0.2.0/24, 10.1.2.3/8, "2001:db8::/32"] }`,
  );
  expect(group?.prefixes.map(formatPrefix)).toEqual(['192.0.2.0/24', '10.0.0.0/8', '2001:db8::/32']);
  expect([group?.name, ...(group?.labels ?? [])]).toEqual(['office', ['site', 'a']]);
});

test.each([
  ['metadata: { name: g }', 'FIELD_INVALID spec', 'FIELD_REQUIRED spec.externalCIDRs'],
  ['metadata: { name: g }\nspec: {}', 'FIELD_REQUIRED spec.externalCIDRs'],
  ['metadata: { name: g }\nspec: { externalCIDRs: [192.0.2.1] }', 'FIELD_INVALID spec.externalCIDRs[0]'],
  ['metadata: { name: g }\nspec: { externalCIDRs: 192.0.2.0/24 }', 'FIELD_INVALID spec.externalCIDRs'],
  ['metadata: { name: g }\nspec: { externalCIDRs: [], cidrs: [] }', 'FIELD_UNKNOWN spec.cidrs'],
  ['metadata: { name: g, namespace: shop }\nspec: { externalCIDRs: [] }', 'FIELD_INVALID metadata.namespace'],
  ['metadata: { name: g, labels: { a: 5 } }\nspec: { externalCIDRs: [] }', 'FIELD_INVALID metadata.labels.a'],
])('a CIDR group with %s is refused', (text, ...expected) => {
  expect(faults(`${GROUP}${text}`)).toEqual(expected);
});

test.each([
  ['{ selector: { app: api }, clusterIP: 10.96.0.1 }', ['app', 'api'], ['10.96.0.1']],
  [
    '{ selector: { app: api }, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd00::1"] }',
    ['app', 'api'],
    ['10.96.0.1', 'fd00::1'],
  ],
  ['{ selector: { app: api }, clusterIP: None, clusterIPs: [None] }', ['app', 'api'], []],
  ['{ clusterIP: 10.96.0.1 }', undefined, ['10.96.0.1']],
  ['{ selector: {}, clusterIP: 10.96.0.1 }', undefined, ['10.96.0.1']],
  ['{ type: ExternalName, externalName: a.b, selector: { app: api } }', undefined, []],
])('a Service with spec %s', (spec, selector, addresses) => {
  const service = read(
    'Service',
    `apiVersion: v1\nkind: Service\nmetadata: { name: s, namespace: n, labels: { a: b } }\nspec: ${spec}`,
  );
  const labels = service?.selector && [...service.selector.matchLabels];
  expect(labels).toEqual(selector && [[`k8s:${selector[0]}`, selector[1]]]);
  expect(service?.addresses.map(formatAddress)).toEqual(addresses);
  expect([service?.namespace, service?.name, ...(service?.labels ?? [])]).toEqual(['n', 's', ['a', 'b']]);
});

const SLICE =
  'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: s-1, labels: { kubernetes.io/service-name: s } }\n';

test('an EndpointSlice has the addresses of all its endpoints, of its Service', () => {
  const slice = read(
    'EndpointSlice',
    `${SLICE}addressType: IPv4\nendpoints: [{ addresses: [192.0.2.1, 192.0.2.2] }, { addresses: [192.0.2.3], conditions: { ready: false } }]`,
  );
  expect([slice?.namespace, slice?.service]).toEqual(['default', 's']);
  expect(slice?.addresses.map(formatAddress)).toEqual(['192.0.2.1', '192.0.2.2', '192.0.2.3']);
});

test('an EndpointSlice of names has no addresses, a bad address is refused', () => {
  expect(read('EndpointSlice', `${SLICE}addressType: FQDN\nendpoints: [{ addresses: [a.b] }]`)?.addresses).toEqual([]);
  expect(faults(`${SLICE}addressType: IPv4\nendpoints: [{ addresses: [a.b] }]`)).toEqual([
    'FIELD_INVALID endpoints[0].addresses[0]',
  ]);
});

test('Endpoints are the endpoints of the Service of their name', () => {
  const text =
    'apiVersion: v1\nkind: Endpoints\nmetadata: { name: s, namespace: n }\nsubsets: [{ addresses: [{ ip: 192.0.2.1 }], notReadyAddresses: [{ ip: 192.0.2.2 }] }]';
  const slice = read('EndpointSlice', text);
  expect([slice?.namespace, slice?.service, ...(slice?.addresses.map(formatAddress) ?? [])]).toEqual([
    'n',
    's',
    '192.0.2.1',
    '192.0.2.2',
  ]);
});

const pod = (ports: string): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [{ ports: [{ containerPort: 1 }] }, { ports: ${ports} }] }`;

test('a pod has the named ports of all its containers', () => {
  const ports =
    '[{ name: web, containerPort: 80 }, { name: dns, containerPort: 53, protocol: UDP }, { name: dns, containerPort: 53 }]';
  expect(read('Pod', pod(ports))?.namedPorts).toEqual([
    { name: 'dns', protocol: 6, port: 53 },
    { name: 'dns', protocol: 17, port: 53 },
    { name: 'web', protocol: 6, port: 80 },
  ]);
});

test.each([
  ['[{ name: Web, containerPort: 80 }]', 'name'],
  ['[{ name: web, containerPort: "80" }]', 'containerPort'],
  ['[{ name: web, containerPort: 0 }]', 'containerPort'],
  ['[{ name: web, containerPort: 80, protocol: ICMP }]', 'protocol'],
])('container ports %s are refused', (ports, field) => {
  expect(faults(pod(ports))).toEqual([`FIELD_INVALID spec.containers[1].ports[0].${field}`]);
});

test('a namespace can be on trial', () => {
  const text = (audit: string) =>
    `apiVersion: v1\nkind: Namespace\nmetadata: { name: n, annotations: { sidestep.dev/audit: ${audit} } }`;
  expect([read('Namespace', text('"true"'))?.audit, read('Namespace', text('"false"'))?.audit]).toEqual([true, false]);
  expect(faults(text('yes'))).toEqual(['FIELD_INVALID metadata.annotations["sidestep.dev/audit"]']);
});
