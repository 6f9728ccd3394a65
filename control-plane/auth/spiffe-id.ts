/** SPIFFE IDs of nodes and workloads (SPIFFE-ID §2: lower-case trust domain, path segments of letters, digits and .-_). */
import type { ServiceAccountRef } from './svid.ts';

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^[a-zA-Z0-9._-]+$/;
const MAX_LENGTH = 2048;

export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}

export function nodeId(trustDomain: string, name: string): string {
  return `spiffe://${trustDomain}/node/${name}`;
}

export function workloadId(trustDomain: string, { namespace, serviceAccount }: ServiceAccountRef): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

/** The embedded certificate authority's own, as a server. */
export function authorityId(trustDomain: string): string {
  return `spiffe://${trustDomain}/ca`;
}

export type SpiffeId =
  | { readonly kind: 'node'; readonly trustDomain: string; readonly name: string }
  | ({ readonly kind: 'workload'; readonly trustDomain: string } & ServiceAccountRef);

/** Any ID, in its parts. @returns undefined for what is no SPIFFE ID (§2: at most 2048 bytes, no empty, `.` or `..` segment) */
export function splitSpiffeId(
  text: string,
): { readonly trustDomain: string; readonly path: readonly string[] } | undefined {
  const [scheme, empty, trustDomain = '', ...path] = text.split('/');
  if (text.length > MAX_LENGTH || scheme !== 'spiffe:' || empty !== '') return undefined;
  return isTrustDomain(trustDomain) && path.every(isSegment) ? { trustDomain, path } : undefined;
}

/** @returns undefined for an ID that is neither a node's nor a workload's */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  const parts = splitSpiffeId(text);
  if (parts === undefined) return undefined;
  const { trustDomain, path } = parts;
  const [first, second = '', third, fourth = ''] = path;
  if (first === 'node' && path.length === 2) return { kind: 'node', trustDomain, name: second };
  if (first === 'ns' && third === 'sa' && path.length === 4)
    return { kind: 'workload', trustDomain, namespace: second, serviceAccount: fourth };
  return undefined;
}

/** Can it be a segment of an ID's path: a node's name, a namespace, a service account? */
export function isSegment(text: string): boolean {
  return SEGMENT.test(text) && text !== '.' && text !== '..';
}
