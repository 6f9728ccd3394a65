/** Which fields a policy may have at which place, what each means, and which of them we refuse and why. */
import type { ErrorCode } from '../model/error.ts';
import { CILIUM_PLACES } from './cilium-fields.ts';
import type { Path } from './document.ts';
import { KUBERNETES_PLACES } from './kubernetes-fields.ts';

/** Why a field that somebody may write is refused. */
export interface Refusal {
  /** FIELD_NOT_SUPPORTED: Cilium has it at this place. FIELD_UNKNOWN: it does not either. */
  readonly code: 'FIELD_NOT_SUPPORTED' | 'FIELD_UNKNOWN';
  readonly reason: string;
}

export interface Field {
  /** Of its value, for readers. */
  readonly type: string;
  /** One sentence (Markdown). */
  readonly text: string;
  /** The place of what stands in it. */
  readonly of?: string;
  readonly refused?: Refusal;
}

/** A mapping in a policy. The names of places are anchors in docs/reference/policy.md. */
export interface PlaceFields {
  readonly text: string;
  readonly fields: Readonly<Record<string, Field>>;
}

export const PLACES = { ...CILIUM_PLACES, ...KUBERNETES_PLACES } as const;
export type Place = keyof typeof PLACES;

/** Notes something wrong at a path. */
export type Refuse = (code: ErrorCode, path: Path, message: string) => void;

export interface WrongField {
  readonly field: string;
  readonly code: Refusal['code'];
  readonly message: string;
}

export function fieldsOf(place: Place): Readonly<Record<string, Field>> {
  return PLACES[place].fields;
}

/** The fields of a mapping that do not belong there. */
export function wrongFields(value: Record<string, unknown>, place: Place): WrongField[] {
  const fields = fieldsOf(place);
  return Object.keys(value).flatMap((field) => {
    const known = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (known === undefined)
      return { field, code: 'FIELD_UNKNOWN', message: `unknown field${suggestion(field, Object.keys(fields))}` };
    if (known.refused === undefined) return [];
    const { code, reason } = known.refused;
    return { field, code, message: `${code === 'FIELD_UNKNOWN' ? 'unknown field' : 'not supported'}: ${reason}` };
  });
}

export function refuseFields(value: Record<string, unknown>, place: Place, path: Path, refuse: Refuse): void {
  for (const { field, code, message } of wrongFields(value, place)) refuse(code, [...path, field], message);
}

/** The anchor of a field in docs/reference/policy.md. */
export function fieldAnchor(place: string, field: string): string {
  return `${place}-${field}`.toLowerCase();
}

/** The anchor of the last field of a path that is known, in an object of the kind whose fields `root` lists. */
export function anchorOf(root: Place, path: Path): string {
  const places: Readonly<Record<string, PlaceFields>> = PLACES;
  let place: string | undefined = root;
  let anchor: string = root;
  for (const part of path) {
    if (typeof part === 'number') continue;
    const fields: Readonly<Record<string, Field>> = places[place]?.fields ?? {};
    const field: Field | undefined = Object.hasOwn(fields, part) ? fields[part] : undefined;
    // An unknown field: what the mapping may have.
    if (field === undefined) return place;
    anchor = fieldAnchor(place, part);
    if (field.of === undefined) break;
    place = field.of;
  }
  return anchor;
}

/** ", did you mean …" for the nearest field, when a letter in three at most is wrong. */
function suggestion(field: string, candidates: readonly string[]): string {
  // No name of a field is longer, and the distance costs the product of both lengths.
  if (field.length > 40) return '';
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
