/** Which fields a CiliumNetworkPolicy may have, and which of them are Cilium's and not ours yet. */
import type { ErrorCode } from '../model/error.ts';
import type { Path } from './document.ts';

/** By place: what we read, and what exists in Cilium (its CRD, cilium.io/v2) and is refused as not supported. */
export const FIELDS = {
  object: { known: ['apiVersion', 'kind', 'metadata', 'spec', 'specs', 'status'], later: [] },
  spec: {
    known: ['endpointSelector', 'ingress', 'egress', 'description'],
    later: ['nodeSelector', 'ingressDeny', 'egressDeny', 'enableDefaultDeny', 'labels', 'log'],
  },
  selector: { known: ['matchLabels'], later: ['matchExpressions'] },
  ingress: {
    known: ['fromEndpoints', 'fromEntities', 'toPorts', 'authentication'],
    later: ['fromCIDR', 'fromCIDRSet', 'fromRequires', 'fromGroups', 'fromNodes', 'icmps'],
  },
  egress: {
    known: ['toEndpoints', 'toEntities', 'toPorts', 'authentication'],
    later: ['toCIDR', 'toCIDRSet', 'toRequires', 'toServices', 'toGroups', 'toNodes', 'toFQDNs', 'icmps'],
  },
  authentication: { known: ['mode'], later: [] },
  portRule: { known: ['ports', 'rules'], later: ['terminatingTLS', 'originatingTLS', 'serverNames', 'listener'] },
  rules: { known: ['http'], later: ['dns', 'kafka', 'l7proto', 'l7'] },
  http: { known: ['method', 'path', 'host'], later: ['headers', 'headerMatches'] },
  port: { known: ['port', 'protocol'], later: ['endPort'] },
} as const satisfies Record<string, { known: readonly string[]; later: readonly string[] }>;

export type Place = keyof typeof FIELDS;

export interface WrongField {
  readonly field: string;
  readonly code: 'FIELD_NOT_SUPPORTED' | 'FIELD_UNKNOWN';
  readonly message: string;
}

/** The fields of a mapping that do not belong there. */
export function wrongFields(value: Record<string, unknown>, place: Place): WrongField[] {
  const known: readonly string[] = FIELDS[place].known;
  const later: readonly string[] = FIELDS[place].later;
  return Object.keys(value)
    .filter((field) => !known.includes(field))
    .map((field) =>
      later.includes(field)
        ? { field, code: 'FIELD_NOT_SUPPORTED', message: 'not supported' }
        : { field, code: 'FIELD_UNKNOWN', message: `unknown field${suggestion(field, [...known, ...later])}` },
    );
}

/** Notes something wrong at a path. */
export type Refuse = (code: ErrorCode, path: Path, message: string) => void;

export function refuseFields(value: Record<string, unknown>, place: Place, path: Path, refuse: Refuse): void {
  for (const { field, code, message } of wrongFields(value, place)) refuse(code, [...path, field], message);
}

/** ", did you mean …" for the nearest field, when a letter in three at most is wrong. */
function suggestion(field: string, candidates: readonly string[]): string {
  const near = candidates
    .map((candidate) => ({ candidate, letters: distance(candidate.toLowerCase(), field.toLowerCase()) }))
    .filter(({ candidate, letters }) => letters <= Math.min(2, Math.floor(candidate.length / 3)))
    .sort((a, b) => a.letters - b.letters)[0];
  return near === undefined ? '' : `, did you mean ${near.candidate}?`;
}

/** Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    row = next;
  }
  return row[b.length] ?? 0;
}
