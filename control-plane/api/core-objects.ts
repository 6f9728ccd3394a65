/** Namespace, Pod and Node: only what we read of them is looked at, the rest is Kubernetes' business. */
import { parseAddress, parsePrefix } from '../model/address.ts';
import { type ErrorCode, SidestepError } from '../model/error.ts';
import { isLabelKey, isLabelValue } from '../model/labels.ts';
import type { NamespaceObject, NodeObject, PodObject } from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';
import { formatPath, isRecord, issue, type Manifest, nameProblems, type Path } from './document.ts';

export const NETNS_ANNOTATION = 'sidestep.dev/netns';
const NETNS_FOLDER = '/run/netns';

/** Reads fields of one manifest and collects what is wrong with them. */
class Reader {
  readonly issues: Issue[] = [];
  readonly #manifest: Manifest;
  readonly #object: string;

  constructor(manifest: Manifest) {
    this.#manifest = manifest;
    this.#object = [manifest.kind, manifest.namespace, manifest.name].filter((part) => part !== '').join('/');
    for (const { path, code, message } of nameProblems(manifest)) this.refuse(path, message, code);
  }

  at(path: Path): unknown {
    let value: unknown = this.#manifest.value;
    for (const part of path)
      value = isRecord(value) || Array.isArray(value) ? (value as Record<string | number, unknown>)[part] : undefined;
    return value;
  }

  refuse(path: Path, message: string, code: ErrorCode = 'FIELD_INVALID'): void {
    const where = formatPath(path);
    this.issues.push(issue(code, where, `${where}: ${message}`, this.#manifest.originOf(path), this.#object));
  }

  text(path: Path): string {
    const value = this.at(path);
    if (value === undefined || value === null) return '';
    if (typeof value === 'string') return value;
    this.refuse(path, 'must be a string');
    return '';
  }

  strings(path: Path): ReadonlyMap<string, string> {
    const value = this.at(path);
    if (value === undefined || value === null) return new Map();
    if (!isRecord(value)) {
      this.refuse(path, 'must be a mapping of strings');
      return new Map();
    }
    const entries: [string, string][] = [];
    for (const [key, text] of Object.entries(value)) {
      if (typeof text === 'string') entries.push([key, text]);
      else this.refuse([...path, key], 'must be a string (quote it)');
    }
    return new Map(entries);
  }

  /** metadata.labels. Kubernetes' syntax is checked because identities are told apart by the text of their labels. */
  labels(): ReadonlyMap<string, string> {
    const path = ['metadata', 'labels'];
    const labels = this.strings(path);
    for (const [key, value] of labels)
      if (!isLabelKey(key) || !isLabelValue(value))
        this.refuse([...path, key], `${JSON.stringify(value)} is not a label that Kubernetes would take`);
    return labels;
  }

  list(path: Path): readonly unknown[] {
    const value = this.at(path);
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value;
    this.refuse(path, 'must be a list');
    return [];
  }

  /** Parses a string field, turning what the parser throws into an issue. */
  parsed<T>(path: Path, parse: (text: string) => T): T | undefined {
    try {
      return parse(this.text(path));
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      this.refuse(path, error.message);
      return undefined;
    }
  }
}

export interface Parsed<T> {
  /** undefined: something is wrong with it. */
  readonly object: T | undefined;
  readonly issues: readonly Issue[];
}

function finish<T>(reader: Reader, object: T): Parsed<T> {
  return { object: reader.issues.length === 0 ? object : undefined, issues: reader.issues };
}

export function parseNamespace(manifest: Manifest): Parsed<NamespaceObject> {
  const reader = new Reader(manifest);
  return finish(reader, { name: manifest.name, labels: reader.labels() });
}

export function parsePod(manifest: Manifest): Parsed<PodObject> {
  const reader = new Reader(manifest);
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
    origin: manifest.origin,
  });
}

function podAddresses(reader: Reader): Uint8Array[] {
  const many = reader
    .list(['status', 'podIPs'])
    .map((_, i) => reader.parsed(['status', 'podIPs', i, 'ip'], parseAddress));
  const single = reader.text(['status', 'podIP']);
  if (many.length === 0 && single !== '') many.push(reader.parsed(['status', 'podIP'], parseAddress));
  return many.filter((address) => address !== undefined);
}

export function parseNode(manifest: Manifest): Parsed<NodeObject> {
  const reader = new Reader(manifest);
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
