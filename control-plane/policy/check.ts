/** `policy check`: what would a flow between two ends get, by the evaluator, without a kernel or an agent? */
import { addressKey, contains, parseAddress } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';
import { type Labels, labelList, reservedLabels } from '../model/labels.ts';
import type { NamespaceObject, ObjectSet, PodObject } from '../model/objects.ts';
import { type Direction, type Policy, PROTOCOLS } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import { type Enrolment, isEnrolled } from './enrolment.ts';
import type { FlowQuestion, HalfAnswer } from './evaluate.ts';
import { evaluateStaged, type StagedAnswer, selecting } from './evaluate-staged.ts';
import type { HttpRequest } from './http-match.ts';
import { podLabels } from './identities.ts';
import { unionOfPorts } from './named-ports.ts';
import { isOfApiServer } from './outside.ts';
import { remember } from './remember.ts';
import { Resolver } from './resolve.ts';
import { DEFAULT_ENFORCEMENT, type Enforcement, Stages } from './stages.ts';

export interface CheckQuestion {
  /** NS/POD, an IP address, `world` or `host`. A bare name is a pod in the namespace `default`. */
  readonly from: string;
  readonly to: string;
  /** PORT/PROTOCOL; ICMP and ICMPv6 have a type for a port. */
  readonly port: string;
  /** METHOD PATH, the path as a client sends it, e.g. `GET /api?x=1`. */
  readonly http?: string | undefined;
  /** NAME=VALUE; only `host` counts for rules so far. Without one the host is empty. */
  readonly header?: readonly string[] | undefined;
  /** Names that answers of DNS gave for the destination, lower case. */
  readonly names?: readonly string[] | undefined;
}

/** How the agents are set up that would enforce it. */
export interface CheckTerms {
  readonly enforcement?: Enforcement;
  readonly enrol?: Enrolment;
}

export interface CheckedPolicy {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Path of the rule below `spec`; '' where the policy as a whole counts (default deny). */
  readonly rule: string;
}

export interface CheckedHalf {
  /** AUDIT: it passes, and these policies would deny it if they were enforced. */
  readonly verdict: 'ALLOWED' | 'DENIED' | 'AUDIT';
  readonly policies: readonly CheckedPolicy[];
  /**
   * no-endpoint: this end is not a pod, or one that is not enrolled, and nothing is enforced there. authentication-fails: these rules admit, but under
   * authentication that always fails (mode test-always-fail). The others: see HalfAnswer.
   */
  readonly reason: HalfAnswer['reason'] | 'no-endpoint' | 'authentication-fails';
}

/** The shape that `-o json` prints. */
export interface CheckAnswer {
  readonly verdict: 'ALLOWED' | 'DENIED' | 'AUDIT';
  /** HTTP rules of one end or both have a say. */
  readonly l7: boolean;
  readonly egress: CheckedHalf;
  readonly ingress: CheckedHalf;
  /** required: both ends must be proven before the flow passes, and the verdict is what it gets then. */
  readonly authentication: 'required' | 'disabled';
  /** What is refused among the objects; absent when nothing is. */
  readonly issues?: readonly Issue[];
}

type End =
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

/**
 * @param objects what the files say; a refused object counts as the agent would count it
 * @throws USAGE when an end, the port or the request cannot be read, NOT_FOUND when there is no such pod
 */
export function checkPolicy(objects: ObjectSet, question: CheckQuestion, terms: CheckTerms = {}): CheckAnswer {
  const { enforcement = DEFAULT_ENFORCEMENT, enrol = 'all' } = terms;
  const source = findEnd(objects, question.from);
  const destination = findEnd(objects, question.to);
  const { protocol, port } = parsePort(question.port);
  const flow: FlowQuestion = {
    source: labelsOf(objects, source, destination),
    destination: labelsOf(objects, destination, source),
    sourceAddress: addressOf(source),
    destinationAddress: addressOf(destination),
    destinationNames: question.names,
    namedPorts: destination.kind === 'pod' ? namedPorts(objects, destination.pod) : undefined,
    protocol,
    port,
    http: readRequest(question, protocol),
  };
  const policies = new Resolver().resolve(
    objects.policies.flatMap(({ policy }) => policy ?? []),
    objects,
  );
  const stages = new Stages(enforcement);
  const answer = (direction: Direction, end: End): StagedAnswer | undefined => {
    if (end.kind !== 'pod') return undefined;
    const namespace = namespaceOf(objects, end.pod);
    if (!isEnrolled(enrol, namespace)) return undefined;
    const own: readonly Policy[] = selecting(direction, flow, policies);
    return evaluateStaged(direction, flow, stages.of(own, namespace?.audit === true));
  };
  const answers = { egress: answer('egress', source), ingress: answer('ingress', destination) };
  const [egress, ingress] = [toHalf(answers.egress), toHalf(answers.ingress)];
  return {
    verdict: together(egress, ingress),
    l7: answers.egress?.answer.l7 === true || answers.ingress?.answer.l7 === true,
    egress,
    ingress,
    authentication: Object.values(answers).some(isUnderAuthentication) ? 'required' : 'disabled',
    ...(objects.issues.length > 0 ? { issues: objects.issues } : {}),
  };
}

/** One end that denies is enough, and it is an audit when one would. */
function together(...halves: readonly CheckedHalf[]): CheckAnswer['verdict'] {
  const has = (verdict: CheckAnswer['verdict']): boolean => halves.some((half) => half.verdict === verdict);
  return has('DENIED') ? 'DENIED' : has('AUDIT') ? 'AUDIT' : 'ALLOWED';
}

function namespaceOf({ namespaces }: ObjectSet, { namespace }: PodObject): NamespaceObject | undefined {
  return namespaces.find(({ name }) => name === namespace);
}

/** Its own, and those of every pod with its labels: of the same identity. */
function namedPorts(objects: ObjectSet, pod: PodObject): FlowQuestion['namedPorts'] {
  const textOf = (each: PodObject): string => labelList(podLabels(each, namespaceOf(objects, each))).join('\n');
  const text = textOf(pod);
  const alike = objects.pods.filter((each) => !each.hostNetwork && each.namedPorts.length > 0 && textOf(each) === text);
  return { own: pod.namedPorts, shared: unionOfPorts(alike.map((each) => each.namedPorts)) };
}

/** @param answer undefined: nothing is enforced at this end */
function toHalf(staged: StagedAnswer | undefined): CheckedHalf {
  if (staged === undefined) return { verdict: 'ALLOWED', policies: [], reason: 'no-endpoint' };
  const { enforced, answer } = staged;
  const { reason, rules, policies } = answer;
  const fails = staged.verdict !== 'DENIED' && enforced.authentication === 'always-fail';
  return {
    verdict: fails ? 'DENIED' : staged.verdict,
    policies: [...rules, ...policies.map((ref) => ({ ...ref, rule: '' }))],
    reason: fails ? 'authentication-fails' : reason,
  };
}

function isUnderAuthentication(staged: StagedAnswer | undefined): boolean {
  return staged !== undefined && staged.enforced.authentication !== 'none';
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
