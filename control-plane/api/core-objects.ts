/** Namespace, Pod and Node: only what we read of them is looked at, the rest is Kubernetes' business. */
import { parseAddress, parsePrefix } from '../model/address.ts';
import type { NamedPort, NamespaceObject, NodeObject, PodObject } from '../model/objects.ts';
import { PROTOCOLS } from '../model/policy.ts';
import { readAudit } from './annotations.ts';
import { isRecord, type Manifest } from './document.ts';
import { finish, ObjectReader, type Parsed } from './object-reader.ts';
import { isServiceName, MOST } from './port-numbers.ts';

export const NETNS_ANNOTATION = 'sidestep.dev/netns';
const NETNS_FOLDER = '/run/netns';

export function parseNamespace(manifest: Manifest): Parsed<NamespaceObject> {
  const reader = new ObjectReader(manifest);
  const audit = readAudit(manifest.value, (code, path, message) => reader.refuse(path, message, code));
  return finish(reader, { name: manifest.name, labels: reader.labels(), audit });
}

export function parsePod(manifest: Manifest): Parsed<PodObject> {
  const reader = new ObjectReader(manifest);
  const namespace = manifest.namespace || 'default';
  const netns = reader.strings(['metadata', 'annotations']).get(NETNS_ANNOTATION) ?? '';
  if (netns.includes('..') || (netns.includes('/') && !netns.startsWith('/')))
    reader.refuse(['metadata', 'annotations', NETNS_ANNOTATION], `a name under ${NETNS_FOLDER} or an absolute path`);
  const addresses = podAddresses(reader);
  return finish(reader, {
    namespace,
    name: manifest.name,
    uid: reader.text(['metadata', 'uid']) || `${namespace}/${manifest.name}`,
    labels: reader.labels(),
    serviceAccount: reader.text(['spec', 'serviceAccountName']) || 'default',
    nodeName: reader.text(['spec', 'nodeName']),
    hostNetwork: reader.at(['spec', 'hostNetwork']) === true,
    netns: netns === '' || netns.startsWith('/') ? netns : `${NETNS_FOLDER}/${netns}`,
    addresses,
    namedPorts: namedPorts(reader),
    origin: manifest.origin,
  });
}

function podAddresses(reader: ObjectReader): Uint8Array[] {
  const many = reader
    .list(['status', 'podIPs'])
    .map((_, i) => reader.parsed(['status', 'podIPs', i, 'ip'], parseAddress));
  const single = reader.text(['status', 'podIP']);
  if (many.length === 0 && single !== '') many.push(reader.parsed(['status', 'podIP'], parseAddress));
  return many.filter((address) => address !== undefined);
}

/** Container ports that have a name, as policies name them. */
function namedPorts(reader: ObjectReader): NamedPort[] {
  const found = reader.list(['spec', 'containers']).flatMap((_, i) => {
    const at = ['spec', 'containers', i, 'ports'];
    return reader.list(at).flatMap((entry, j) => (isRecord(entry) ? namedPort(reader, entry, [...at, j]) : []));
  });
  return found.sort((a, b) =>
    a.name < b.name ? -1 : a.name > b.name ? 1 : a.protocol - b.protocol || a.port - b.port,
  );
}

function namedPort(reader: ObjectReader, entry: Record<string, unknown>, path: (string | number)[]): NamedPort[] {
  const name = reader.text([...path, 'name']);
  if (name === '') return [];
  const port = entry['containerPort'];
  const protocol = reader.text([...path, 'protocol']) || 'TCP';
  if (!isServiceName(name)) reader.refuse([...path, 'name'], 'is not a name that a port can have');
  else if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > MOST)
    reader.refuse([...path, 'containerPort'], `must be a number from 1 to ${MOST}`);
  else if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP')
    reader.refuse([...path, 'protocol'], 'is not a protocol (TCP, UDP, SCTP)');
  else return [{ name, protocol: PROTOCOLS[protocol], port }];
  return [];
}

export function parseNode(manifest: Manifest): Parsed<NodeObject> {
  const reader = new ObjectReader(manifest);
  const ranges = reader.list(['spec', 'podCIDRs']).map((_, i) => reader.parsed(['spec', 'podCIDRs', i], parsePrefix));
  if (ranges.length === 0 && reader.text(['spec', 'podCIDR']) !== '')
    ranges.push(reader.parsed(['spec', 'podCIDR'], parsePrefix));
  const addresses = reader
    .list(['status', 'addresses'])
    .flatMap((entry, i) =>
      isRecord(entry) && /IP$/.test(String(entry['type']))
        ? [reader.parsed(['status', 'addresses', i, 'address'], parseAddress)]
        : [],
    );
  return finish(reader, {
    name: manifest.name,
    podRanges: ranges.filter((range) => range !== undefined),
    addresses: addresses.filter((address) => address !== undefined),
  });
}
