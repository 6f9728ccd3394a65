/** Labels and selectors, with Cilium's sources: `k8s:app=web`, `reserved:host`; a selector's `any:app` takes every source. */
import type { Selector } from './policy.ts';

/** Prefixed key -> value. */
export type Labels = ReadonlyMap<string, string>;

export const NAMESPACE_KEY = 'io.kubernetes.pod.namespace';
export const SERVICE_ACCOUNT_KEY = 'io.cilium.k8s.policy.serviceaccount';
export const CLUSTER_KEY = 'io.cilium.k8s.policy.cluster';
export const NAMESPACE_LABELS_PREFIX = 'io.cilium.k8s.namespace.labels.';

/** The name of the only cluster. */
export const CLUSTER = 'default';

const SOURCES = ['k8s', 'reserved', 'unspec'];
const SOURCE_PREFIX = /^(any|k8s|reserved|unspec|cidr|cidrgroup|node|fqdn|gen|cni|directory):/;

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

/** Whether every label that the selector asks for is there. An empty selector takes everything. */
export function selects(selector: Selector, labels: Labels): boolean {
  for (const [key, value] of selector.matchLabels) if (!holds(labels, key, value)) return false;
  return true;
}
