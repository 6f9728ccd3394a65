/** Labels and selectors, with Cilium's sources: `k8s:app=web`, `reserved:host`; a selector's `any:app` takes every source. */
import type { LabelExpression, Selector } from './policy.ts';

/** Prefixed key -> value. */
export type Labels = ReadonlyMap<string, string>;

export const NAMESPACE_KEY = 'io.kubernetes.pod.namespace';
export const SERVICE_ACCOUNT_KEY = 'io.cilium.k8s.policy.serviceaccount';
export const CLUSTER_KEY = 'io.cilium.k8s.policy.cluster';
export const NAMESPACE_LABELS_PREFIX = 'io.cilium.k8s.namespace.labels.';

/** The name of the only cluster. */
export const CLUSTER = 'default';

/** Sources of the labels that identities have here. */
const SOURCES = ['k8s', 'reserved', 'unspec'];
/** Cilium's other sources: what a selector cannot name here. Of cidr and fqdn are our own labels of addresses outside. */
const LATER_SOURCES = ['cidr', 'cidrgroup', 'node', 'fqdn', 'gen', 'cni', 'directory'];
const SOURCE_PREFIX = /^([^/]*?):/;

/**
 * Labels that a controller gives to every revision or replica: with them each pod would be an identity of its own.
 * Cilium leaves them out too (docs.cilium.io, "Limiting Identity-Relevant Labels").
 */
const PER_REPLICA: ReadonlySet<string> = new Set([
  'pod-template-hash',
  'pod-template-generation',
  'controller-revision-hash',
  'controller-uid',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-completion-index',
]);

// Kubernetes: an optional DNS subdomain, then a name; name and value are at most 63 characters.
const LABEL_PREFIX = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** Whether Kubernetes takes it as the key of a label. */
export function isLabelKey(key: string): boolean {
  const [name = '', prefix, ...rest] = key.split('/').reverse();
  return LABEL_NAME.test(name) && (prefix === undefined || LABEL_PREFIX.test(prefix)) && rest.length === 0;
}

/** Whether Kubernetes takes it as the value of a label. */
export function isLabelValue(value: string): boolean {
  return value === '' || LABEL_NAME.test(value);
}

/** Whether a pod's label becomes part of its identity. */
export function isIdentityLabel(key: string): boolean {
  return !PER_REPLICA.has(key);
}

/** Where a selector's key says its label comes from: known here, known to Cilium only, or to nobody. */
export function sourceOf(key: string): 'here' | 'later' | 'unknown' {
  const source = SOURCE_PREFIX.exec(key)?.[1] ?? 'any';
  if (source === 'any' || SOURCES.includes(source)) return 'here';
  return LATER_SOURCES.includes(source) ? 'later' : 'unknown';
}

/** A selector's key with its source; without one it means any source. */
export function selectorKey(key: string): string {
  return SOURCE_PREFIX.test(key) ? key : `any:${key}`;
}

/** The key behind its source. */
export function bareKey(key: string): string {
  return key.slice(key.indexOf(':') + 1);
}

/** `k8s:app=web`, sorted: the text of a label set, equal for equal sets. */
export function labelList(labels: Labels): readonly string[] {
  return [...labels].map(([key, value]) => `${key}=${value}`).sort();
}

export function labelsOf(list: readonly string[]): Labels {
  return new Map(
    list.map((label) => {
      const at = label.indexOf('=');
      return at === -1 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
    }),
  );
}

export function reservedLabels(name: string): Labels {
  return new Map([[`reserved:${name}`, '']]);
}

function holds(labels: Labels, key: string, value: string): boolean {
  if (!key.startsWith('any:')) return labels.get(key) === value;
  const bare = key.slice('any:'.length);
  return SOURCES.some((source) => labels.get(`${source}:${bare}`) === value);
}

/** Whether every condition of the selector holds. An empty selector takes everything. */
export function selects({ matchLabels, matchExpressions = [] }: Selector, labels: Labels): boolean {
  for (const [key, value] of matchLabels) if (!holds(labels, key, value)) return false;
  return matchExpressions.every((expression) => fits(expression, labels));
}

function fits({ key, operator, values }: LabelExpression, labels: Labels): boolean {
  switch (operator) {
    case 'In':
      return values.some((value) => holds(labels, key, value));
    case 'NotIn':
      return !values.some((value) => holds(labels, key, value));
    case 'Exists':
      return has(labels, key);
    case 'DoesNotExist':
      return !has(labels, key);
  }
}

function has(labels: Labels, key: string): boolean {
  if (!key.startsWith('any:')) return labels.has(key);
  const bare = key.slice('any:'.length);
  return SOURCES.some((source) => labels.has(`${source}:${bare}`));
}

/** One text for each selector, equal for those that say the same in the same order. */
export function selectorText({ matchLabels, matchExpressions = [] }: Selector): string {
  const expressions = matchExpressions.map(({ key, operator, values }) => `${key} ${operator} ${values.join('|')}`);
  return [...[...matchLabels].flat(), ...expressions].join(',');
}

/** Every key that a selector has a condition on. */
export function keysOf({ matchLabels, matchExpressions = [] }: Selector): readonly string[] {
  return [...matchLabels.keys(), ...matchExpressions.map(({ key }) => key)];
}
