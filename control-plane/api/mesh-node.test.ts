import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { MeshNode } from '../model/objects.ts';
import { type ParsedFile, parseManifests } from './manifests.ts';
import { renderMeshNode } from './mesh-node.ts';

const KEY = Buffer.alloc(32, 7).toString('base64');
/** A self-signed certificate; its key was thrown away. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIUIbkClOxrkwKlVQKgcGc9nrA8DCcwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI1MDAwMjU5WhgPMjEyNjExMDEwMDAyNTla
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+yS6DB5E
1srizd74QUnTdp0CM+t/gr1+EsD9KnDpOoMJKnTZKeKRbU6m45qesWr9DtQvtsOg
NoOjuCUR9lkoQ6NTMFEwHQYDVR0OBBYEFJ8P0SyBoJfi3kk7+y3nfchv6c3aMB8G
A1UdIwQYMBaAFJ8P0SyBoJfi3kk7+y3nfchv6c3aMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIgcK87vTRkLmhaGGVG6C37RzNLTO507hE2rWVYAzKx
LgwCIQCM6qpIx6/s7pjVDGmy4gMsJczHosDmkKfaQeBFbjtgZA==
-----END CERTIFICATE-----
`;

const SPEC = {
  addresses: ['192.0.2.1', '2001:db8::1'],
  publicKey: KEY,
  spiffeID: 'spiffe://cluster.local/node/n1',
};
const AUTHORITY = { address: '192.0.2.1', port: 4251, bundle: CERTIFICATE };

/** JSON is YAML. */
function read(spec: unknown, more: Record<string, unknown> = {}): ParsedFile {
  const object = { apiVersion: 'sidestep.dev/v1alpha1', kind: 'SidestepNode', metadata: { name: 'n1' }, spec, ...more };
  return parseManifests(JSON.stringify(object), 'n1.yaml');
}

function nodeOf({ objects, issues }: ParsedFile): MeshNode | undefined {
  expect(issues).toEqual([]);
  const [object] = objects;
  return object?.kind === 'SidestepNode' ? object.object : undefined;
}

function faults({ issues }: ParsedFile): string[] {
  return issues.map(({ code, path }) => `${code} ${path}`);
}

test('a node that says little has the default ports', () => {
  expect(nodeOf(read(SPEC))).toEqual({
    name: 'n1',
    addresses: ['192.0.2.1', '2001:db8::1'],
    port: 4250,
    tunnelPort: 51871,
    publicKey: KEY,
    spiffeId: 'spiffe://cluster.local/node/n1',
  });
});

test('everything that a node can say is read', () => {
  const read1 = nodeOf(read({ ...SPEC, port: 1, tunnelPort: 65535, certificateAuthority: AUTHORITY }));
  expect(read1).toMatchObject({ port: 1, tunnelPort: 65535, certificateAuthority: AUTHORITY });
});

test('metadata and status are as Kubernetes makes them', () => {
  const metadata = { name: 'n1', uid: 'u', labels: { a: 'b' }, managedFields: [1], resourceVersion: '5' };
  expect(nodeOf(read(SPEC, { metadata, status: { seen: true } }))?.name).toBe('n1');
});

test('addresses are kept in their one text, each once, in their order', () => {
  const addresses = ['2001:DB8:0::1', '192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1'];
  expect(nodeOf(read({ ...SPEC, addresses }))?.addresses).toEqual(['2001:db8::1', '192.0.2.1']);
});

test.each([
  [{ ...SPEC, adresses: [] }, 'FIELD_UNKNOWN spec.adresses'],
  [{ ...SPEC, certificateAuthority: { ...AUTHORITY, key: 'x' } }, 'FIELD_UNKNOWN spec.certificateAuthority.key'],
  [undefined, 'FIELD_REQUIRED spec'],
  [null, 'FIELD_REQUIRED spec'],
  [[], 'FIELD_INVALID spec'],
  [{ ...SPEC, addresses: undefined }, 'FIELD_REQUIRED spec.addresses'],
  [{ ...SPEC, publicKey: undefined }, 'FIELD_REQUIRED spec.publicKey'],
  [{ ...SPEC, spiffeID: undefined }, 'FIELD_REQUIRED spec.spiffeID'],
  [
    { ...SPEC, certificateAuthority: { address: '192.0.2.1', port: 1 } },
    'FIELD_REQUIRED spec.certificateAuthority.bundle',
  ],
  [{ ...SPEC, addresses: [] }, 'FIELD_INVALID spec.addresses'],
  [{ ...SPEC, addresses: Array.from({ length: 17 }, (_, i) => `192.0.2.${i}`) }, 'FIELD_INVALID spec.addresses'],
  [{ ...SPEC, addresses: '192.0.2.1' }, 'FIELD_INVALID spec.addresses'],
  [{ ...SPEC, port: 0 }, 'FIELD_INVALID spec.port'],
  [{ ...SPEC, port: 65536 }, 'FIELD_INVALID spec.port'],
  [{ ...SPEC, port: '4250' }, 'FIELD_INVALID spec.port'],
  [{ ...SPEC, tunnelPort: 1.5 }, 'FIELD_INVALID spec.tunnelPort'],
  [{ ...SPEC, publicKey: KEY.slice(4) }, 'FIELD_INVALID spec.publicKey'],
  [{ ...SPEC, publicKey: KEY.replace('=', '') }, 'FIELD_INVALID spec.publicKey'],
  [{ ...SPEC, publicKey: ` ${KEY}` }, 'FIELD_INVALID spec.publicKey'],
  // The last character carries bits that no byte has.
  [{ ...SPEC, publicKey: KEY.replace(/c=$/, 'd=') }, 'FIELD_INVALID spec.publicKey'],
])('%j is refused by its path', (spec, fault) => {
  const file = read(spec);
  expect(faults(file)).toEqual([fault]);
  expect(file.objects).toMatchObject([{ kind: 'SidestepNode', key: 'SidestepNode//n1', object: undefined }]);
});

test.each([
  '',
  'n1',
  '10.0.0.300',
  '192.0.2.1/24',
  '0.0.0.0',
  '::',
  '224.0.0.1',
  '255.255.255.255',
  '169.254.1.1',
  'ff02::1',
  'fe80::1',
  'fe80::1%eth0',
])('%j is no address that one can connect to', (address) => {
  expect(faults(read({ ...SPEC, addresses: ['192.0.2.1', address] }))).toEqual(['FIELD_INVALID spec.addresses[1]']);
});

test.each([
  'cluster.local/node/n1',
  'spiffe://Cluster.local/node/n1',
  'spiffe://cluster.local',
  'spiffe://cluster.local/',
  'spiffe://cluster.local//n1',
  'spiffe://cluster.local/node/n1/',
  'spiffe://cluster.local/node/..',
  'spiffe://cluster.local/./n1',
  'spiffe://cluster.local/node/a b',
  'spiffe://cluster.local:80/node/n1',
  'spiffe://user@cluster.local/node/n1',
  'spiffe://cluster.local/node/n1?x',
  `spiffe://cluster.local/${'x'.repeat(2048)}`,
])('%s is no SPIFFE ID with a path', (spiffeID) => {
  expect(faults(read({ ...SPEC, spiffeID }))).toEqual(['FIELD_INVALID spec.spiffeID']);
});

test.each(['spiffe://td/a', 'spiffe://mesh.test/mesh-agent', 'spiffe://a_b-c.d/node/n1.example', 'spiffe://td/...'])(
  '%s is a SPIFFE ID with a path',
  (spiffeID) => {
    expect(nodeOf(read({ ...SPEC, spiffeID }))?.spiffeId).toBe(spiffeID);
  },
);

test.each([
  ['empty', ''],
  ['no PEM', 'hello'],
  ['text beside it', `${CERTIFICATE}# and more`],
  ['a key', CERTIFICATE.replaceAll('CERTIFICATE', 'PRIVATE KEY')],
  ['a certificate and a key', CERTIFICATE + CERTIFICATE.replaceAll('CERTIFICATE', 'PRIVATE KEY')],
  ['cut short', CERTIFICATE.replace(/\n[^\n]+\n-----END/, '\n-----END')],
  ['too many', CERTIFICATE.repeat(17)],
  ['too long', `${CERTIFICATE}${' '.repeat(65536)}`],
])('a bundle that is %s is refused', (_, bundle) => {
  expect(faults(read({ ...SPEC, certificateAuthority: { ...AUTHORITY, bundle } }))).toEqual([
    'FIELD_INVALID spec.certificateAuthority.bundle',
  ]);
});

test('several certificates are a bundle', () => {
  const bundle = CERTIFICATE.repeat(16);
  const node = nodeOf(read({ ...SPEC, certificateAuthority: { ...AUTHORITY, bundle } }));
  expect(node?.certificateAuthority?.bundle).toBe(bundle);
});

test('a field beside spec, a namespace and a bad name are refused', () => {
  expect(faults(read(SPEC, { data: 1 }))).toEqual(['FIELD_UNKNOWN data']);
  expect(faults(read(SPEC, { metadata: { name: 'n1', namespace: 'shop' } }))).toEqual([
    'FIELD_INVALID metadata.namespace',
  ]);
  expect(faults(read(SPEC, { metadata: { name: '../n1' } }))).toEqual(['FIELD_INVALID metadata.name']);
  expect(faults(read(SPEC, { metadata: {} }))).toEqual(['FIELD_REQUIRED metadata.name']);
});

test('another version is a kind that we do not read', () => {
  expect(faults(read(SPEC, { apiVersion: 'sidestep.dev/v1' }))).toEqual(['OBJECT_UNKNOWN_KIND kind']);
});

test('a fault is named with its line and every fault is named', () => {
  const text = `apiVersion: sidestep.dev/v1alpha1
kind: SidestepNode
metadata: { name: n1 }
spec:
  addresses:
    - 192.0.2.1
    - nowhere
  port: 0
  publicKey: ${KEY}
`;
  const { issues } = parseManifests(text, 'n1.yaml');
  expect(issues.map(({ path, origin }) => `${path} ${origin}`).sort()).toEqual([
    'spec.addresses[1] n1.yaml:7',
    'spec.port n1.yaml:8',
    'spec.spiffeID n1.yaml:4',
  ]);
});

const port = fc.integer({ min: 1, max: 65535 });
const address = fc.oneof(
  fc.constantFrom('192.0.2.1', '2001:db8::1', '127.0.0.1', '::1'),
  fc.tuple(fc.integer({ min: 1, max: 168 }), fc.nat(255)).map(([a, b]) => `${a}.0.0.${b}`),
);
const node: fc.Arbitrary<MeshNode> = fc
  .record({
    name: fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?$/),
    addresses: fc.uniqueArray(address, { minLength: 1, maxLength: 4 }),
    port,
    tunnelPort: port,
    publicKey: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    spiffeId: fc.stringMatching(/^[a-z]{1,9}$/).map((name) => `spiffe://td/node/${name}`),
    authority: fc.option(fc.record({ address, port, bundle: fc.constant(CERTIFICATE) })),
  })
  .map(({ authority, ...rest }) => ({ ...rest, ...(authority ? { certificateAuthority: authority } : {}) }));

test('what is rendered is read as it was', () => {
  fc.assert(
    fc.property(node, (each) => {
      const text = renderMeshNode(each);
      expect(nodeOf(parseManifests(text, 'n.yaml'))).toEqual(each);
      expect(parse(text)).toMatchObject({ kind: 'SidestepNode', metadata: { name: each.name } });
    }),
  );
});

test('whatever stands in a manifest, it is read or refused by path, and nothing is thrown', () => {
  const field = fc.constantFrom('addresses', 'port', 'publicKey', 'spiffeID', 'certificateAuthority', '__proto__', 'x');
  const value = fc.oneof(fc.jsonValue(), fc.string(), address, fc.constant({ ...AUTHORITY, port: 'x' }));
  fc.assert(
    fc.property(fc.array(fc.tuple(field, value), { maxLength: 3 }), (edits) => {
      const spec = JSON.stringify(SPEC).slice(0, -1);
      const text = edits.map(([name, each]) => `,${JSON.stringify(name)}:${JSON.stringify(each)}`).join('');
      const head = '"apiVersion":"sidestep.dev/v1alpha1","kind":"SidestepNode","metadata":{"name":"n1"}';
      const { objects, issues } = parseManifests(`{${head},"spec":${spec}${text}}}`, 'n1.yaml');
      const [object] = objects;
      // A field that stands twice makes the file unreadable.
      if (object !== undefined) expect(object.object === undefined).toBe(issues.length > 0);
      else expect(issues.map(({ code }) => code)).toEqual(['YAML_MALFORMED']);
    }),
    { numRuns: 500, seed: 5 },
  );
});
