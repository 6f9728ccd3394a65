/** Everything wrong with one policy object: each problem leads to the field's place in the reference. */
import { ERRORS, type ErrorCode } from '../model/error-codes.ts';
import { formatPolicyRef, type PolicyRef } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import type { Manifest, Path } from './document.ts';
import { IssueList } from './issue-list.ts';
import { anchorOf, type Place } from './policy-fields.ts';

const REFERENCE = 'docs/reference/policy.md';

export class PolicyProblems {
  readonly #issues: IssueList;
  readonly #root: Place;

  /** @param root the fields that its kind has */
  constructor(manifest: Manifest, ref: PolicyRef, root: Place) {
    this.#issues = new IssueList(manifest, formatPolicyRef(ref));
    this.#root = root;
  }

  readonly refuse = (code: ErrorCode, path: Path, message: string): void => {
    const hint = `${ERRORS[code].hint} See ${REFERENCE}#${anchorOf(this.#root, path)}.`;
    this.#issues.add(code, path, message, hint);
  };

  get isEmpty(): boolean {
    return this.#issues.isEmpty;
  }

  list(): readonly Issue[] {
    return this.#issues.list();
  }
}
