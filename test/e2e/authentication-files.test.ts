/** Certificates from files, in the layout of a Kubernetes secret: what an operator puts there counts, and what is taken away ends. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newAuthority, newSvid, type TestAuthority } from '../../control-plane/auth/samples.ts';
import type { Svid } from '../../control-plane/auth/svid.ts';
import { Cluster, type ClusterNode, type ClusterPod, linkAddress } from '../lib/cluster.ts';
import { ask, HeldHttp, HTTP_PORT, httpServer } from '../lib/http.ts';
import { NAMESPACE, podName } from '../lib/system.ts';

const HOUR = 3_600_000;
const ID = 'spiffe://cluster.local';

function put(folder: string, { chain, privateKey }: Svid, authority?: TestAuthority): void {
  mkdirSync(folder, { recursive: true });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(join(folder, 'tls.key'), key, { mode: 0o600 });
  writeFileSync(join(folder, 'tls.crt'), chain.map(String).join(''));
  if (authority) writeFileSync(join(folder, 'ca.crt'), authority.bundle.authorities.map(String).join(''));
}

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
    cluster = await Cluster.create('files', 2, (node, folder) => [
      '--node-addresses',
      linkAddress(node),
      '--svid-source',
      'files',
      '--svid-dir',
      join(folder, `svid-${node}`),
    ]);
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
});
