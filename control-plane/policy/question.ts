/** What is asked of policy in words (`policy check`, `policy explain`) -> what the evaluator is asked. */
import { addressKey, contains, parseAddress } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';
import { type Labels, labelList, reservedLabels } from '../model/labels.ts';
import type { NamespaceObject, ObjectSet, PodObject } from '../model/objects.ts';
import { PROTOCOLS } from '../model/policy.ts';
import type { Enrolment } from './enrolment.ts';
import type { FlowQuestion } from './evaluate.ts';
import type { HttpRequest } from './http-match.ts';
import { podLabels } from './identities.ts';
import { unionOfPorts } from './named-ports.ts';
import { isOfApiServer } from './outside.ts';
import { remember } from './remember.ts';
import type { Enforcement } from './stages.ts';

export interface CheckQuestion {
  /** NS/POD, an IP address, `world` or `host`. A bare name is a pod in the namespace `default`. */
  readonly from: string;
  readonly to: string;
  /** PORT/PROTOCOL; ICMP and ICMPv6 have a type for a port. */
  readonly port: string;
  /** METHOD PATH, the path as a client sends it, e.g. `GET /api?x=1`. */
  readonly http?: string | undefined;
  /** NAME=VALUE, of the request; `host` is the Host header, which is empty without one. */
  readonly header?: readonly string[] | undefined;
  /** Names that answers of DNS gave for the destination. */
  readonly names?: readonly string[] | undefined;
  /** The name that a TLS client asks for (SNI). */
  readonly serverName?: string | undefined;
  /** The name that a DNS query asks for. */
  readonly query?: string | undefined;
}

/** How the agents are set up that would enforce it. */
export interface CheckTerms {
  readonly enforcement?: Enforcement;
  readonly enrol?: Enrolment;
}

export type End =
  | { readonly kind: 'pod'; readonly pod: PodObject }
  /** `address`: where it is known. */
  | {
      readonly kind: 'reserved';
      readonly name: 'host' | 'world' | 'unmanaged';
      readonly address: Uint8Array | undefined;
      readonly isApiServer: boolean;
    }
  /** An address of a node: the host to the pods of that node. @see labelsOf */
  | { readonly kind: 'node'; readonly node: string; readonly isApiServer: boolean };

export interface Asked {
  readonly source: End;
  readonly destination: End;
  readonly flow: FlowQuestion;
}

/** @throws USAGE when an end, the port or the request cannot be read, NOT_FOUND when there is no such pod */
export function readQuestion(objects: ObjectSet, question: CheckQuestion): Asked {
  const source = findEnd(objects, question.from);
  const destination = findEnd(objects, question.to);
  const { protocol, port } = parsePort(question.port);
  const name = (text: string): string => text.replace(/\.$/, '').toLowerCase();
  const http = readRequest(question, protocol);
  const carried = [http, question.serverName, question.query].filter((each) => each !== undefined);
  if (carried.length > 1)
    throw new SidestepError('USAGE', 'a flow carries a request, a TLS name or a DNS query: ask for one at a time');
  return {
    source,
    destination,
    flow: {
      source: labelsOf(objects, source, destination),
      destination: labelsOf(objects, destination, source),
      sourceAddress: addressOf(source),
      destinationAddress: addressOf(destination),
      destinationNames: question.names?.map(name),
      namedPorts: destination.kind === 'pod' ? namedPorts(objects, destination.pod) : undefined,
      protocol,
      port,
      http,
      serverName: question.serverName === undefined ? undefined : name(question.serverName),
      query: question.query === undefined ? undefined : name(question.query),
    },
  };
}

export function namespaceOf({ namespaces }: ObjectSet, { namespace }: PodObject): NamespaceObject | undefined {
  return namespaces.find(({ name }) => name === namespace);
}

/** Its own, and those of every pod with its labels: of the same identity. */
function namedPorts(objects: ObjectSet, pod: PodObject): FlowQuestion['namedPorts'] {
  const textOf = (each: PodObject): string => labelList(podLabels(each, namespaceOf(objects, each))).join('\n');
  const text = textOf(pod);
  const alike = objects.pods.filter((each) => !each.hostNetwork && each.namedPorts.length > 0 && textOf(each) === text);
  return { own: pod.namedPorts, shared: unionOfPorts(alike.map((each) => each.namedPorts)) };
}

function findEnd(objects: ObjectSet, text: string): End {
  if (text === 'world' || text === 'host')
    return { kind: 'reserved', name: text, address: undefined, isApiServer: false };
  const address = tryAddress(text);
  if (address) return endAt(objects, address);
  const [name = '', namespace = 'default', ...rest] = text.split('/').reverse();
  if (name === '' || namespace === '' || rest.length > 0)
    throw new SidestepError('USAGE', `${JSON.stringify(text)} is not NAMESPACE/POD, an IP address, world or host`);
  const pod = objects.pods.find((each) => each.namespace === namespace && each.name === name);
  if (!pod)
    throw new SidestepError('NOT_FOUND', `none of the ${objects.pods.length} pods is ${namespace}/${name}`, {
      hint: 'Check the name, and that its manifest is among the files.',
    });
  if (!pod.hostNetwork) return { kind: 'pod', pod };
  return { kind: 'node', node: pod.nodeName, isApiServer: pod.addresses.some((each) => isApiServer(objects, each)) };
}

function tryAddress(text: string): Uint8Array | undefined {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof SidestepError) return undefined;
    throw error;
  }
}

function endAt(objects: ObjectSet, address: Uint8Array): End {
  const { pods, nodes, meshNodes } = objects;
  const key = addressKey(address);
  const owns = (addresses: readonly Uint8Array[]): boolean => addresses.some((each) => addressKey(each) === key);
  const pod = pods.find((each) => !each.hostNetwork && owns(each.addresses));
  if (pod) return { kind: 'pod', pod };
  const serves = isApiServer(objects, address);
  const node =
    nodes.find((each) => owns(each.addresses)) ??
    meshNodes.find((each) => owns(each.addresses.flatMap((text) => tryAddress(text) ?? [])));
  if (node) return { kind: 'node', node: node.name, isApiServer: serves };
  const inPodRange = nodes.some((each) => each.podRanges.some((range) => contains(range, address)));
  return { kind: 'reserved', name: inPodRange ? 'unmanaged' : 'world', address, isApiServer: serves && !inPodRange };
}

function isApiServer({ endpointSlices }: ObjectSet, address: Uint8Array): boolean {
  const key = addressKey(address);
  return endpointSlices.some(
    (slice) => isOfApiServer(slice) && slice.addresses.some((each) => addressKey(each) === key),
  );
}

/** Only what is outside is in ranges. */
function addressOf(end: End): Uint8Array | undefined {
  return end.kind === 'reserved' ? end.address : undefined;
}

/** A node is the host to its own pods only, and to others a remote node. */
function labelsOf(objects: ObjectSet, end: End, peer: End): Labels {
  if (end.kind === 'pod') return podLabels(end.pod, namespaceOf(objects, end.pod));
  const labels = new Map(reservedLabels(end.kind === 'reserved' ? end.name : nodeName(end.node, peer)));
  if (end.isApiServer) labels.set('reserved:kube-apiserver', '');
  return labels;
}

function nodeName(node: string, peer: End): 'host' | 'remote-node' {
  const home = peer.kind === 'pod' ? peer.pod.nodeName : '';
  // A pod without a node name is on whatever node reads its manifest.
  return home === '' || node === '' || home === node ? 'host' : 'remote-node';
}

function parsePort(text: string): { readonly protocol: number; readonly port: number } {
  const [, number = '', name = ''] = /^(\d{1,5})\/([A-Za-z0-9]+)$/.exec(text) ?? [];
  const protocol = Object.entries(PROTOCOLS).find(([known]) => known.toUpperCase() === name.toUpperCase())?.[1];
  const most = protocol === PROTOCOLS.ICMP || protocol === PROTOCOLS.ICMPv6 ? 255 : 65535;
  if (protocol === undefined || Number(number) > most)
    throw new SidestepError(
      'USAGE',
      `${JSON.stringify(text)} is not PORT/PROTOCOL (TCP, UDP, SCTP) or TYPE/PROTOCOL (ICMP, ICMPv6)`,
    );
  return { protocol, port: Number(number) };
}

function readRequest({ http, header = [] }: CheckQuestion, protocol: number): HttpRequest | undefined {
  const usage = (text: string, what: string): SidestepError =>
    new SidestepError('USAGE', `${JSON.stringify(text)} is not ${what}`);
  const headers = new Map<string, string[]>();
  for (const text of header) {
    const [, name, value = ''] = /^([\w!#$%&'*+.^`|~-]+)=([^\r\n\0]*)$/s.exec(text) ?? [];
    if (name === undefined) throw usage(text, 'NAME=VALUE');
    remember(headers, name.toLowerCase(), () => []).push(value.replace(/^[ \t]+|[ \t]+$/g, ''));
  }
  if (http === undefined) {
    if (header.length > 0) throw new SidestepError('USAGE', 'a header belongs to a request: add --http');
    return undefined;
  }
  const [, method = '', path] = /^([\w!#$%&'*+.^`|~-]+) (\/\S*)$/.exec(http) ?? [];
  if (path === undefined) throw usage(http, 'METHOD PATH, and the path begins with / (the host is --header host=NAME)');
  if (method === 'CONNECT') throw usage(http, 'a request with a path, which CONNECT has not: Envoy refuses it');
  if (protocol !== PROTOCOLS.TCP) throw new SidestepError('USAGE', 'HTTP requests need a port of TCP');
  // Envoy joins what stands twice, but for empty hosts.
  const { host = [], ...others } = Object.fromEntries(headers);
  const joined = Object.entries(others).map(([name, values]) => [name, values.join(',')] as const);
  return { method, path, host: host.filter((each) => each !== '').join(','), headers: new Map(joined) };
}
