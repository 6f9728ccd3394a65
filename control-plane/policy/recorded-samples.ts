/** For tests: flows between the cast of arbitrary.ts, the world and the host, as they would be recorded. */
import fc from 'fast-check';
import { parseAddress } from '../model/address.ts';
import { type Labels, reservedLabels } from '../model/labels.ts';
import type { Policy } from '../model/policy.ts';
import type { RecordedEnd, RecordedFlow } from '../model/recorded-flow.ts';
import { PODS, PROTOCOLS, REQUESTS } from './arbitrary.ts';
import { judgeRecorded } from './diff.ts';
import { podLabels } from './identities.ts';

const HERE = 'here';

function outside(labels: Labels, address: string, names: readonly string[] = []): RecordedEnd {
  return { labels, address: parseAddress(address), namespace: '', pod: '', decides: false, names };
}

export const RECORDED_PODS: readonly RecordedEnd[] = PODS.map((pod) => ({
  labels: podLabels(pod, undefined),
  address: pod.addresses[0] ?? new Uint8Array(16),
  namespace: pod.namespace,
  pod: pod.name,
  decides: pod.nodeName === HERE,
  names: [],
}));
export const OUTSIDE: readonly RecordedEnd[] = [
  outside(reservedLabels('host'), '192.0.2.1'),
  outside(reservedLabels('world'), '198.51.100.7'),
  outside(reservedLabels('world'), '2001:db8::7'),
  outside(reservedLabels('world'), '203.0.113.9', ['api.example.com']),
];

/** Without a verdict: that is what policies say. */
export const questions: fc.Arbitrary<Omit<RecordedFlow, 'verdict'>> = fc
  .record({
    source: fc.constantFrom(...RECORDED_PODS, ...OUTSIDE),
    destination: fc.constantFrom(...RECORDED_PODS, ...OUTSIDE),
    protocol: fc.constantFrom(...PROTOCOLS),
    port: fc.constantFrom(8, 80, 81, 443),
    request: fc.option(fc.constantFrom(...REQUESTS), { nil: undefined }),
    count: fc.integer({ min: 1, max: 9 }),
  })
  .filter(({ source, destination }) => source.decides || destination.decides)
  // Types of ICMP end at 255.
  .map((flow) => (flow.protocol === 1 ? { ...flow, port: 8 } : flow))
  .map(({ request, ...flow }) => (request && flow.protocol === 6 ? { ...flow, http: request } : flow));

/** As it would be recorded under these policies. */
export function recordedUnder(policies: readonly Policy[], flow: Omit<RecordedFlow, 'verdict'>): RecordedFlow {
  const asked: RecordedFlow = { ...flow, verdict: 'ALLOWED' };
  return { ...asked, verdict: judgeRecorded(asked, policies).verdict };
}
