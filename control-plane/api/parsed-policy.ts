/** What parsing one policy object gives, whatever its kind. */
import type { Policy, PolicyRef } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import type { PolicyProblems } from './policy-problems.ts';

export interface ParsedPolicy {
  readonly ref: PolicyRef;
  readonly issues: readonly Issue[];
  /** Without issues: what it says. */
  readonly policies: readonly Policy[];
  /** With issues: denies what it selects in each direction it has a section for; empty where no selector can be read. */
  readonly closed: readonly Policy[];
}

/** One rule set of an object, as far as it can be read. */
export interface ReadSpec {
  readonly policy: Policy;
  /** Directions that it has a section for, whatever it says of default deny. */
  readonly sections: Policy['defaultDeny'];
}

/** @param specs undefined: its subject cannot be read, and nothing of it can be enforced */
export function conclude(
  ref: PolicyRef,
  problems: PolicyProblems,
  specs: readonly (ReadSpec | undefined)[],
): ParsedPolicy {
  const issues = problems.list();
  const read = specs.filter((spec) => spec !== undefined);
  if (issues.length === 0) return { ref, issues, policies: read.map(({ policy }) => policy), closed: [] };
  const closed = read.map(({ policy: { subject, audit }, sections }) => ({
    ref,
    subject,
    defaultDeny: sections,
    rules: [],
    // Who asked for its trial run must not be closed by it.
    ...(audit === undefined ? {} : { audit }),
    refused: true,
  }));
  return { ref, issues, policies: [], closed };
}
