/** What do the rules that meet on one key say about authentication, and where do they disagree? */
import { ERRORS } from '../model/error-codes.ts';
import type { PolicyObject } from '../model/objects.ts';
import {
  type AuthenticationMode,
  formatPolicyRef,
  formatRuleRef,
  hasAuthentication,
  type Rule,
  strictest,
  strictness,
} from '../model/policy.ts';
import type { Issue, TableEntry } from '../model/snapshot.ts';
import type { Contributions } from './contributions.ts';
import { HOST, WORLD } from './identities.ts';

const AUTH = {
  disabled: 'none',
  required: 'required',
  'test-always-fail': 'always-fail',
} as const satisfies Record<AuthenticationMode, TableEntry['auth']>;

/** Two rules that meet on a key. */
export interface Conflict {
  readonly strict: Rule;
  readonly mild: Rule;
}

/** There is nobody on the other side who could prove anything. */
export function isExempt(identity: number): boolean {
  return identity === HOST || identity === WORLD;
}

/** @param mode undefined: no rule says anything */
export function authFor(identity: number, mode: AuthenticationMode | undefined): TableEntry['auth'] {
  if (isExempt(identity)) return 'none';
  return mode === undefined ? 'inherit' : AUTH[mode];
}

/** @param indexes of the rules that meet on a key; an explicit mode beats silence, and a stricter one a milder one */
export function modeAt(rules: readonly Rule[], indexes: readonly number[]): AuthenticationMode | undefined {
  return strictest(indexes.flatMap((index) => rules[index] ?? []));
}

/** Each pair once, named with the first of the strictest rules that the milder one meets. */
export function conflicts(rules: readonly Rule[], met: Contributions): readonly Conflict[] {
  if (!hasAuthentication(rules)) return [];
  const found = new Map<string, Conflict>();
  for (const { key, rules: indexes } of met.values()) {
    if (isExempt(key.identity)) continue;
    const explicit = indexes.flatMap((index) => rules[index] ?? []).filter((rule) => rule.authentication !== undefined);
    const mode = strictest(explicit);
    const strict = explicit.find((rule) => rule.authentication === mode);
    for (const mild of explicit)
      if (strict && strictness(mild.authentication) < strictness(mode))
        found.set(`${formatRuleRef(mild.ref)} ${formatRuleRef(strict.ref)}`, { strict, mild });
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, conflict]) => conflict);
}

/** Said at the milder rule, once for each rule that overrides it. */
export function conflictIssues(found: readonly Conflict[], policies: readonly PolicyObject[]): readonly Issue[] {
  if (found.length === 0) return [];
  const origins = new Map(policies.map(({ ref, origin }) => [formatPolicyRef(ref), origin]));
  const issues = found.map(({ mild, strict }): Issue => {
    const object = formatPolicyRef(mild.ref);
    const path = `${mild.ref.rule.startsWith('specs[') ? '' : 'spec.'}${mild.ref.rule}.authentication.mode`;
    return {
      code: 'AUTHENTICATION_CONFLICT',
      path,
      message: `${path}: ${mild.authentication} here, ${strict.authentication} in ${formatRuleRef(strict.ref)} for the same peer and port; ${strict.authentication} counts`,
      hint: ERRORS.AUTHENTICATION_CONFLICT.hint,
      origin: origins.get(object) ?? '',
      object,
    };
  });
  return [...new Map(issues.map((issue) => [`${issue.object} ${issue.message}`, issue]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, issue]) => issue);
}
