import { expect, test } from 'vitest';
import { parseFlow } from './flows.ts';

const FLOW = {
  time: '2026-01-24T10:15:02.123456Z',
  verdict: 'DROPPED',
  drop_reason_desc: 'POLICY_DENIED',
  IP: { source: '10.77.0.12', destination: '10.77.0.11', ipVersion: 'IPv4' },
  l4: { TCP: { source_port: 45232, destination_port: 8080, flags: { SYN: true } } },
  source: { identity: 2, namespace: 'production', pod_name: 'intruder-0b1c', labels: [] },
  destination: { identity: 3, labels: [] },
  ingress_denied_by: [{ kind: 'CiliumNetworkPolicy', namespace: 'production', name: 'secure-app-access' }],
};

test('a flow is read with its ends, ports, reason and policies', () => {
  const line = JSON.stringify({ flow: FLOW });
  expect(parseFlow(line)).toEqual({
    time: Date.parse('2026-01-24T10:15:02.123Z'),
    verdict: 'DROPPED',
    source: 'production/intruder-0b1c',
    destination: '10.77.0.11',
    sourceAddress: '10.77.0.12',
    destinationAddress: '10.77.0.11',
    sourcePort: 45232,
    destinationPort: 8080,
    dropReason: 'POLICY_DENIED',
    authenticated: false,
    encrypted: false,
    summary: '',
    method: undefined,
    allowedBy: [],
    deniedBy: ['CiliumNetworkPolicy/production/secure-app-access'],
    raw: line,
  });
});

test('lines that are no flows are passed over', () => {
  expect(parseFlow('{"lost_events":{}}')).toBeUndefined();
  expect(parseFlow('not JSON')).toBeUndefined();
});
