import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Policy } from '../model/policy.ts';
import type { RecordedFlow } from '../model/recorded-flow.ts';
import { policies } from './arbitrary.ts';
import { diffPolicies } from './diff.ts';
import { questions, RECORDED_PODS, recordedUnder } from './recorded-samples.ts';

const [web, api] = RECORDED_PODS as [RecordedFlow['source'], RecordedFlow['source']];
const FLOW: RecordedFlow = { source: web, destination: api, protocol: 6, port: 80, verdict: 'ALLOWED', count: 3 };
const CLOSED: Policy = {
  ref: { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'closed' },
  subject: { matchLabels: new Map([['any:app', 'api']]) },
  defaultDeny: { egress: false, ingress: true },
  rules: [],
  refused: false,
};

describe('recorded flows under other policies', () => {
  it('under the policies that they were recorded with, nothing changes', () => {
    fc.assert(
      fc.property(policies, fc.array(questions, { maxLength: 30 }), (all, asked) => {
        const flows = asked.map((flow) => recordedUnder(all, flow));
        expect(diffPolicies(flows, all).changes).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('and what changes is told with what decides it', () => {
    expect(diffPolicies([FLOW], [CLOSED])).toMatchObject({
      kinds: 1,
      flows: 3,
      changes: [{ from: 'ALLOWED', to: 'DENIED', because: { reason: 'default-deny', policies: [CLOSED.ref] } }],
    });
    expect(diffPolicies([{ ...FLOW, verdict: 'DENIED' }], [])).toMatchObject({
      changes: [{ from: 'DENIED', to: 'ALLOWED', because: { reason: 'no-policy' } }],
    });
  });

  it('a half that was decided elsewhere is not asked', () => {
    const elsewhere = { ...FLOW, destination: { ...api, decides: false } };
    expect(diffPolicies([elsewhere], [CLOSED]).changes).toEqual([]);
  });

  it('what was audited passed', () => {
    expect(diffPolicies([{ ...FLOW, verdict: 'AUDIT' }], []).changes).toEqual([]);
    expect(diffPolicies([{ ...FLOW, verdict: 'AUDIT' }], [CLOSED]).changes).toHaveLength(1);
  });
});
