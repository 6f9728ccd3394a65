/** What a flow gets at one end, with what is only audited counted in: enforced first, and then as if all were. */
import { selects } from '../model/labels.ts';
import type { Direction, Policy } from '../model/policy.ts';
import { evaluateHalf, type FlowQuestion, type HalfAnswer } from './evaluate.ts';
import { isAudited, type Staged } from './stages.ts';

export interface StagedAnswer {
  readonly verdict: HalfAnswer['verdict'] | 'AUDIT';
  /** What decides: with AUDIT, what would deny if it were enforced. */
  readonly answer: HalfAnswer;
  /** What counts. */
  readonly enforced: HalfAnswer;
}

/** @param staged of the policies that select the endpoint (others do no harm); see stages.ts */
export function evaluateStaged(direction: Direction, question: FlowQuestion, staged: Staged): StagedAnswer {
  const { whole } = staged;
  const answer = evaluateHalf(direction, question, staged.enforced.policies, staged.enforced.closed);
  if (answer.verdict === 'DENIED' || whole === undefined || !isAudited(staged, direction))
    return { verdict: answer.verdict, answer, enforced: answer };
  const audited = evaluateHalf(direction, question, whole.policies, whole.closed);
  if (audited.verdict === 'DENIED') return { verdict: 'AUDIT', answer: audited, enforced: answer };
  return { verdict: 'ALLOWED', answer, enforced: answer };
}

/** Policies that select the endpoint of a half. */
export function selecting(direction: Direction, question: FlowQuestion, policies: readonly Policy[]): Policy[] {
  const subject = direction === 'egress' ? question.source : question.destination;
  return policies.filter((policy) => selects(policy.subject, subject));
}
