/** What rules that are fine by themselves say against each other, as issues of their policies. */
import { ERRORS, type ErrorCode } from '../model/error-codes.ts';
import type { PolicyObject } from '../model/objects.ts';
import { formatPolicyRef, formatRuleRef, type Rule } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import type { Conflict } from './columns.ts';
import type { Missing } from './resolve.ts';

/** Said at the rule that does not count, once for each rule that overrides it. */
export function conflictIssues(found: readonly Conflict[], policies: readonly PolicyObject[]): readonly Issue[] {
  if (found.length === 0) return [];
  const origins = originsOf(policies);
  return distinct(found.map((conflict) => issueOf(conflict, origins)));
}

/** Said only of policies that select endpoints here. */
export function missingIssues(found: readonly Missing[], policies: readonly PolicyObject[]): readonly Issue[] {
  if (found.length === 0) return [];
  const origins = originsOf(policies);
  return distinct(
    found.map(({ rule, field, what }) =>
      ruleIssue('REFERENCE_UNKNOWN', rule, field, origins, (path) => `${path}: there is no ${what}`),
    ),
  );
}

/** Object -> where it is written. */
export function originsOf(policies: readonly PolicyObject[]): ReadonlyMap<string, string> {
  return new Map(policies.map(({ ref, origin }) => [formatPolicyRef(ref), origin]));
}

/** Each once, in order of object and message. */
export function distinct(issues: readonly Issue[]): readonly Issue[] {
  return [...new Map(issues.map((issue) => [`${issue.object} ${issue.message}`, issue]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, issue]) => issue);
}

function issueOf(conflict: Conflict, origins: ReadonlyMap<string, string>): Issue {
  if (conflict.kind === 'layer7') {
    const { dns, other } = conflict;
    return ruleIssue('LAYER7_CONFLICT', dns, 'toPorts', origins, (path) => {
      return `${path}: a DNS rule meets HTTP rules or server names of ${formatRuleRef(other.ref)} on a port; those count`;
    });
  }
  const { mild, strict } = conflict;
  return ruleIssue('AUTHENTICATION_CONFLICT', mild, 'authentication.mode', origins, (path) => {
    return `${path}: ${mild.authentication} here, ${strict.authentication} in ${formatRuleRef(strict.ref)} for the same peer and port; ${strict.authentication} counts`;
  });
}

/** @param field of the rule */
export function ruleIssue(
  code: ErrorCode,
  rule: Pick<Rule, 'ref'>,
  field: string,
  origins: ReadonlyMap<string, string>,
  message: (path: string) => string,
): Issue {
  const object = formatPolicyRef(rule.ref);
  const path = `${rule.ref.rule.startsWith('specs[') ? '' : 'spec.'}${rule.ref.rule}.${field}`;
  return { code, path, message: message(path), hint: ERRORS[code].hint, origin: origins.get(object) ?? '', object };
}
