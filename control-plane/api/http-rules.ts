/** `rules.http` of a port rule -> matches. Strict, as the rest of the policy. */
import { SidestepError } from '../model/error.ts';
import { Pattern } from '../model/pattern.ts';
import type { HttpMatch } from '../model/policy.ts';
import { isRecord, type Path } from './document.ts';
import { type Refuse, refuseFields } from './policy-fields.ts';

/**
 * @param value of `rules`
 * @returns the matches in order, undefined where `http` is not written; what cannot be read is missing and refused
 */
export function readHttpRules(value: unknown, path: Path, refuse: Refuse): readonly HttpMatch[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isRecord(value)) {
    refuse('FIELD_INVALID', path, 'must be a mapping');
    return undefined;
  }
  refuseFields(value, 'rules', path, refuse);
  const list = value['http'] ?? undefined;
  if (list === undefined) return undefined;
  const at = [...path, 'http'];
  if (!Array.isArray(list)) {
    refuse('FIELD_INVALID', at, 'must be a list');
    return undefined;
  }
  return list.flatMap((rule, i) => readMatch(rule, [...at, i], refuse) ?? []);
}

function readMatch(value: unknown, path: Path, refuse: Refuse): HttpMatch | undefined {
  if (!isRecord(value)) {
    refuse('FIELD_INVALID', path, 'must be a mapping');
    return undefined;
  }
  refuseFields(value, 'http', path, refuse);
  const match: { method?: string; path?: string; host?: string } = {};
  for (const field of ['method', 'path', 'host'] as const) {
    const text = value[field] ?? '';
    // As in Cilium an empty text is no condition.
    if (text === '') continue;
    const problem = typeof text === 'string' ? problemOf(text) : 'must be a string (quote it)';
    if (problem !== undefined) refuse('FIELD_INVALID', [...path, field], problem);
    else match[field] = String(text);
  }
  return match;
}

function problemOf(text: string): string | undefined {
  try {
    new Pattern(text);
    return undefined;
  } catch (error) {
    if (error instanceof SidestepError) return `${JSON.stringify(text)} ${error.message}`;
    throw error;
  }
}
