/** A node whose clock is wrong: a little does not matter, much is refused with the cause, and it is well once the clock is right. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../control-plane/demo/process.ts';
import { authenticationOf, required } from '../lib/authentication.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed, SIDESTEP } from '../lib/cluster.ts';
import { podName } from '../lib/system.ts';
import { askUdp, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const UDP_PORT = 9400;
const MARKER = 'sidestep-marker-e04b';
/** A retry that was planned just before the clock was set right, and what follows from it. */
const HEALED_MS = 45_000;
const PROVEN_MS = 20_000;
const MINUTES = 60;
const HOURS = 3600;

const clockOf = (folder: string, node: number): string => join(folder, `clock-${node}`);

/** libfaketime in front of the agent: only the wall clock is another, timers go on as they are. */
async function fakeClock(file: string): Promise<Readonly<Record<string, string>>> {
  const { stdout } = await run('dpkg', ['-L', 'libfaketime']);
  const library = stdout.split('\n').find((line) => line.endsWith('libfaketimeMT.so.1'));
  if (library === undefined) throw new Error('there is no libfaketime: make deps installs it');
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    DONT_FAKE_MONOTONIC: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    NO_FAKE_STAT: '1',
    FAKETIME_DONT_RESET: '1',
  };
}

describe('a node with a wrong clock', () => {
  let cluster: Cluster;
  let right: ClusterNode;
  let wrong: ClusterNode;
  let pods = 0;

  beforeAll(async () => {
    const environment = await fakeClock('');
    cluster = await meshed('skew', 2, [], (node, folder) => {
      if (node === 1) return [SIDESTEP];
      const file = clockOf(folder, node);
      writeFileSync(file, `-${5 * MINUTES}\n`);
      const settings = Object.entries({ ...environment, FAKETIME_TIMESTAMP_FILE: file });
      return ['env', ...settings.map(([key, value]) => `${key}=${value}`), SIDESTEP];
    });
    [right, wrong] = cluster.nodes as [ClusterNode, ClusterNode];
    cluster.policy('secure', {
      endpointSelector: { matchLabels: { side: 'server' } },
      ingress: [{ ...required(''), fromEndpoints: [{ matchLabels: { side: 'client' } }] }],
    });
  }, 60_000);
  afterAll(() => cluster?.remove());

  const set = (seconds: number): void =>
    writeFileSync(clockOf(cluster.folder, 2), `${seconds < 0 ? '' : '+'}${seconds}\n`);

  /** Two new identities, one on each node: nothing of them is proven yet. */
  async function newPair(serverOn: ClusterNode): Promise<readonly [client: ClusterPod, server: ClusterPod]> {
    const number = ++pods;
    const client = await cluster.pod(`c${number}`, serverOn === right ? wrong : right, `c${number}`, {
      side: 'client',
    });
    const server = await cluster.pod(`s${number}`, serverOn, `s${number}`, { side: 'server' });
    await udpEchoServer(server, UDP_PORT);
    return [client, server];
  }

  async function answered([client, server]: readonly [ClusterPod, ClusterPod], timeout = PROVEN_MS): Promise<void> {
    await expect
      .poll(() => askUdp(client, server, 'ipv4', UDP_PORT), { timeout })
      .toMatchObject({ outcome: 'answered' });
  }

  const troubleOf = async (node: ClusterNode, pod: ClusterPod): Promise<string> => {
    const { trouble } = await authenticationOf(node);
    return (
      trouble
        .map(({ spiffeId, code, message }) => `${spiffeId.split('/').at(-1)} ${code} ${message}`)
        .find((each) => each.startsWith(`${pod.name} `)) ?? ''
    );
  };

  test.each([
    ['five minutes slow', -5 * MINUTES],
    // Not five: WireGuard goes by the machine's own clock, and a handshake of three minutes ago counts for nothing.
    ['two minutes fast', 2 * MINUTES],
  ] as const)('%s: identities are proven in both directions, and nobody complains', async (_, seconds) => {
    set(seconds);
    for (const serverOn of [right, wrong]) await answered(await newPair(serverOn));
    for (const node of cluster.nodes) expect((await authenticationOf(node)).trouble).toEqual([]);
  });

  describe.each([
    ['slow', -2 * HOURS, /valid from/],
    ['fast', 2 * HOURS, /valid until/],
  ] as const)('two hours %s', (_, seconds, cause) => {
    test.each(['right', 'wrong'] as const)(
      'what is new is refused with the cause at both ends, and well once the clock is right; server with the %s clock',
      async (clock) => {
        set(seconds);
        const wire = await Wire.listen(cluster, MARKER);
        const pair = await newPair(clock === 'right' ? right : wrong);
        const [client, server] = pair;
        const there = client.node === wrong ? client : server;
        await expect.poll(() => troubleOf(wrong, there), { timeout: PROVEN_MS }).toMatch(cause);
        await expect
          .poll(async () => (await askUdp(client, server, 'ipv4', UDP_PORT)).outcome, { timeout: PROVEN_MS })
          .toBe('timeout');
        const flow = await client.node.flow(
          'refused',
          ({ source, dropReason }) => source === podName(client) && dropReason === 'AUTH_REQUIRED',
          10_000,
        );
        expect(flow.summary).toMatch(client.node === wrong ? cause : /node-2: AUTH_|SVID_/);
        expect(await wire.stop()).toMatchObject({ others: [] });
        set(0);
        await answered(pair, HEALED_MS);
        await expect.poll(async () => (await authenticationOf(wrong)).trouble, { timeout: HEALED_MS }).toEqual([]);
      },
    );
  });
});
