/** `policy check`: what would a flow between two ends get, by the evaluator, without a kernel or an agent? */
import { addressKey, parseAddress } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';
import { type Labels, reservedLabels } from '../model/labels.ts';
import type { NodeObject, ObjectSet, PodObject } from '../model/objects.ts';
import { type Direction, PROTOCOLS } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import { evaluateHalf, type FlowQuestion, type HalfAnswer } from './evaluate.ts';
import type { HttpRequest } from './http-match.ts';
import { podLabels } from './identities.ts';

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
}

export interface CheckedPolicy {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Path of the rule below `spec`; '' where the policy as a whole counts (default deny). */
  readonly rule: string;
}

export interface CheckedHalf {
  readonly verdict: 'ALLOWED' | 'DENIED';
  readonly policies: readonly CheckedPolicy[];
  /**
   * no-endpoint: this end is not a pod, and nothing is enforced there. authentication-fails: these rules admit, but under
   * authentication that always fails (mode test-always-fail). The others: see HalfAnswer.
   */
  readonly reason: HalfAnswer['reason'] | 'no-endpoint' | 'authentication-fails';
}

/** The shape that `-o json` prints. */
export interface CheckAnswer {
  readonly verdict: 'ALLOWED' | 'DENIED';
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
  | { readonly kind: 'reserved'; readonly name: 'host' | 'world' | 'unmanaged' }
  /** An address of a node: the host to the pods of that node. @see labelsOf */
  | { readonly kind: 'node'; readonly node: string; readonly inPodRange: boolean };

/**
 * @param objects what the files say; a refused object counts as the agent would count it
 * @throws USAGE when an end, the port or the request cannot be read, NOT_FOUND when there is no such pod
 */
export function checkPolicy(objects: ObjectSet, question: CheckQuestion): CheckAnswer {
  const source = findEnd(objects, question.from);
  const destination = findEnd(objects, question.to);
  const { protocol, port } = parsePort(question.port);
  const flow: FlowQuestion = {
    source: labelsOf(objects, source, destination),
    destination: labelsOf(objects, destination, source),
    protocol,
    port,
    http: readRequest(question, protocol),
  };
  const policies = objects.policies.flatMap(({ policy }) => policy ?? []);
  const answer = (direction: Direction, end: End): HalfAnswer | undefined =>
    end.kind === 'pod' ? evaluateHalf(direction, flow, policies) : undefined;
  const answers = { egress: answer('egress', source), ingress: answer('ingress', destination) };
  const [egress, ingress] = [toHalf(answers.egress), toHalf(answers.ingress)];
  return {
    verdict: egress.verdict === 'ALLOWED' && ingress.verdict === 'ALLOWED' ? 'ALLOWED' : 'DENIED',
    l7: answers.egress?.l7 === true || answers.ingress?.l7 === true,
    egress,
    ingress,
    authentication: Object.values(answers).some(isUnderAuthentication) ? 'required' : 'disabled',
    ...(objects.issues.length > 0 ? { issues: objects.issues } : {}),
  };
}

/** @param answer undefined: nothing is enforced at this end */
function toHalf(answer: HalfAnswer | undefined): CheckedHalf {
  if (answer === undefined) return { verdict: 'ALLOWED', policies: [], reason: 'no-endpoint' };
  const { verdict, reason, rules, policies } = answer;
  const fails = verdict === 'ALLOWED' && answer.authentication === 'always-fail';
  return {
    verdict: fails ? 'DENIED' : verdict,
    policies: [...rules, ...policies.map((ref) => ({ ...ref, rule: '' }))],
    reason: fails ? 'authentication-fails' : reason,
  };
}

function isUnderAuthentication(answer: HalfAnswer | undefined): boolean {
  return answer !== undefined && answer.authentication !== 'none';
}

function findEnd(objects: ObjectSet, text: string): End {
  if (text === 'world' || text === 'host') return { kind: 'reserved', name: text };
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
  return pod.hostNetwork ? { kind: 'node', node: pod.nodeName, inPodRange: false } : { kind: 'pod', pod };
}

function tryAddress(text: string): Uint8Array | undefined {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof SidestepError) return undefined;
    throw error;
  }
}

function endAt({ pods, nodes }: ObjectSet, address: Uint8Array): End {
  const key = addressKey(address);
  const owns = (addresses: readonly Uint8Array[]): boolean => addresses.some((each) => addressKey(each) === key);
  const pod = pods.find((each) => !each.hostNetwork && owns(each.addresses));
  if (pod) return { kind: 'pod', pod };
  const inPodRange = nodes.some((node) => node.podRanges.some((range) => contains(range, address)));
  const node = nodes.find((each) => owns(each.addresses));
  if (node) return { kind: 'node', node: node.name, inPodRange };
  return { kind: 'reserved', name: inPodRange ? 'unmanaged' : 'world' };
}

function contains({ address, bits }: NodeObject['podRanges'][number], candidate: Uint8Array): boolean {
  return candidate.every((byte, i) => {
    const mask = 0xff & (0xff << (8 - Math.min(8, Math.max(0, bits - i * 8))));
    return (byte & mask) === address[i];
  });
}

/** A node is the host to its own pods only; another node is to them what its address is: world, or unmanaged. */
function labelsOf(objects: ObjectSet, end: End, peer: End): Labels {
  switch (end.kind) {
    case 'pod':
      return podLabels(
        end.pod,
        objects.namespaces.find(({ name }) => name === end.pod.namespace),
      );
    case 'reserved':
      return reservedLabels(end.name);
    case 'node': {
      const home = peer.kind === 'pod' ? peer.pod.nodeName : '';
      // A pod without a node name is on whatever node reads its manifest.
      if (home === '' || end.node === '' || home === end.node) return reservedLabels('host');
      return reservedLabels(end.inPodRange ? 'unmanaged' : 'world');
    }
  }
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
  const hosts = header.map((text) => {
    const [, name = '', value = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
    if (name.toLowerCase() !== 'host') throw usage(text, 'host=NAME, and rules look at no other header');
    return value.replace(/^[ \t]+|[ \t]+$/g, '');
  });
  if (http === undefined) {
    if (header.length > 0) throw new SidestepError('USAGE', 'a header belongs to a request: add --http');
    return undefined;
  }
  const [, method = '', path] = /^([\w!#$%&'*+.^`|~-]+) (\/\S*)$/.exec(http) ?? [];
  if (path === undefined) throw usage(http, 'METHOD PATH, and the path begins with / (the host is --header host=NAME)');
  if (method === 'CONNECT') throw usage(http, 'a request with a path, which CONNECT has not: Envoy refuses it');
  if (protocol !== PROTOCOLS.TCP) throw new SidestepError('USAGE', 'HTTP requests need a port of TCP');
  // Envoy joins what stands twice, but for empty ones.
  return { method, path, host: hosts.filter((host) => host !== '').join(',') };
}
