/** Which of the policies that select an endpoint are enforced, and which only audited? Shared by compiler and evaluator. */
import { concerns, type Direction, type Policy } from '../model/policy.ts';
import { remember } from './remember.ts';
import type { Stage } from './table-spec.ts';

/** default: as policies ask. always: every endpoint has default deny in both directions. never: nothing is enforced. */
export const ENFORCEMENT_MODES = ['default', 'always', 'never'] as const;
export type EnforcementMode = (typeof ENFORCEMENT_MODES)[number];

export interface Enforcement {
  readonly mode: EnforcementMode;
  /** Nothing is enforced, and everything audited. */
  readonly audit: boolean;
}

export const DEFAULT_ENFORCEMENT: Enforcement = { mode: 'default', audit: false };

export interface StagedPolicies {
  readonly policies: readonly Policy[];
  /** Default deny is on whatever policies say. */
  readonly closed: boolean;
}

export interface Staged {
  readonly enforced: StagedPolicies;
  /** All of them; absent where every one is enforced. */
  readonly whole?: StagedPolicies & { readonly stage: Exclude<Stage, 'enforced'> };
}

const NONE: readonly Policy[] = [];

export class Stages {
  readonly #enforcement: Enforcement;
  /** By list of policies; [in an audited namespace, elsewhere]. The same lists give the same objects. */
  readonly #known = new WeakMap<readonly Policy[], Map<boolean, Staged>>();

  constructor(enforcement: Enforcement) {
    this.#enforcement = enforcement;
  }

  /**
   * @param policies that select the endpoint
   * @param audited its namespace is only audited
   */
  of(policies: readonly Policy[], audited: boolean): Staged {
    const known = remember(this.#known, policies, () => new Map<boolean, Staged>());
    return remember(known, audited, () => stage(policies, audited, this.#enforcement));
  }
}

function stage(policies: readonly Policy[], audited: boolean, { mode, audit }: Enforcement): Staged {
  if (mode === 'never') return { enforced: { policies: NONE, closed: false } };
  const all = { policies, closed: mode === 'always' };
  if (audited || audit) return { enforced: { policies: NONE, closed: false }, whole: { ...all, stage: 'audit-all' } };
  const enforced = policies.filter((policy) => policy.audit !== true);
  if (enforced.length === policies.length) return { enforced: all };
  return { enforced: { policies: enforced, closed: all.closed }, whole: { ...all, stage: 'audit' } };
}

/** Whether what is only audited has a say in the direction. */
export function isAudited({ whole }: Staged, direction: Direction): boolean {
  if (whole === undefined) return false;
  if (whole.stage === 'audit-all' && whole.closed) return true;
  return whole.policies.some(
    (policy) => (whole.stage === 'audit-all' || policy.audit === true) && concerns(policy, direction),
  );
}
