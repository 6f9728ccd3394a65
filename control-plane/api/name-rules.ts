/** Names of DNS and TLS in policies: toFQDNs, rules.dns, serverNames. Names differ neither in case nor by a dot at the end. */
import type { NameMatch } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { isAbsent, needMapping, quote, readEach, readText } from './values.ts';

const MAX_CHARACTERS = 255;
// Cilium's own alphabets; a label between two dots is never empty.
const NAME = /^[-a-zA-Z0-9_]+(\.[-a-zA-Z0-9_]+)*\.?$/;
const PATTERN = /^[-a-zA-Z0-9_*]+(\.[-a-zA-Z0-9_*]+)*\.?$/;

export function readNames(value: unknown, path: Path, refuse: Refuse): NameMatch[] {
  return readEach(value, path, refuse, (entry, at) => readName(entry, at, refuse));
}

/** One of matchName and matchPattern. */
export function readName(value: unknown, path: Path, refuse: Refuse): NameMatch | undefined {
  const match = needMapping(value, 'name', path, refuse);
  if (match === undefined) return undefined;
  const written = (['matchName', 'matchPattern'] as const).filter(
    (field) => !isAbsent(match[field]) && match[field] !== '',
  );
  const [field] = written;
  if (field === undefined) refuse('FIELD_REQUIRED', path, 'needs one of matchName, matchPattern');
  else if (written.length > 1) refuse('FIELD_INVALID', path, 'needs only one of matchName, matchPattern');
  else {
    const at = [...path, field];
    const text = readText(match[field], at, refuse);
    if (text === undefined) return undefined;
    if (field === 'matchName' && checked(text, NAME, at, refuse)) return { matchName: canonical(text) };
    if (field === 'matchPattern' && checked(text, PATTERN, at, refuse)) return { matchPattern: canonicalPattern(text) };
  }
  return undefined;
}

/** @returns undefined where none are written; never empty */
export function readServerNames(value: unknown, path: Path, refuse: Refuse): readonly string[] | undefined {
  if (isAbsent(value)) return undefined;
  const names = readEach(value, path, refuse, (entry, at) => {
    if (entry === '') refuse('FIELD_INVALID', at, 'an empty name is no name');
    const text = readText(entry, at, refuse);
    return text !== undefined && checked(text, PATTERN, at, refuse) ? canonicalPattern(text) : undefined;
  });
  if (Array.isArray(value) && value.length === 0) refuse('FIELD_REQUIRED', path, 'at least one name is required');
  return names.length === 0 ? undefined : [...new Set(names)].sort();
}

function checked(text: string, syntax: RegExp, path: Path, refuse: Refuse): boolean {
  if (text.length > MAX_CHARACTERS) refuse('FIELD_INVALID', path, `has more than ${MAX_CHARACTERS} characters`);
  else if (!syntax.test(text))
    refuse('FIELD_INVALID', path, `${quote(text)} is not a name${syntax === PATTERN ? ' with * in it' : ''}`);
  else return true;
  return false;
}

function canonical(text: string): string {
  return text.toLowerCase().replace(/\.$/, '');
}

/** Stars in a row are one, but for those of `**.` at the beginning, which stand for labels. */
function canonicalPattern(text: string): string {
  const name = canonical(text);
  const [, deep = '', rest = ''] = /^(\*\*\.)?(.*)$/.exec(name) ?? [];
  return deep + rest.replaceAll(/\*{2,}/g, '*');
}
