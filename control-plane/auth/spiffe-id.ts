/** SPIFFE IDs of nodes and workloads (SPIFFE-ID §2: lower-case trust domain, path segments of letters, digits and .-_). */
import type { ServiceAccountRef } from './svid.ts';

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^[a-zA-Z0-9._-]+$/;

export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}

export function nodeId(trustDomain: string, name: string): string {
  return `spiffe://${trustDomain}/node/${name}`;
}

export function workloadId(trustDomain: string, { namespace, serviceAccount }: ServiceAccountRef): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

export type SpiffeId =
  | { readonly kind: 'node'; readonly trustDomain: string; readonly name: string }
  | ({ readonly kind: 'workload'; readonly trustDomain: string } & ServiceAccountRef);

/** @returns undefined for an ID that is neither a node's nor a workload's */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  const [scheme, empty, trustDomain = '', ...path] = text.split('/');
  if (scheme !== 'spiffe:' || empty !== '' || !isTrustDomain(trustDomain) || !path.every(isSegment)) return undefined;
  const [first, second = '', third, fourth = ''] = path;
  if (first === 'node' && path.length === 2) return { kind: 'node', trustDomain, name: second };
  if (first === 'ns' && third === 'sa' && path.length === 4)
    return { kind: 'workload', trustDomain, namespace: second, serviceAccount: fourth };
  return undefined;
}

function isSegment(text: string): boolean {
  return SEGMENT.test(text) && text !== '.' && text !== '..';
}
