/** Service, EndpointSlice and Endpoints: what policies that name a Service need of them. */
import { parseAddress } from '../model/address.ts';
import type { EndpointSliceObject, ServiceObject } from '../model/objects.ts';
import type { Manifest, Path } from './document.ts';
import { finish, ObjectReader, type Parsed } from './object-reader.ts';

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

export function parseService(manifest: Manifest): Parsed<ServiceObject> {
  const reader = new ObjectReader(manifest);
  const labels = [...reader.strings(['spec', 'selector'])].map(([key, value]) => [`k8s:${key}`, value] as const);
  const many = addresses(reader, ['spec', 'clusterIPs'], isAddress);
  const single = reader.text(['spec', 'clusterIP']);
  if (many.length === 0 && isAddress(single)) {
    const address = reader.parsed(['spec', 'clusterIP'], parseAddress);
    if (address !== undefined) many.push(address);
  }
  // The selector of an ExternalName is not looked at by Kubernetes either.
  const hasPods = labels.length > 0 && reader.text(['spec', 'type']) !== 'ExternalName';
  return finish(reader, {
    namespace: manifest.namespace || 'default',
    name: manifest.name,
    labels: reader.labels(),
    selector: hasPods ? { matchLabels: new Map(labels) } : undefined,
    addresses: many,
  });
}

/** A headless Service has `None`, one that was not admitted yet nothing. */
function isAddress(text: string): boolean {
  return text !== '' && text !== 'None';
}

export function parseEndpointSlice(manifest: Manifest): Parsed<EndpointSliceObject> {
  const reader = new ObjectReader(manifest);
  const service = reader.labels().get(SERVICE_NAME_LABEL) ?? '';
  // addressType FQDN has names instead of addresses.
  const isNames = reader.text(['addressType']) === 'FQDN';
  const found = isNames
    ? []
    : reader.list(['endpoints']).flatMap((_, i) => addresses(reader, ['endpoints', i, 'addresses']));
  return finish(reader, {
    namespace: manifest.namespace || 'default',
    name: manifest.name,
    service,
    addresses: found,
  });
}

/** The older form: named as its Service is, several lists of addresses, ready and not. */
export function parseEndpoints(manifest: Manifest): Parsed<EndpointSliceObject> {
  const reader = new ObjectReader(manifest);
  const found = reader.list(['subsets']).flatMap((_, i) =>
    ['addresses', 'notReadyAddresses'].flatMap((field) => {
      const at = ['subsets', i, field];
      return reader.list(at).flatMap((_entry, j) => reader.parsed([...at, j, 'ip'], parseAddress) ?? []);
    }),
  );
  return finish(reader, {
    namespace: manifest.namespace || 'default',
    name: manifest.name,
    service: manifest.name,
    addresses: found,
  });
}

function addresses(reader: ObjectReader, path: Path, counts: (text: string) => boolean = () => true): Uint8Array[] {
  return reader
    .list(path)
    .flatMap((text, i) =>
      typeof text === 'string' && !counts(text) ? [] : (reader.parsed([...path, i], parseAddress) ?? []),
    );
}
