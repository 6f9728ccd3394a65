/** `authentication` of a rule. */
import { AUTHENTICATION_MODES, type AuthenticationMode } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { isAbsent, quote, readMapping } from './values.ts';

/** undefined: nothing is said. */
export function readAuthentication(value: unknown, path: Path, refuse: Refuse): AuthenticationMode | undefined {
  const rule = readMapping(value, 'authentication', path, refuse);
  if (rule === undefined) return undefined;
  const at = [...path, 'mode'];
  const text = rule['mode'];
  const mode = AUTHENTICATION_MODES.find((known) => known === text);
  if (isAbsent(text)) refuse('FIELD_REQUIRED', at, 'is required');
  else if (mode === undefined)
    refuse('FIELD_INVALID', at, `${quote(text)} is not one of ${AUTHENTICATION_MODES.join(', ')}`);
  return mode;
}
