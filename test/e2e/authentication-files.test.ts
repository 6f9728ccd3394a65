/** Certificates from files, in the layout of a Kubernetes secret: what an operator puts there counts, and what is taken away ends. */
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newAuthority, newSvid, type TestAuthority } from '../../control-plane/auth/samples.ts';
import type { Svid } from '../../control-plane/auth/svid.ts';
import { ManifestFolder } from '../../control-plane/demo/manifests.ts';
import { authenticationOf, secured, tunnelOf } from '../lib/authentication.ts';
import { type ArgumentsOf, Cluster, type ClusterNode, type ClusterPod, linkAddress } from '../lib/cluster.ts';
import { ask, HeldHttp, HTTP_PORT, httpServer } from '../lib/http.ts';
import { NAMESPACE, podName } from '../lib/system.ts';
import { Wire } from '../lib/wire.ts';

const MARKER = 'sidestep-marker-6a15';
const HOUR = 3_600_000;
const ID = 'spiffe://cluster.local';

function put(folder: string, { chain, privateKey }: Svid, authority?: TestAuthority): void {
  mkdirSync(folder, { recursive: true });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(join(folder, 'tls.key'), key, { mode: 0o600 });
  writeFileSync(join(folder, 'tls.crt'), chain.map(String).join(''));
  if (authority) writeFileSync(join(folder, 'ca.crt'), authority.bundle.authorities.map(String).join(''));
}

/** Options of an agent that takes its certificates from a folder of its own. */
const fromFiles: ArgumentsOf = (node, folder) => [
  '--node-addresses',
  linkAddress(node),
  '--svid-source',
  'files',
  '--svid-dir',
  join(folder, `svid-${node}`),
];

describe('certificates from files', () => {
  let cluster: Cluster;
  let client: ClusterPod;
  let server: ClusterPod;
  let first: ClusterNode;
  const authority = newAuthority('cluster.local', Date.now() - HOUR, Date.now() + 24 * HOUR);
  const svid = (id: string): Svid => newSvid(id, authority, { from: Date.now() - HOUR, to: Date.now() + HOUR });
  const folderOf = (node: number): string => join(cluster.folder, `svid-${node}`);
  const workloadFolder = (node: number, account: string): string => join(folderOf(node), `${NAMESPACE}.${account}`);
  const workload = (account: string): Svid => svid(`${ID}/ns/${NAMESPACE}/sa/${account}`);

  beforeAll(async () => {
    cluster = await Cluster.create('files', 2, fromFiles);
    for (const node of [1, 2]) put(join(folderOf(node), 'node'), svid(`${ID}/node/node-${node}`), authority);
    put(workloadFolder(1, 'frontend'), workload('frontend'));
    put(workloadFolder(2, 'backend'), workload('backend'));
    await cluster.start();
    first = cluster.nodes[0] as ClusterNode;
    client = await cluster.pod('frontend', first);
    server = await cluster.pod('backend', cluster.nodes[1] as ClusterNode);
    await httpServer(server);
    cluster.policy('secure', {
      endpointSelector: { matchLabels: { app: 'backend' } },
      ingress: [{ fromEndpoints: [{ matchLabels: { app: 'frontend' } }], authentication: { mode: 'required' } }],
    });
  }, 60_000);
  afterAll(() => cluster?.remove());

  const list = async (): Promise<string> => (await first.agent.cli(['auth', 'list'], { tolerate: true })).stdout;

  test('prove both ends, by the serials that were put there', async () => {
    await expect
      .poll(() => list(), { timeout: 20_000 })
      .toMatch(/theirs +spiffe:\/\/cluster\.local\/ns\/shop\/sa\/backend/);
    expect(await ask(client, server, 'ipv4', 'GET', '/')).toMatchObject({ status: 200 });
    await first.flow('proven', ({ authenticated, destinationPort }) => authenticated && destinationPort === HTTP_PORT);
  });

  test('replaced in place: the new serial is proven, and no request fails meanwhile', async () => {
    const held = HeldHttp.start(client, server, 'ipv4', 4);
    expect((await held.round('GET', '/')).every(({ status }) => status === 200)).toBe(true);
    const renewed = workload('frontend');
    put(workloadFolder(1, 'frontend'), renewed);
    await expect.poll(() => list(), { timeout: 20_000 }).toContain(renewed.serial);
    expect((await held.round('GET', '/')).every(({ status }) => status === 200)).toBe(true);
    await held.close();
  });

  test('taken away: live connections stop, by name', async () => {
    const held = HeldHttp.start(client, server, 'ipv4', 1);
    expect((await held.round('GET', '/')).every(({ status }) => status === 200)).toBe(true);
    rmSync(workloadFolder(1, 'frontend'), { recursive: true });
    await expect.poll(() => list(), { timeout: 10_000 }).not.toMatch(/ours +spiffe/);
    held.ask('GET', '/');
    const flow = await first.flow(
      'refused',
      ({ source, dropReason }) => source === podName(client) && dropReason === 'AUTH_REQUIRED',
      10_000,
    );
    expect(flow.summary).toContain('frontend');
    put(workloadFolder(1, 'frontend'), workload('frontend'));
    await expect
      .poll(() => ask(client, server, 'ipv4', 'GET', '/'), { timeout: 20_000 })
      .toMatchObject({ status: 200 });
    await held.close();
  }, 60_000);

  describe('that are not what they should be: refused, each with its reason', () => {
    const foreign = newAuthority('other.example', Date.now() - HOUR, Date.now() + 24 * HOUR);
    /** Its name is right, and only the second node trusts it. */
    const unknown = newAuthority('cluster.local', Date.now() - HOUR, Date.now() + 24 * HOUR);
    const valid = { from: Date.now() - HOUR, to: Date.now() + HOUR };
    const idOf = (account: string): string => `${ID}/ns/${NAMESPACE}/sa/${account}`;

    /** A server on the second node with this certificate, and what the client's asking it comes to. */
    async function refusal(account: string, bad: Svid): Promise<string> {
      const pod = await cluster.pod(account, cluster.nodes[1] as ClusterNode);
      put(workloadFolder(2, account), bad);
      secured(cluster, account, 'frontend');
      await expect
        .poll(async () => (await ask(client, pod, 'ipv4', 'GET', '/')).error, { timeout: 20_000 })
        .toBe('TIMEOUT');
      const flow = await first.flow(
        'refused',
        ({ destination, dropReason }) => destination === podName(pod) && dropReason === 'AUTH_REQUIRED',
        10_000,
      );
      expect((await authenticationOf(first)).proofs.filter(({ spiffeId }) => spiffeId === idOf(account))).toEqual([]);
      return flow.summary;
    }

    /** What a node says against a certificate of its own. */
    async function trouble(node: number, account: string): Promise<string | undefined> {
      const { trouble: all } = await authenticationOf(cluster.nodes[node - 1] as ClusterNode);
      return all.find(({ spiffeId }) => spiffeId === idOf(account))?.code;
    }

    test('by its own node where that can tell: expired, early, of another trust domain, forged, of another name', async () => {
      const bad = {
        expired: ['SVID_EXPIRED', newSvid(idOf('expired'), authority, { ...valid, to: Date.now() - 60_000 })],
        early: ['SVID_NOT_YET_VALID', newSvid(idOf('early'), authority, { from: valid.to, to: valid.to + HOUR })],
        foreign: ['SVID_OTHER_TRUST_DOMAIN', newSvid('spiffe://other.example/ns/shop/sa/foreign', foreign, valid)],
        forged: [
          'SVID_SIGNATURE_INVALID',
          newSvid(idOf('forged'), { ...authority, privateKey: foreign.privateKey }, valid),
        ],
        misnamed: ['SVID_ID_UNEXPECTED', svid(idOf('backend'))],
      } as const;
      const accounts = Object.keys(bad) as (keyof typeof bad)[];
      // All at once: each takes as long as a packet waits.
      const summaries = await Promise.all(accounts.map((account) => refusal(account, bad[account][1])));
      for (const summary of summaries) expect(summary).toMatch(/node-2: AUTH_.*AUTH_SVID_MISSING/);
      for (const account of accounts) expect(await trouble(2, account)).toBe(bad[account][0]);
    });

    test('of an authority that only its node trusts: refused by the other', async () => {
      const folder = join(folderOf(2), 'node');
      const bundle = [...authority.bundle.authorities, ...unknown.bundle.authorities];
      writeFileSync(join(folder, 'ca.crt'), bundle.map(String).join(''));
      const summary = await refusal('unknown', newSvid(idOf('unknown'), unknown, valid));
      expect(await trouble(2, 'unknown')).toBeUndefined();
      expect(summary).toMatch(/node-2: SVID_(AUTHORITY_UNKNOWN|SIGNATURE_INVALID)/);
    });
  });
});

describe('a node that lies about which pods are on it', () => {
  let cluster: Cluster;
  let honest: ClusterNode;
  let liar: ClusterNode;
  const authority = newAuthority('cluster.local', Date.now() - HOUR, Date.now() + 24 * HOUR);
  const svid = (id: string): Svid => newSvid(id, authority, { from: Date.now() - HOUR, to: Date.now() + HOUR });
  let lies: ManifestFolder;

  /** What each of both says of itself, to the other. */
  async function exchange(): Promise<void> {
    const [ours, theirs] = [cluster.manifests.path, lies.path];
    for (const [from, to, name] of [
      [ours, theirs, 'node-1'],
      [theirs, ours, 'node-2'],
    ] as const) {
      const file = `sidestepnode-${name}.yaml`;
      await expect.poll(() => existsSync(join(from, file)), { timeout: 10_000 }).toBe(true);
      copyFileSync(join(from, file), join(to, file));
    }
  }

  beforeAll(async () => {
    cluster = await Cluster.create('liar', 2, (node, folder) => [
      ...fromFiles(node, folder),
      ...(node === 2 ? ['--source', join(folder, 'lies')] : []),
    ]);
    [honest, liar] = cluster.nodes as [ClusterNode, ClusterNode];
    lies = new ManifestFolder(join(cluster.folder, 'lies'));
    for (const node of [1, 2])
      put(join(cluster.folder, `svid-${node}`, 'node'), svid(`${ID}/node/node-${node}`), authority);
    put(join(cluster.folder, 'svid-1', `${NAMESPACE}.backend`), svid(`${ID}/ns/${NAMESPACE}/sa/backend`));
  }, 60_000);
  afterAll(() => cluster?.remove());

  test('the right certificate of a pod of another node, and its addresses: no proof, no address, no packet', async () => {
    const server = await cluster.pod('backend', honest);
    const victim = await cluster.pod('frontend', honest);
    await httpServer(server);
    secured(cluster, 'backend', 'frontend');
    const stolen = svid(`${ID}/ns/${NAMESPACE}/sa/frontend`);
    for (const node of [1, 2]) put(join(cluster.folder, `svid-${node}`, `${NAMESPACE}.frontend`), stolen);
    // The liar has a pod with the victim's name and addresses; all else is as the others have it.
    for (const file of ['namespace.yaml', 'pod-backend.yaml', 'policy-secure-backend.yaml'])
      copyFileSync(join(cluster.manifests.path, file), join(lies.path, file));
    const impostor = await cluster.impostor(victim, liar, lies);
    await cluster.start();
    await exchange();
    expect(await ask(victim, server, 'ipv4', 'GET', '/')).toMatchObject({ status: 200 });
    await expect
      .poll(async () => (await authenticationOf(liar)).peers, { timeout: 20_000 })
      .toMatchObject([{ state: 'open' }]);
    const wire = await Wire.listen(cluster, MARKER);
    expect(await ask(impostor, server, 'ipv4', 'GET', '/')).toMatchObject({ error: 'TIMEOUT' });
    const flow = await liar.flow('refused', ({ dropReason }) => dropReason === 'AUTH_REQUIRED', 10_000);
    expect(flow.summary).toMatch(/AUTH_REFUSED_BY_PEER.*AUTH_IDENTITY_ELSEWHERE/);
    expect((await authenticationOf(honest)).proofs.filter(({ side }) => side === 'theirs')).toEqual([]);
    expect((await tunnelOf(honest)).peers.flatMap(({ allowed }) => allowed)).toEqual([]);
    expect((await wire.stop()).others).toEqual([]);
  });
});
