/** `policy diff`: what would become of recorded flows under other policies? */
import type { Policy, PolicyRef, RuleRef } from '../model/policy.ts';
import type { RecordedFlow } from '../model/recorded-flow.ts';
import { evaluateHalf, type HalfAnswer } from './evaluate.ts';

export interface Judged {
  readonly verdict: 'ALLOWED' | 'DENIED';
  /** What decides: the rules of the half that denies, or of all that admit. */
  readonly rules: readonly RuleRef[];
  /** What switched default deny on, where that denies. */
  readonly policies: readonly PolicyRef[];
  readonly reason: HalfAnswer['reason'] | 'authentication-fails';
}

export interface Change {
  readonly flow: RecordedFlow;
  readonly from: RecordedFlow['verdict'];
  readonly to: Judged['verdict'];
  readonly because: Judged;
}

export interface PolicyDiff {
  /** Kinds of flows, and flows. */
  readonly kinds: number;
  readonly flows: number;
  readonly changes: readonly Change[];
}

/**
 * Only the halves that the recording node decided are asked, so that a flow whose other end was elsewhere is compared with what
 * was seen of it. What was audited counts as allowed, since it passed.
 */
export function diffPolicies(flows: readonly RecordedFlow[], candidates: readonly Policy[]): PolicyDiff {
  const changes = flows.flatMap((flow): Change[] => {
    const because = judgeRecorded(flow, candidates);
    const passed = flow.verdict === 'DENIED' ? 'DENIED' : 'ALLOWED';
    return because.verdict === passed ? [] : [{ flow, from: flow.verdict, to: because.verdict, because }];
  });
  return { kinds: flows.length, flows: flows.reduce((sum, { count }) => sum + count, 0), changes };
}

/** What these policies say of a flow, at the ends that decided it. */
export function judgeRecorded(flow: RecordedFlow, policies: readonly Policy[]): Judged {
  const question = {
    source: flow.source.labels,
    destination: flow.destination.labels,
    protocol: flow.protocol,
    port: flow.port,
    http: flow.http,
    // Only what is outside of the cluster is in ranges, or is known by name.
    sourceAddress: flow.source.pod === '' ? flow.source.address : undefined,
    destinationAddress: flow.destination.pod === '' ? flow.destination.address : undefined,
    destinationNames: flow.destination.names,
  };
  const halves = [
    ...(flow.source.decides ? [evaluateHalf('egress', question, policies)] : []),
    ...(flow.destination.decides ? [evaluateHalf('ingress', question, policies)] : []),
  ];
  const judged = halves.map((half): Judged => {
    const fails = half.verdict === 'ALLOWED' && half.authentication === 'always-fail';
    const { rules, policies: closing } = half;
    return fails
      ? { verdict: 'DENIED', rules, policies: closing, reason: 'authentication-fails' }
      : { verdict: half.verdict, rules, policies: closing, reason: half.reason };
  });
  const denied = judged.find(({ verdict }) => verdict === 'DENIED');
  if (denied) return denied;
  return {
    verdict: 'ALLOWED',
    rules: judged.flatMap(({ rules }) => rules),
    policies: [],
    reason: judged.find(({ reason }) => reason === 'rule')?.reason ?? 'no-policy',
  };
}
