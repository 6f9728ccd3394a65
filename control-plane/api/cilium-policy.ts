/**
 * CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2) -> our rules. Strict: what we do not do is refused
 * by path, never ignored. Semantics of fields: docs.cilium.io, security/policy; the fields it may have stand in cilium-fields.ts.
 */
import type { Policy, PolicyRef } from '../model/policy.ts';
import { readAudit } from './annotations.ts';
import { readRule, SECTIONS, type Section } from './cilium-rule.ts';
import { type Manifest, nameProblems, type Path } from './document.ts';
import { type PlacedRule, refuseMixedLayer7 } from './layer7-mix.ts';
import { conclude, type ParsedPolicy, type ReadSpec } from './parsed-policy.ts';
import { type Refuse, refuseFields } from './policy-fields.ts';
import { PolicyProblems } from './policy-problems.ts';
import { readSubject } from './selectors.ts';
import { isAbsent, needMapping, quote, readEach, readList, readMapping, readText } from './values.ts';

export const CILIUM_API = 'cilium.io/v2';
export const CILIUM_POLICY = 'CiliumNetworkPolicy';
export const CILIUM_CLUSTERWIDE_POLICY = 'CiliumClusterwideNetworkPolicy';

/** Cilium's bound of `log.value`; printable ASCII. */
const LOG_VALUE = /^[\x20-\x7e]{1,32}$/;

export function parseCiliumPolicy(manifest: Manifest): ParsedPolicy {
  const isClusterwide = manifest.kind === CILIUM_CLUSTERWIDE_POLICY;
  const namespace = isClusterwide ? '' : manifest.namespace || 'default';
  const ref: PolicyRef = { kind: manifest.kind, namespace, name: manifest.name };
  const problems = new PolicyProblems(manifest, ref, 'policy');
  const { refuse } = problems;
  const { value } = manifest;
  refuseFields(value, 'policy', [], refuse);
  if (manifest.apiVersion !== CILIUM_API)
    refuse('FIELD_INVALID', ['apiVersion'], `${quote(value['apiVersion'])} must be ${CILIUM_API}`);
  for (const { path, code, message } of nameProblems(manifest)) refuse(code, path, message);
  if (isClusterwide && manifest.namespace !== '')
    refuse('FIELD_INVALID', ['metadata', 'namespace'], 'a clusterwide policy belongs to no namespace');
  const audit = readAudit(value, refuse);
  const specs = specsOf(value, refuse);
  if (specs.length === 0 && problems.isEmpty) refuse('POLICY_EMPTY', ['spec'], 'the policy has neither spec nor specs');
  const read = specs.map(({ spec, path }) => readSpec(spec, ref, path, refuse));
  return conclude(ref, problems, audit ? read.map(audited) : read);
}

function audited(spec: ReadSpec | undefined): ReadSpec | undefined {
  return spec && { ...spec, policy: { ...spec.policy, audit: true } };
}

function specsOf(value: Record<string, unknown>, refuse: Refuse): { spec: unknown; path: Path }[] {
  const { spec, specs } = value;
  return [
    ...(isAbsent(spec) ? [] : [{ spec, path: ['spec'] }]),
    ...readList(specs, ['specs'], refuse).map((each, i) => ({ spec: each, path: ['specs', i] })),
  ];
}

/** undefined when the selector cannot be read: then nothing of it can be enforced. */
function readSpec(value: unknown, ref: PolicyRef, path: Path, refuse: Refuse): ReadSpec | undefined {
  const spec = needMapping(value, 'spec', path, refuse);
  if (spec === undefined) return undefined;
  readText(spec['description'], [...path, 'description'], refuse);
  const subject = subjectOf(spec, ref, path, refuse);
  const sections = { ingress: false, egress: false };
  const placed: PlacedRule[] = [];
  // `rule` is the path below `spec`; below `specs` it keeps the index.
  const base = path.length === 1 ? path : [];
  for (const section of Object.keys(SECTIONS) as Section[]) {
    const list = spec[section];
    // An empty or null list beside another section is no section (the API server drops it).
    if (isAbsent(list) || (Array.isArray(list) && list.length === 0)) continue;
    sections[SECTIONS[section].direction] = true;
    const at = [...path, section];
    for (const [i, each] of readList(list, at, refuse).entries())
      for (const rule of readRule(each, section, ref, [...at, i], base, refuse))
        placed.push({ rule, path: [...at, i] });
  }
  refuseMixedLayer7(placed, refuse);
  if (!sections.ingress && !sections.egress)
    refuse('POLICY_EMPTY', path, 'needs a section (ingress, egress, ingressDeny, egressDeny) that is not empty');
  const defaultDeny = readDefaultDeny(spec['enableDefaultDeny'], sections, [...path, 'enableDefaultDeny'], refuse);
  const log = readLog(spec['log'], [...path, 'log'], refuse);
  const labels = readRuleLabels(spec['labels'], [...path, 'labels'], refuse);
  if (subject === undefined) return undefined;
  const policy: Policy = {
    ref,
    subject,
    defaultDeny,
    rules: placed.map(({ rule }) => rule),
    ...(log === undefined ? {} : { log }),
    ...(labels.length === 0 ? {} : { labels }),
    refused: false,
  };
  return { policy, sections };
}

function subjectOf(
  spec: Record<string, unknown>,
  ref: PolicyRef,
  path: Path,
  refuse: Refuse,
): Policy['subject'] | undefined {
  // A host policy is refused by name already, and would not be mended by another selector.
  if (isAbsent(spec['endpointSelector']) && !isAbsent(spec['nodeSelector'])) return undefined;
  return readSubject(spec['endpointSelector'], ref.namespace, [...path, 'endpointSelector'], refuse);
}

function readDefaultDeny(
  value: unknown,
  sections: Policy['defaultDeny'],
  path: Path,
  refuse: Refuse,
): Policy['defaultDeny'] {
  const asked = readMapping(value, 'enable-default-deny', path, refuse) ?? {};
  const read = (direction: 'ingress' | 'egress'): boolean => {
    const written = asked[direction];
    if (isAbsent(written)) return sections[direction];
    if (typeof written === 'boolean') return written;
    refuse('FIELD_INVALID', [...path, direction], `${quote(written)} must be true or false`);
    return true;
  };
  return { ingress: read('ingress'), egress: read('egress') };
}

function readLog(value: unknown, path: Path, refuse: Refuse): string | undefined {
  const log = readMapping(value, 'log', path, refuse);
  if (log === undefined) return undefined;
  const at = [...path, 'value'];
  const text = readText(log['value'], at, refuse);
  if (isAbsent(log['value']) || log['value'] === '') refuse('FIELD_REQUIRED', at, 'is required');
  if (text === undefined || LOG_VALUE.test(text)) return text;
  refuse('FIELD_INVALID', at, `${quote(text)} must be at most 32 printable characters of ASCII`);
  return undefined;
}

/** `source:key=value`, as Cilium writes them. */
function readRuleLabels(value: unknown, path: Path, refuse: Refuse): readonly string[] {
  return readEach(value, path, refuse, (entry, at) => {
    const label = needMapping(entry, 'rule-label', at, refuse);
    if (label === undefined) return undefined;
    const key = readText(label['key'], [...at, 'key'], refuse);
    const text = readText(label['value'], [...at, 'value'], refuse) ?? '';
    const source = readText(label['source'], [...at, 'source'], refuse) ?? 'unspec';
    if (isAbsent(label['key']) || label['key'] === '') refuse('FIELD_REQUIRED', [...at, 'key'], 'is required');
    return key === undefined ? undefined : `${source}:${key}${text === '' ? '' : `=${text}`}`;
  });
}
