/** Do the kernel's decision of one end and the evaluator's say the same? */
import type { HalfVerdict } from '../../control-plane/model/event.ts';
import { formatPolicyRef, formatRuleRef, type Origin } from '../../control-plane/model/policy.ts';
import type { HalfAnswer } from '../../control-plane/policy/evaluate.ts';

const VERDICTS = { none: 'none', allow: 'ALLOWED', redirect: 'ALLOWED looks', dns: 'ALLOWED looks', deny: 'DENIED' };

/** @returns what differs, or undefined */
export function judgeHalf(
  kernel: HalfVerdict,
  answer: HalfAnswer | undefined,
  origins: ReadonlyMap<number, Origin>,
): string | undefined {
  if (answer === undefined)
    return kernel.verdict === 'none'
      ? undefined
      : `kernel decided (${kernel.verdict}), evaluator has nothing to decide`;
  // What would be refused passes, and names what would refuse it.
  const verdict = kernel.audited ? VERDICTS.deny : VERDICTS[kernel.verdict];
  const got = `${verdict} ${kernel.match} ${describeOrigin(origins.get(kernel.rule), verdict === VERDICTS.deny)}`;
  const expected = describe(answer);
  return got === expected ? undefined : `kernel ${got}, evaluator ${expected}`;
}

function describe({ verdict, l7, match, reason, rules, policies }: HalfAnswer): string {
  const names = [...rules.map(formatRuleRef), ...policies.map(formatPolicyRef)];
  return `${verdict}${l7 && verdict === 'ALLOWED' ? ' looks' : ''} ${match} ${reason} ${names.join(' ')}`;
}

function describeOrigin(origin: Origin | undefined, denied: boolean): string {
  switch (origin?.kind) {
    case 'rules':
      return `${denied ? 'deny-rule' : 'rule'} ${origin.rules.map(formatRuleRef).join(' ')}`;
    case 'default-deny':
      return `default-deny ${origin.policies.map(formatPolicyRef).join(' ')}`;
    case 'reserved':
      return `${origin.name === 'none' ? 'no-policy' : origin.name} `;
    default:
      return 'unknown';
  }
}
