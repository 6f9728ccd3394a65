/** `policy check`: what would a flow between two ends get, by the evaluator, without a kernel or an agent? */
import type { ObjectSet } from '../model/objects.ts';
import { type Direction, formatRuleRef, type Policy } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import { isEnrolled } from './enrolment.ts';
import type { HalfAnswer } from './evaluate.ts';
import { evaluateStaged, type StagedAnswer, selecting } from './evaluate-staged.ts';
import { mendedBy } from './http-match.ts';
import { type Asked, type CheckQuestion, type CheckTerms, type End, namespaceOf, readQuestion } from './question.ts';
import { Resolver } from './resolve.ts';
import { DEFAULT_ENFORCEMENT, Stages } from './stages.ts';

export interface CheckedPolicy {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Path of the rule below `spec`; '' where the policy as a whole counts (default deny). */
  readonly rule: string;
}

export interface CheckedHalf {
  /** AUDIT: it passes, and these policies would deny it if they were enforced. */
  readonly verdict: 'ALLOWED' | 'DENIED' | 'AUDIT';
  readonly policies: readonly CheckedPolicy[];
  /**
   * no-endpoint: this end is not a pod, or one that is not enrolled, and nothing is enforced there. authentication-fails: these rules admit, but under
   * authentication that always fails (mode test-always-fail). The others: see HalfAnswer.
   */
  readonly reason: HalfAnswer['reason'] | 'no-endpoint' | 'authentication-fails';
}

/** The shape that `-o json` prints. */
export interface CheckAnswer {
  readonly verdict: 'ALLOWED' | 'DENIED' | 'AUDIT';
  /** HTTP rules of one end or both have a say. */
  readonly l7: boolean;
  readonly egress: CheckedHalf;
  readonly ingress: CheckedHalf;
  /** required: both ends must be proven before the flow passes, and the verdict is what it gets then. */
  readonly authentication: 'required' | 'disabled';
  /** What is refused among the objects; absent when nothing is. */
  readonly issues?: readonly Issue[];
}

/** What each end says, by policies that are resolved. undefined: nothing is enforced there. */
export function answersTo(
  objects: ObjectSet,
  policies: readonly Policy[],
  { flow, source, destination }: Asked,
  { enforcement = DEFAULT_ENFORCEMENT, enrol = 'all' }: CheckTerms,
): { readonly [half in Direction]: StagedAnswer | undefined } {
  const stages = new Stages(enforcement);
  const answer = (direction: Direction, end: End, asked: Asked['flow'] = flow): StagedAnswer | undefined => {
    if (end.kind !== 'pod') return undefined;
    const namespace = namespaceOf(objects, end.pod);
    if (!isEnrolled(enrol, namespace)) return undefined;
    const own: readonly Policy[] = selecting(direction, asked, policies);
    return evaluateStaged(direction, asked, stages.of(own, namespace?.audit === true));
  };
  const egress = answer('egress', source);
  return { egress, ingress: answer('ingress', destination, afterEgress(flow, egress, policies)) };
}

/** Rules of the client's end may have changed headers of the request that the server's end sees. */
function afterEgress(
  flow: Asked['flow'],
  egress: StagedAnswer | undefined,
  policies: readonly Policy[],
): Asked['flow'] {
  if (flow.http === undefined || egress === undefined) return flow;
  const fitting = new Set(egress.enforced.rules.map(formatRuleRef));
  const matches = policies.flatMap(({ rules }) =>
    rules.flatMap(({ ports }) =>
      ports.flatMap(({ http = [] }) =>
        http.flatMap(({ ref, match }) => (fitting.has(formatRuleRef(ref)) ? match : [])),
      ),
    ),
  );
  const http = mendedBy(matches, flow.http);
  return http === flow.http ? flow : { ...flow, http };
}

/** Policies with what they name of Services and CIDR groups. */
export function resolvedPolicies(objects: ObjectSet): readonly Policy[] {
  return new Resolver().resolve(
    objects.policies.flatMap(({ policy }) => policy ?? []),
    objects,
  );
}

/**
 * @param objects what the files say; a refused object counts as the agent would count it
 * @throws USAGE when an end, the port or the request cannot be read, NOT_FOUND when there is no such pod
 */
export function checkPolicy(objects: ObjectSet, question: CheckQuestion, terms: CheckTerms = {}): CheckAnswer {
  const answers = answersTo(objects, resolvedPolicies(objects), readQuestion(objects, question), terms);
  return {
    ...answerOf(answers),
    ...(objects.issues.length > 0 ? { issues: objects.issues } : {}),
  };
}

export function answerOf(answers: ReturnType<typeof answersTo>): Omit<CheckAnswer, 'issues'> {
  const [egress, ingress] = [toHalf(answers.egress), toHalf(answers.ingress)];
  return {
    verdict: together(egress, ingress),
    l7: answers.egress?.answer.l7 === true || answers.ingress?.answer.l7 === true,
    egress,
    ingress,
    authentication: Object.values(answers).some(isUnderAuthentication) ? 'required' : 'disabled',
  };
}

/** One end that denies is enough, and it is an audit when one would. */
function together(...halves: readonly CheckedHalf[]): CheckAnswer['verdict'] {
  const has = (verdict: CheckAnswer['verdict']): boolean => halves.some((half) => half.verdict === verdict);
  return has('DENIED') ? 'DENIED' : has('AUDIT') ? 'AUDIT' : 'ALLOWED';
}

/** @param answer undefined: nothing is enforced at this end */
function toHalf(staged: StagedAnswer | undefined): CheckedHalf {
  if (staged === undefined) return { verdict: 'ALLOWED', policies: [], reason: 'no-endpoint' };
  const { enforced, answer } = staged;
  const { reason, rules, policies } = answer;
  const fails = staged.verdict !== 'DENIED' && enforced.authentication === 'always-fail';
  return {
    verdict: fails ? 'DENIED' : staged.verdict,
    policies: [...rules, ...policies.map((ref) => ({ ...ref, rule: '' }))],
    reason: fails ? 'authentication-fails' : reason,
  };
}

function isUnderAuthentication(staged: StagedAnswer | undefined): boolean {
  return staged !== undefined && staged.enforced.authentication !== 'none';
}
