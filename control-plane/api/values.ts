/** Values of YAML of the shape that a field has, or an issue at its path. `null` is nothing, as in Kubernetes. */
import { isRecord, type Path } from './document.ts';
import { type Place, type Refuse, refuseFields } from './policy-fields.ts';

/** @returns undefined where there is none, or something else */
export function readMapping(
  value: unknown,
  place: Place,
  path: Path,
  refuse: Refuse,
): Record<string, unknown> | undefined {
  if (isAbsent(value)) return undefined;
  if (!isRecord(value)) {
    refuse('FIELD_INVALID', path, 'must be a mapping');
    return undefined;
  }
  refuseFields(value, place, path, refuse);
  return value;
}

/** As readMapping, where something must be there. */
export function needMapping(
  value: unknown,
  place: Place,
  path: Path,
  refuse: Refuse,
): Record<string, unknown> | undefined {
  if (isAbsent(value)) refuse('FIELD_INVALID', path, 'must be a mapping');
  return readMapping(value, place, path, refuse);
}

/** @returns empty where there is none, or something else */
export function readList(value: unknown, path: Path, refuse: Refuse): readonly unknown[] {
  if (isAbsent(value)) return [];
  if (Array.isArray(value)) return value;
  refuse('FIELD_INVALID', path, 'must be a list');
  return [];
}

/** What each entry is read into; entries that cannot be read are missing. */
export function readEach<T>(
  value: unknown,
  path: Path,
  refuse: Refuse,
  read: (entry: unknown, path: Path) => T | undefined,
): T[] {
  const found: T[] = [];
  for (const [i, entry] of readList(value, path, refuse).entries()) {
    const each = read(entry, [...path, i]);
    if (each !== undefined) found.push(each);
  }
  return found;
}

/** @returns undefined where there is none, an empty one, or something else */
export function readText(value: unknown, path: Path, refuse: Refuse): string | undefined {
  if (isAbsent(value) || value === '') return undefined;
  if (typeof value === 'string') return value;
  refuse('FIELD_INVALID', path, 'must be a string (quote it)');
  return undefined;
}

export function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

/** A value for a message, however long it is. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 100 ? text : `${text.slice(0, 100)}…`;
}
