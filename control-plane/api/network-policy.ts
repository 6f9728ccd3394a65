/** NetworkPolicy (networking.k8s.io/v1) -> our rules, with Cilium's reading of what Kubernetes leaves open (cilium.md §1.8). */
import type { CidrMatch, Direction, Peers, PolicyRef, PortMatch, Rule, Selector } from '../model/policy.ts';
import { PROTOCOLS } from '../model/policy.ts';
import { readAudit } from './annotations.ts';
import { readBlock } from './cidr-rules.ts';
import { formatPath, type Manifest, nameProblems, type Path } from './document.ts';
import { conclude, type ParsedPolicy, type ReadSpec } from './parsed-policy.ts';
import { type Refuse, refuseFields } from './policy-fields.ts';
import { PolicyProblems } from './policy-problems.ts';
import { isServiceName, MOST } from './port-numbers.ts';
import { both, readNamespaceSelector, readPodSelector, within } from './selectors.ts';
import { isAbsent, needMapping, quote, readEach, readList, readMapping } from './values.ts';

export const NETWORK_POLICY = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' } as const;

const SECTIONS = {
  ingress: { type: 'Ingress', peers: 'from', place: 'network-policy-ingress' },
  egress: { type: 'Egress', peers: 'to', place: 'network-policy-egress' },
} as const;

export function parseNetworkPolicy(manifest: Manifest): ParsedPolicy {
  const ref: PolicyRef = {
    kind: NETWORK_POLICY.kind,
    namespace: manifest.namespace || 'default',
    name: manifest.name,
  };
  const problems = new PolicyProblems(manifest, ref, 'network-policy');
  const { refuse } = problems;
  const { value } = manifest;
  refuseFields(value, 'network-policy', [], refuse);
  if (manifest.apiVersion !== NETWORK_POLICY.apiVersion)
    refuse('FIELD_INVALID', ['apiVersion'], `${quote(value['apiVersion'])} must be ${NETWORK_POLICY.apiVersion}`);
  for (const { path, code, message } of nameProblems(manifest)) refuse(code, path, message);
  const audit = readAudit(value, refuse);
  return conclude(ref, problems, [readSpec(value['spec'], ref, audit, refuse)]);
}

function readSpec(value: unknown, ref: PolicyRef, audit: boolean, refuse: Refuse): ReadSpec | undefined {
  const path = ['spec'];
  const spec = isAbsent(value) ? {} : needMapping(value, 'network-policy-spec', path, refuse);
  if (spec === undefined) return undefined;
  const subject = readPodSelector(spec['podSelector'] ?? {}, [...path, 'podSelector'], refuse);
  const sections = readTypes(spec, path, refuse);
  const rules = (['ingress', 'egress'] as const).flatMap((direction) =>
    readEach(spec[direction], [...path, direction], refuse, (rule, at) => readRule(rule, direction, ref, at, refuse)),
  );
  if (subject === undefined) return undefined;
  const policy = {
    ref,
    subject: within(ref.namespace, subject),
    defaultDeny: sections,
    // A section of a direction that is not isolated says nothing.
    rules: rules.filter(({ direction }) => sections[direction]),
    ...(audit ? { audit } : {}),
    refused: false,
  };
  return { policy, sections };
}

function readTypes(spec: Record<string, unknown>, path: Path, refuse: Refuse): Record<Direction, boolean> {
  const at = [...path, 'policyTypes'];
  const types = readList(spec['policyTypes'], at, refuse);
  for (const [i, type] of types.entries())
    if (type !== 'Ingress' && type !== 'Egress')
      refuse('FIELD_INVALID', [...at, i], `${quote(type)} is not one of Ingress, Egress`);
  const known = types.filter((type) => type === 'Ingress' || type === 'Egress');
  if (known.length > 0) return { ingress: known.includes('Ingress'), egress: known.includes('Egress') };
  const { egress } = spec;
  return { ingress: true, egress: !isAbsent(egress) && !(Array.isArray(egress) && egress.length === 0) };
}

function readRule(value: unknown, direction: Direction, ref: PolicyRef, path: Path, refuse: Refuse): Rule | undefined {
  const { peers: field, place } = SECTIONS[direction];
  const rule = needMapping(value, place, path, refuse);
  if (rule === undefined) return undefined;
  const peers = readPeers(rule[field], ref.namespace, [...path, field], refuse);
  const ports = readPorts(rule['ports'], [...path, 'ports'], refuse);
  return { ref: { ...ref, rule: formatPath(path.slice(1)) }, direction, peers, ports };
}

function readPeers(value: unknown, namespace: string, path: Path, refuse: Refuse): Peers {
  const entries = readList(value, path, refuse);
  if (entries.length === 0) return { kind: 'any' };
  const peers = readEach(entries, path, refuse, (entry, at) => readPeer(entry, namespace, at, refuse));
  const cidrs = peers.flatMap((peer) => ('prefix' in peer ? [peer] : []));
  const selectors = peers.flatMap((peer) => ('prefix' in peer ? [] : [peer]));
  return { kind: 'selected', selectors, entities: [], ...(cidrs.length === 0 ? {} : { cidrs }) };
}

function readPeer(value: unknown, namespace: string, path: Path, refuse: Refuse): Selector | CidrMatch | undefined {
  const peer = needMapping(value, 'network-policy-peer', path, refuse);
  if (peer === undefined) return undefined;
  const { podSelector, namespaceSelector } = peer;
  const block = readMapping(peer['ipBlock'], 'ip-block', [...path, 'ipBlock'], refuse);
  const pods = isAbsent(podSelector) ? undefined : readPodSelector(podSelector, [...path, 'podSelector'], refuse);
  const namespaces = isAbsent(namespaceSelector)
    ? undefined
    : readNamespaceSelector(namespaceSelector, [...path, 'namespaceSelector'], refuse);
  const hasSelector = !isAbsent(podSelector) || !isAbsent(namespaceSelector);
  if (block !== undefined) {
    if (hasSelector) refuse('FIELD_INVALID', [...path, 'ipBlock'], 'not together with selectors; write two peers');
    return readBlock(block['cidr'], block['except'], [...path, 'ipBlock'], refuse, true);
  }
  if (!hasSelector && isAbsent(peer['ipBlock']))
    refuse('FIELD_REQUIRED', path, 'needs one of podSelector, namespaceSelector, ipBlock');
  if (namespaces === undefined) return pods && within(namespace, pods);
  return pods === undefined ? namespaces : both(namespaces, pods);
}

function readPorts(value: unknown, path: Path, refuse: Refuse): PortMatch[] {
  return readEach(value, path, refuse, (entry, at) => readPort(entry, at, refuse));
}

function readPort(value: unknown, path: Path, refuse: Refuse): PortMatch | undefined {
  const port = needMapping(value, 'network-policy-port', path, refuse);
  if (port === undefined) return undefined;
  const protocol = readProtocol(port['protocol'], [...path, 'protocol'], refuse);
  const { port: first, endPort } = port;
  const hasEnd = !isAbsent(endPort);
  if (hasEnd && !isPort(endPort))
    refuse('FIELD_INVALID', [...path, 'endPort'], `${quote(endPort)} is not a port (a number from 1 to ${MOST})`);
  if (isAbsent(first)) {
    if (hasEnd) refuse('FIELD_REQUIRED', [...path, 'port'], 'a range needs its first port');
    return { protocol, port: 0 };
  }
  if (isPort(first)) {
    if (!isPort(endPort) || endPort === first) return { protocol, port: first };
    if (endPort < first) refuse('FIELD_INVALID', [...path, 'endPort'], `${endPort} is below port ${first}`);
    return { protocol, port: first, endPort };
  }
  if (typeof first === 'string' && isServiceName(first)) {
    if (hasEnd) refuse('FIELD_INVALID', [...path, 'endPort'], 'a named port has no range');
    return { protocol, port: 0, name: first };
  }
  const what = typeof first === 'string' && /^\d+$/.test(first) ? 'must be a number (without quotes)' : 'is not a port';
  refuse('FIELD_INVALID', [...path, 'port'], `${quote(first)} ${what}`);
  return undefined;
}

function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MOST;
}

function readProtocol(value: unknown, path: Path, refuse: Refuse): number {
  const name = isAbsent(value) || value === '' ? 'TCP' : value;
  if (name === 'TCP' || name === 'UDP' || name === 'SCTP') return PROTOCOLS[name];
  refuse('FIELD_INVALID', path, `${quote(value)} is not a protocol (TCP, UDP, SCTP)`);
  return PROTOCOLS.TCP;
}
