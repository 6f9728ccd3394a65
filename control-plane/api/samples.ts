/** Policies for tests, from as little text as they need. */
import type { Policy } from '../model/policy.ts';
import { parseManifests } from './manifests.ts';
import type { ParsedPolicy } from './parsed-policy.ts';

export const HEAD = 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: { name: p, namespace: shop }\n';
export const CLUSTERWIDE_HEAD =
  'apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: { name: p }\n';
export const KUBERNETES_HEAD =
  'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: p, namespace: shop }\n';

export function parsePolicy(text: string): ParsedPolicy {
  const [object] = parseManifests(text, 'p.yaml').objects;
  if (object?.kind !== 'Policy') throw new Error('not a policy');
  return object.object;
}

/** A policy about `app: api` with these sections. */
export function withSections(sections: string, head = HEAD): ParsedPolicy {
  return parsePolicy(`${head}spec:\n  endpointSelector: { matchLabels: { app: api } }\n  ${sections}\n`);
}

/** Of an object that is good and has one rule set. */
export function only({ policies, issues }: ParsedPolicy): Policy {
  if (issues.length > 0) throw new Error(issues.map(({ message }) => message).join('\n'));
  const [policy] = policies;
  if (policy === undefined || policies.length > 1) throw new Error(`${policies.length} policies`);
  return policy;
}

/** "CODE path" of each. */
export function faults({ issues }: Pick<ParsedPolicy, 'issues'>): string[] {
  return issues.map(({ code, path }) => `${code} ${path}`);
}
