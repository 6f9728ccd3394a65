/** What rules say about authentication as a table says it. */
import type { AuthenticationMode } from '../model/policy.ts';
import type { TableEntry } from '../model/snapshot.ts';

const AUTH = {
  disabled: 'none',
  required: 'required',
  'test-always-fail': 'always-fail',
} as const satisfies Record<AuthenticationMode, TableEntry['auth']>;

/**
 * @param exempt see isExempt
 * @param mode undefined: no rule says anything
 */
export function authFor(exempt: boolean, mode: AuthenticationMode | undefined): TableEntry['auth'] {
  if (exempt) return 'none';
  return mode === undefined ? 'inherit' : AUTH[mode];
}
