/** TLS by the name that its client asks for, end to end: passed on unread, or refused, and the record says by which rule. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { podName, policyName, System } from '../lib/system.ts';
import { askTls, type TlsAnswer, tlsServer } from '../lib/tls.ts';
import type { Host, Workload } from '../lib/topology.ts';
import { FAMILIES, type Family } from '../lib/traffic.ts';

const PORT = 8443;
const PATIENCE = { timeout: 15_000 };
const AUDIT = { 'sidestep.dev/audit': 'true' };

let system: System;
let client: Workload;
let server: Workload;

const ask = (to: Host, family: Family, name: string): Promise<TlsAnswer> => askTls(client, to, family, PORT, name);

const names = (...serverNames: readonly string[]): object => ({
  endpointSelector: { matchLabels: { app: 'client' } },
  egress: [
    {
      toEndpoints: [{ matchLabels: { app: 'server' } }],
      toPorts: [{ ports: [{ port: String(PORT), protocol: 'TCP' }], serverNames }],
    },
  ],
});

beforeAll(async () => {
  system = await System.create('tls-names', ['--envoy-idle-seconds', '1']);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  await tlsServer(server, PORT);
  await system.start();
}, 60_000);
afterAll(() => system?.remove());

test.each(FAMILIES)('a name that a rule takes is passed on, and any other refused, over %s', async (family) => {
  system.policy('mirrors', names('deb.example.org', '*.mirror.example.org'));
  await expect.poll(() => ask(server, family, 'other.example.com'), PATIENCE).toMatchObject({ outcome: 'closed' });
  await expect
    .poll(() => ask(server, family, 'deb.example.org'), PATIENCE)
    .toEqual({ outcome: 'answered', name: 'deb.example.org' });
  expect(await ask(server, family, 'a.mirror.example.org')).toMatchObject({ outcome: 'answered' });
  expect(await ask(server, family, 'mirror.example.org')).toMatchObject({ outcome: 'closed' });
  expect(await ask(server, family, '')).toMatchObject({ outcome: 'closed' });
  const refused = await system.flow(
    'refused',
    ({ summary, verdict }) => verdict === 'DROPPED' && summary.startsWith('TLS name other'),
  );
  expect(refused).toMatchObject({
    source: podName(client),
    destination: podName(server),
    deniedBy: [policyName('mirrors')],
  });
  const passed = await system.flow('passed', ({ summary }) => summary.startsWith('TLS name a.mirror.example.org'));
  expect(passed).toMatchObject({ verdict: 'FORWARDED', allowedBy: [policyName('mirrors')] });
});

test('an edit of the names is in force for the next connection', async () => {
  system.policy('mirrors', names('other.example.com'));
  await expect.poll(() => ask(server, 'ipv4', 'other.example.com'), PATIENCE).toMatchObject({ outcome: 'answered' });
  expect(await ask(server, 'ipv4', 'deb.example.org')).toMatchObject({ outcome: 'closed' });
});

test('names on trial: every connection passes, and the record names the rule that would refuse it', async () => {
  system.policy('mirrors', names('deb.example.org'), AUDIT);
  await expect.poll(() => ask(server, 'ipv4', 'third.example.com'), PATIENCE).toMatchObject({ outcome: 'answered' });
  const flow = await system.flow(
    'audited',
    ({ summary, verdict }) => verdict === 'AUDIT' && summary.startsWith('TLS name third'),
  );
  expect(flow.deniedBy).toEqual([policyName('mirrors')]);
});
