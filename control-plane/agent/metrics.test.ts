import { expect, test } from 'vitest';
import { AgentMetrics } from './metrics.ts';
import type { SecureNumbers } from './secure-plane.ts';
import type { AgentStatus } from './view.ts';

const STATUS = {
  drops: [],
  forwarded: { packets: 0, bytes: 0 },
  flows: { lostInKernel: 0, lostByFollowers: 0 },
  endpoints: {},
  policies: {},
  maps: [],
  writes: { total: 0, lastChange: 0 },
  revision: { snapshot: 0, kernel: 0 },
  bypass: { all: false, namespaces: [] },
  names: { names: 7, queries: 6, refused: 5, answers: 4, learned: 3, unlearned: 2, unreadable: 1 },
} as unknown as AgentStatus;

const NUMBERS: SecureNumbers = {
  sessions: {
    handshakes: { ok: 3, failed: new Map([['AUTH_UNREACHABLE', 2]]) },
    proofs: { made: 4, verified: 5, failed: new Map([['AUTH_LIMIT', 1]]) },
    handshakeLatency: { count: 3, sum: 90 },
    demandLatency: { count: 2, sum: 8 },
  },
  held: { waiting: 1, held: 13, released: 9, unproven: 2, overflowed: 1 },
  soonestExpiry: 1_700_000_000_000,
  tunnelUp: true,
};

/** Lines of the given name, as they are scraped. */
async function scraped(
  numbers: SecureNumbers | undefined,
  names = /^sidestep_(handshake|proof|pair|held|certificate|tunnel)/,
): Promise<readonly string[]> {
  const { registry } = new AgentMetrics(
    '1',
    () => STATUS,
    () => numbers,
  );
  return (await registry.metrics()).split('\n').filter((line) => names.test(line));
}

test('authentication is counted by outcome, and the tunnel said to be up', async () => {
  expect(await scraped(NUMBERS)).toEqual([
    'sidestep_handshakes_total{outcome="ok"} 3',
    'sidestep_handshakes_total{outcome="AUTH_UNREACHABLE"} 2',
    'sidestep_proofs_total{outcome="made"} 4',
    'sidestep_proofs_total{outcome="verified"} 5',
    'sidestep_proofs_total{outcome="AUTH_LIMIT"} 1',
    'sidestep_handshake_seconds_sum 0.09',
    'sidestep_handshake_seconds_count 3',
    'sidestep_pair_seconds_sum 0.008',
    'sidestep_pair_seconds_count 2',
    'sidestep_held_packets_total{outcome="released"} 9',
    'sidestep_held_packets_total{outcome="unproven"} 2',
    'sidestep_held_packets_total{outcome="overflowed"} 1',
    'sidestep_held_packets 1',
    'sidestep_certificate_expiry_timestamp_seconds 1700000000',
    'sidestep_tunnel_up 1',
  ]);
});

test('nothing is said of what is not there: no expiry of no certificate, no tunnel that nobody asked for', async () => {
  expect(await scraped({ ...NUMBERS, soonestExpiry: undefined, tunnelUp: false })).toContain('sidestep_tunnel_up 0');
  expect((await scraped({ ...NUMBERS, soonestExpiry: undefined })).join()).not.toContain('certificate_expiry');
  expect(await scraped(undefined)).toEqual([]);
});

test('DNS messages are counted by what became of them', async () => {
  expect(await scraped(undefined, /^sidestep_dns/)).toEqual([
    'sidestep_dns_messages_total{outcome="queries"} 6',
    'sidestep_dns_messages_total{outcome="refused"} 5',
    'sidestep_dns_messages_total{outcome="answers"} 4',
    'sidestep_dns_messages_total{outcome="learned"} 3',
    'sidestep_dns_messages_total{outcome="unlearned"} 2',
    'sidestep_dns_messages_total{outcome="unreadable"} 1',
    'sidestep_dns_names 7',
  ]);
});
