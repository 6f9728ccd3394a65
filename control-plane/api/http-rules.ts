/** `rules.http` of a port rule -> matches. Strict, as the rest of the policy. */
import { SidestepError } from '../model/error.ts';
import { Pattern } from '../model/pattern.ts';
import type { HttpMatch } from '../model/policy.ts';
import type { Path } from './document.ts';
import { readHeaderMatches, readHeaders } from './header-rules.ts';
import type { Refuse } from './policy-fields.ts';
import { needMapping, quote, readEach, readText } from './values.ts';

/** RE2 compiles in linear time, but a text of megabytes is no rule; Envoy's own bound of a path is 60 KiB. */
const MAX_PATTERN = 65536;

/** The matches in order; what cannot be read is missing and refused. */
export function readHttpRules(value: unknown, path: Path, refuse: Refuse): readonly HttpMatch[] {
  return readEach(value, path, refuse, (rule, at) => readMatch(rule, at, refuse));
}

function readMatch(value: unknown, path: Path, refuse: Refuse): HttpMatch | undefined {
  const rule = needMapping(value, 'http', path, refuse);
  if (rule === undefined) return undefined;
  const match: { method?: string; path?: string; host?: string } = {};
  for (const field of ['method', 'path', 'host'] as const) {
    // As in Cilium an empty text is no condition.
    const text = readText(rule[field], [...path, field], refuse);
    if (text === undefined) continue;
    const problem = problemOf(text);
    if (problem !== undefined) refuse('FIELD_INVALID', [...path, field], problem);
    else match[field] = text;
  }
  const headers = [
    ...readHeaders(rule['headers'], [...path, 'headers'], refuse),
    ...readHeaderMatches(rule['headerMatches'], [...path, 'headerMatches'], refuse),
  ];
  return headers.length === 0 ? match : { ...match, headers };
}

function problemOf(text: string): string | undefined {
  if (text.length > MAX_PATTERN) return `has more than ${MAX_PATTERN} characters`;
  try {
    new Pattern(text);
    return undefined;
  } catch (error) {
    if (error instanceof SidestepError) return `${quote(text)} ${error.message}`;
    throw error;
  }
}
