/** Two nodes whose certificates a real SPIRE issues: what `auth list` names, what a deleted entry ends, and a SPIRE that dies. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { authenticationOf, proofsOf, secured } from '../lib/authentication.ts';
import { Cluster, type ClusterNode, type ClusterPod, linkAddress } from '../lib/cluster.ts';
import { ask, HttpLoad, httpServer } from '../lib/http.ts';
import { NAMESPACE } from '../lib/system.ts';
import { snmp } from '../lib/topology.ts';
import { connectTcp, HeldConnection, tcpEchoServer, UdpStream } from '../lib/traffic.ts';
import { OWN_SELECTORS, Spire, type SpireAgent, TRUST_DOMAIN } from './spire.ts';

const TCP_PORT = 9300;
const STREAM_PORT = 9500;
const HOUR = 3600;
/** Seconds. SPIRE dates back by 10 s and renews at half of the whole, so 5 s after it has issued one. */
const SHORT = 20;
const CONNECTIONS = 2;
const PACKETS_PER_SECOND = 500;
/** What waits for SPIRE waits long: the machine may be busy. */
const PATIENCE = { timeout: 60_000, interval: 50 };
const AUTH_REQUIRED = 189;

const nodeId = (node: number): string => `spiffe://${TRUST_DOMAIN}/node/node-${node}`;
const workloadId = (account: string): string => `spiffe://${TRUST_DOMAIN}/ns/${NAMESPACE}/sa/${account}`;
const FRONTEND = workloadId('frontend');
const BACKEND = workloadId('backend');
/** Every place where `auth list` of the two nodes names a serial: the frontend runs on the first, the backend on the second. */
const PLACES: ReadonlyMap<string, string> = new Map([
  ['node-1 is', nodeId(1)],
  ['node-1 has', FRONTEND],
  ['node-1 ours', FRONTEND],
  ['node-1 theirs', BACKEND],
  ['node-2 is', nodeId(2)],
  ['node-2 has', BACKEND],
  ['node-2 ours', BACKEND],
  ['node-2 theirs', FRONTEND],
]);

/** `auth list` has serials in hexadecimal, SPIRE in decimal. */
const decimal = (serial = '0'): string => BigInt(`0x${serial}`).toString();

describe('SPIRE under the agents of two nodes', () => {
  let spire: Spire;
  let cluster: Cluster;
  let first: ClusterNode;
  let second: ClusterNode;
  let client: ClusterPod;
  let server: ClusterPod;
  const entries = new Map<string, string>();

  async function register(node: number, account: string, ttl: number): Promise<void> {
    const selectors = [`k8s:ns:${NAMESPACE}`, `k8s:sa:${account}`];
    const agent = spire.agents[node - 1] as SpireAgent;
    entries.set(account, await spire.createEntry(agent, workloadId(account), selectors, ttl));
  }

  beforeAll(async () => {
    spire = await Spire.start([1, 2].map((node) => ({ name: `node-${node}`, delegate: nodeId(node) })));
    for (const [i, agent] of spire.agents.entries())
      await spire.createEntry(agent, nodeId(i + 1), OWN_SELECTORS, SHORT);
    await register(1, 'frontend', HOUR);
    await register(2, 'backend', HOUR);
    cluster = await Cluster.create('spired', 2, (node) => {
      const { workloadSocket, adminSocket } = spire.agents[node - 1] as SpireAgent;
      return [
        ...['--node-addresses', linkAddress(node), '--trust-domain', TRUST_DOMAIN, '--svid-source', 'spire'],
        ...['--spire-workload-socket', workloadSocket, '--spire-admin-socket', adminSocket],
      ];
    });
    await cluster.start();
    [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    client = await cluster.pod('frontend', first);
    server = await cluster.pod('backend', second);
    await httpServer(server);
    await tcpEchoServer(server, TCP_PORT);
    secured(cluster, 'backend', 'frontend');
  });
  afterAll(async () => {
    await cluster?.remove();
    await spire?.close();
  });

  const views = () => Promise.all([first, second].map(authenticationOf));

  /** What `auth list` names: place, SPIFFE ID and serial. */
  async function named(): Promise<readonly (readonly [string, string, string])[]> {
    return (await views()).flatMap(({ node, certificates, proofs }, i) =>
      [
        { where: 'is', ...node },
        ...certificates.map((each) => ({ where: 'has', ...each })),
        ...proofs.map((each) => ({ where: each.side, ...each })),
      ].map(({ where, spiffeId, serial }) => [`node-${i + 1} ${where}`, spiffeId, decimal(serial)] as const),
    );
  }

  /** Where `auth list` names no serial or one that is not `right` for its identity, or an identity that it should not. */
  async function wrong(right: (spiffeId: string) => readonly string[]): Promise<readonly string[]> {
    const all = await named();
    const missing = [...PLACES.keys()].filter((place) => !all.some(([each]) => each === place));
    const others = all.filter(([place, id, serial]) => PLACES.get(place) !== id || !right(id).includes(serial));
    return [...missing, ...others.map((each) => each.join(' '))];
  }

  /** How many certificates SPIRE has issued so far, by identity. */
  const issued = (): ReadonlyMap<string, number> =>
    new Map([...PLACES.values()].map((id) => [id, spire.issued(id).length]));

  /** Waits until every place names a certificate that SPIRE has issued since. */
  async function issuedSince(before: ReadonlyMap<string, number>): Promise<void> {
    await expect.poll(() => wrong((id) => spire.issued(id).slice(before.get(id))), PATIENCE).toEqual([]);
  }

  const troubles = async (): Promise<readonly string[]> =>
    (await views()).flatMap(({ trouble }) => trouble.map(({ code, spiffeId }) => `${code} ${spiffeId}`));

  async function passes(): Promise<void> {
    const answer = await ask(client, server, 'ipv4', 'GET', '/');
    expect(answer).toMatchObject({ status: 200 });
    for (const node of cluster.nodes) {
      const flow = await node.flow(
        'the request',
        ({ sourceAddress, sourcePort }) => sourceAddress === client.ipv4 && sourcePort === answer.port,
      );
      expect(flow).toMatchObject({ verdict: 'FORWARDED', authenticated: true, encrypted: true });
      expect(flow.summary).toContain('authenticated, encrypted: yes');
    }
  }

  test('both are proven, each by the very certificate that SPIRE has issued, and a request passes', async () => {
    await expect.poll(() => wrong((id) => spire.issued(id).slice(-1)), PATIENCE).toEqual([]);
    expect(await troubles()).toEqual([]);
    await passes();
  });

  describe.each([
    { account: 'frontend', at: 1 },
    { account: 'backend', at: 2 },
  ])('the registration entry of the $account', ({ account, at }) => {
    const spiffeId = workloadId(account);

    test('is deleted: the pair ends and so does its live connection, and the flow says why', async () => {
      const [node, other] = (at === 1 ? [first, second] : [second, first]) as [ClusterNode, ClusterNode];
      const held = await HeldConnection.open(client, server, 'ipv4', TCP_PORT);
      await held.alive();
      const deleted = Date.now();
      await spire.deleteEntry(entries.get(account) ?? '');
      const stopped = await held.stopped();
      console.log(`      stopped ${stopped - deleted} ms after the entry's deletion was asked for`);
      expect((await authenticationOf(node)).certificates).toEqual([]);
      expect(await proofsOf(node)).not.toContain(`ours ${account}`);
      expect(await proofsOf(other)).not.toContain(`theirs ${account}`);
      expect(await connectTcp(client, server, 'ipv6', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
      const flow = await node.flow(
        'the connection that ended',
        ({ verdict, sourcePort, destinationPort }) =>
          verdict === 'DROPPED' && [sourcePort, destinationPort].includes(held.port),
        10_000,
      );
      expect(JSON.parse(flow.raw)).toMatchObject({
        flow: { drop_reason: AUTH_REQUIRED, drop_reason_desc: 'AUTH_REQUIRED' },
      });
      expect(flow.summary).toContain(`no certificate of ${spiffeId}: SVID_MISSING, SPIRE has no registration entry`);
      await held.close();
    });

    test('is made again: proven by a new certificate, and a request passes', async () => {
      const before = new Map([[spiffeId, spire.issued(spiffeId).length]]);
      await register(at, account, SHORT);
      await issuedSince(before);
      expect(await troubles()).toEqual([]);
      await passes();
    });
  });

  test('server, then agents are killed and start again under requests, while certificates rotate: none fails', async () => {
    const retransmitted = async (): Promise<number> =>
      (await snmp(client.namespace)).get('Tcp.RetransSegs') ?? Number.NaN;
    const heldFrames = async (): Promise<readonly number[]> => (await views()).map(({ held }) => held.held);
    const [retransmittedBefore, heldBefore] = [await retransmitted(), await heldFrames()];
    const stream = await UdpStream.start(client, server, 'ipv4', STREAM_PORT, PACKETS_PER_SECOND);
    const load = HttpLoad.start(client, server, 'ipv4', CONNECTIONS);

    await spire.killServer();
    await passes();
    await spire.startServer();
    await issuedSince(issued());

    for (const agent of spire.agents) await agent.killHard();
    const unreachable = [nodeId(1), nodeId(2), FRONTEND, BACKEND].map((id) => `SPIRE_UNREACHABLE ${id}`);
    await expect.poll(troubles, PATIENCE).toEqual(expect.arrayContaining(unreachable));
    await passes();
    const before = issued();
    for (const agent of spire.agents) await agent.start();
    await issuedSince(before);
    expect(await troubles()).toEqual([]);

    const met = await load.stop();
    const report = await stream.stop();
    console.log(`      ${JSON.stringify(met)}, TcpRetransSegs +${(await retransmitted()) - retransmittedBefore}`);
    expect(Object.keys(met).filter((outcome) => !outcome.endsWith(' 200'))).toEqual([]);
    expect(met['GET 200']).toBeGreaterThan(100);
    // A busy machine retransmits by itself; a numbered stream that lacks nothing says that none was dropped.
    expect(report).toMatchObject({ received: report.sent, gaps: 0, duplicates: 0, reordered: 0, socketOverflow: 0 });
    // There was always a proof: nothing had to wait for one.
    expect(await heldFrames()).toEqual(heldBefore);
  });
});
