/** Policies of kinds that are known and not read: they must not just be an unknown object, their authors count on them. */
import type { PolicyRef } from '../model/policy.ts';
import { issue, type Manifest } from './document.ts';
import type { ParsedPolicy } from './parsed-policy.ts';

const TIERS =
  'policies of tiers (Admin, Baseline) rank above and below namespaces, and there is one tier here; write a CiliumClusterwideNetworkPolicy';

/** Kind -> why it is refused. */
export const FOREIGN_POLICIES: Readonly<Record<string, string>> = {
  AdminNetworkPolicy: TIERS,
  BaselineAdminNetworkPolicy: TIERS,
  ClusterNetworkPolicy: TIERS,
};

/** @returns undefined: not one of them */
export function refuseForeignPolicy(manifest: Manifest): ParsedPolicy | undefined {
  const { kind, name, origin } = manifest;
  const reason = Object.hasOwn(FOREIGN_POLICIES, kind) ? FOREIGN_POLICIES[kind] : undefined;
  if (reason === undefined || !manifest.apiVersion.startsWith('policy.networking.k8s.io/')) return undefined;
  const ref: PolicyRef = { kind, namespace: '', name };
  const hint = 'Nothing of it is enforced. See docs/reference/policy.md#other-kinds.';
  const message = `kind: ${kind} is not supported: ${reason}`;
  const found = issue('KIND_NOT_SUPPORTED', 'kind', message, origin, `${kind}/${name}`, hint);
  return { ref, issues: [found], policies: [], closed: [] };
}
