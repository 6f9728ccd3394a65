/** Two nodes: identities proven by certificates, packets through the tunnel, and nothing in the clear. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { controlSocket } from '../../control-plane/encryption/names.ts';
import { cgroupIfAny } from '../../control-plane/process/cgroup.ts';
import { sendBulk, sink } from '../lib/bulk.ts';
import { type Cluster, type ClusterNode, type ClusterPod, meshed } from '../lib/cluster.ts';
import { ask, HTTP_PORT, httpServer } from '../lib/http.ts';
import { podName, policyName } from '../lib/system.ts';
import { snmp } from '../lib/topology.ts';
import { askUdp, FAMILIES, udpEchoServer } from '../lib/traffic.ts';
import { Wire } from '../lib/wire.ts';

const MARKER = 'sidestep-marker-7f3a';
const BULK_PORT = 9100;
const UDP_PORT = 9200;
const TEN_MEGABYTES = 10_000_000;

const required = (from: string): object => ({
  fromEndpoints: [{ matchLabels: { app: from } }],
  authentication: { mode: 'required' },
});

/** `backend` is open to `frontend`, authenticated. */
function secure(cluster: Cluster, rule: object = required('frontend')): void {
  cluster.policy('secure', { endpointSelector: { matchLabels: { app: 'backend' } }, ingress: [rule] });
}

async function retransmissions(pod: ClusterPod): Promise<number> {
  return (await snmp(pod.namespace)).get('Tcp.RetransSegs') ?? 0;
}

function isAlive(pid: number | undefined): boolean {
  try {
    // A zombie has ended.
    return pid !== undefined && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('authentication between two nodes', () => {
  let cluster: Cluster;
  let first: ClusterNode;
  let second: ClusterNode;
  let client: ClusterPod;
  let server: ClusterPod;

  beforeAll(async () => {
    cluster = await meshed('auth', 2);
    [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
    client = await cluster.pod('frontend', first);
    server = await cluster.pod('backend', second);
    await httpServer(server);
    await udpEchoServer(server, UDP_PORT);
    await sink(server, BULK_PORT);
  }, 60_000);
  afterAll(() => cluster?.remove());

  const proven = async (node: ClusterNode): Promise<readonly string[]> => {
    const { proofs } = JSON.parse(
      (await node.agent.cli(['auth', 'list', '-o', 'json'], { tolerate: true })).stdout,
    ) as {
      proofs: { side: string; spiffeId: string }[];
    };
    return proofs.map(({ side, spiffeId }) => `${side} ${spiffeId.split('/').at(-1)}`).sort();
  };

  test('both nodes have their certificates', async () => {
    for (const node of cluster.nodes)
      await expect
        .poll(async () => (await node.agent.cli(['auth', 'list'], { tolerate: true })).stdout, { timeout: 10_000 })
        .toContain(`spiffe://cluster.local/node/${node.name}, until`);
  });

  test('without a policy what they say can be read on the way', async () => {
    const wire = await Wire.listen(cluster, MARKER);
    expect(await sendBulk(client, server, 'ipv4', BULK_PORT, MARKER, 10_000)).toBe(10_000);
    expect((await wire.stop()).markers).toBeGreaterThan(0);
  });

  test('a policy asks for authentication: both ends are proven, ahead of traffic', async () => {
    secure(cluster);
    await expect.poll(() => proven(first), { timeout: 20_000 }).toEqual(['ours frontend', 'theirs backend']);
    await expect.poll(() => proven(second), { timeout: 20_000 }).toEqual(['ours backend', 'theirs frontend']);
  });

  test.each(FAMILIES)(
    'flows pass, say that they are proven and encrypted, and by which policy, over %s',
    async (family) => {
      const answer = await ask(client, server, family, 'GET', '/');
      expect(answer).toMatchObject({ status: 200 });
      for (const node of cluster.nodes) {
        const flow = await node.flow(
          'the authenticated one',
          (seen) => seen.authenticated && seen.sourcePort === answer.port && seen.sourceAddress === client[family],
        );
        expect(flow).toMatchObject({ verdict: 'FORWARDED', encrypted: true });
        expect(flow.summary).toContain('authenticated, encrypted: yes');
        if (node === second) expect(flow.allowedBy).toEqual([policyName('secure')]);
      }
      expect(await askUdp(client, server, family, UDP_PORT)).toMatchObject({ outcome: 'answered' });
    },
  );

  test.each(FAMILIES)('ten megabytes of a marker: it is nowhere on the way, over %s', async (family) => {
    const wire = await Wire.listen(cluster, MARKER);
    expect(await sendBulk(client, server, family, BULK_PORT, MARKER, TEN_MEGABYTES)).toBe(TEN_MEGABYTES);
    const seen = await wire.stop();
    expect(seen).toMatchObject({ markers: 0, others: [], fragments: 0 });
    expect(seen.tunnel).toBeGreaterThan(100);
  });

  test('whom the policy does not name is refused as ever, and nothing of it is proven', async () => {
    const stranger = await cluster.pod('stranger', first);
    expect(await ask(stranger, server, 'ipv4', 'GET', '/')).toMatchObject({ error: 'TIMEOUT' });
    const flow = await second.flow(
      'the stranger',
      ({ source, verdict }) => source === podName(stranger) && verdict === 'DROPPED',
    );
    expect(flow).toMatchObject({ dropReason: 'POLICY_DENIED', deniedBy: [policyName('secure')] });
  });

  test('the first connection of a pair that is not proven waits and is not lost', async () => {
    secure(cluster, {
      fromEndpoints: [{ matchLabels: { tier: 'late' } }, { matchLabels: { app: 'frontend' } }],
      authentication: { mode: 'required' },
    });
    for (let i = 0; i < 5; i++) {
      const late = await cluster.pod(`late-${i}`, first, `late-${i}`, { tier: 'late' });
      await expect
        .poll(async () => (await first.agent.cli(['endpoint', 'list'], { tolerate: true })).stdout, { timeout: 10_000 })
        .toContain(`late-${i}`);
      expect(await ask(late, server, 'ipv4', 'GET', '/')).toMatchObject({ status: 200 });
      expect(await retransmissions(late)).toBe(0);
    }
  });

  test('with an HTTP rule: each request is judged, and none goes in the clear', async () => {
    const wire = await Wire.listen(cluster, '/api/');
    secure(cluster, {
      ...required('frontend'),
      toPorts: [
        {
          ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }],
          rules: { http: [{ method: 'GET', path: '/api/.*' }] },
        },
      ],
    });
    for (const family of FAMILIES) {
      await expect
        .poll(() => ask(client, server, family, 'POST', '/api/x'), { timeout: 15_000 })
        .toMatchObject({ status: 403, body: 'Access denied\r\n' });
      const answer = await ask(client, server, family, 'GET', '/api/x');
      expect(answer).toMatchObject({ status: 200 });
      expect(JSON.parse(answer.body ?? '{}')).toMatchObject({ address: client[family] });
    }
    expect(await wire.stop()).toMatchObject({ markers: 0, others: [] });
  }, 60_000);

  test('with an HTTP rule at the client: its Envoy goes through the tunnel, too', async () => {
    secure(cluster);
    cluster.policy('egress', {
      endpointSelector: { matchLabels: { app: 'frontend' } },
      egress: [
        {
          toEndpoints: [{ matchLabels: { app: 'backend' } }],
          toPorts: [{ ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }], rules: { http: [{ method: 'GET' }] } }],
        },
      ],
    });
    const wire = await Wire.listen(cluster, '/api/');
    for (const family of FAMILIES) {
      await expect
        .poll(() => ask(client, server, family, 'POST', '/api/x'), { timeout: 15_000 })
        .toMatchObject({ status: 403 });
      expect(await ask(client, server, family, 'GET', '/api/x')).toMatchObject({ status: 200 });
    }
    expect(await wire.stop()).toMatchObject({ markers: 0, others: [] });
    cluster.removePolicy('egress');
  }, 60_000);

  test('what is to fail always is refused, and says so', async () => {
    secure(cluster, {
      fromEndpoints: [{ matchLabels: { app: 'frontend' } }],
      authentication: { mode: 'test-always-fail' },
    });
    await expect
      .poll(() => ask(client, server, 'ipv4', 'GET', '/'), { timeout: 15_000 })
      .toMatchObject({ error: 'TIMEOUT' });
    await first.flow(
      'refused',
      ({ source, dropReason }) => source === podName(client) && dropReason === 'AUTH_REQUIRED',
    );
  });

  test('uninstall takes the tunnel, its process and its way out along, and can be done twice', async () => {
    const { command, instance, stateDirectory } = second.agent.settings;
    const { tunnel } = JSON.parse((await second.agent.cli(['tunnel', 'list', '-o', 'json'])).stdout) as {
      tunnel: { name: string; pid?: number };
    };
    const seen = async (): Promise<readonly string[]> => {
      const show = 'ip -o link; ip rule; ip -6 rule; ip route show table 2005; ip -6 route show table 2005';
      const { stdout } = await run('nsenter', inside(second.namespace, ['sh', '-c', `${show} 2>&1`]));
      const there = stdout.split('\n').filter((line) => line.includes(tunnel.name) || /2005|unreachable/.test(line));
      return [
        ...there.filter((line) => !line.includes('does not exist')),
        ...(isAlive(tunnel.pid) ? ['its process'] : []),
        ...(existsSync(cgroupIfAny(instance, 'tunnel')?.path ?? '') ? ['its control group'] : []),
        ...(existsSync(controlSocket(tunnel.name)) ? ['its socket'] : []),
      ];
    };
    expect((await seen()).length).toBeGreaterThan(4);
    const uninstall = [...command, 'uninstall', '--instance', instance, '--state-dir', stateDirectory];
    const first = await run('nsenter', inside(second.namespace, uninstall));
    expect(first.stdout).toContain('the tunnel taken down, its SidestepNode removed');
    expect(await seen()).toEqual([]);
    expect(readdirSync(cluster.manifests.path).filter((file) => file.startsWith('sidestepnode-'))).toEqual([
      'sidestepnode-node-1.yaml',
    ]);
    expect((await run('nsenter', inside(second.namespace, uninstall))).code).toBe(0);
  });
});
