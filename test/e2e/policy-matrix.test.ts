import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ObservedFlow } from '../../control-plane/demo/flows.ts';
import { admit, limitToEntities, TCP, TCP_PORT } from '../lib/policies.ts';
import { podName, policyName, System } from '../lib/system.ts';
import type { Host, Workload } from '../lib/topology.ts';
import { connectTcp, FAMILIES, type Family, tcpEchoServer } from '../lib/traffic.ts';

const OTHER_PORT = 7002;

describe.each(['routed', 'bridge'] as const)('policy for %s workloads', (attach) => {
  let system: System;
  let client: Workload;
  let server: Workload;
  let stranger: Workload;
  let limited: Workload;
  let remote: Host;
  let far: Host;

  beforeAll(async () => {
    system = await System.create(`matrix-${attach}`);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    stranger = await system.pod('stranger', attach);
    limited = await system.pod('limited', attach);
    remote = await system.remotePod('remote', 'client');
    far = system.topology.far;
    system.policy('guard', admit('server', ['client', 'limited'], TCP));
    system.policy('limit', limitToEntities('limited', ['world'], TCP));
    for (const host of [server, far]) for (const port of [TCP_PORT, OTHER_PORT]) await tcpEchoServer(host, port);
    await system.start();
  });

  afterAll(() => system?.remove());

  /** One attempt, its flow, and the flow's line. */
  async function attempt(
    from: Host,
    to: Host,
    family: Family,
    port: number,
  ): Promise<{ outcome: string; flow: ObservedFlow; line: string }> {
    const since = Date.now() - 20;
    const { outcome } = await connectTcp(from, to, family, port);
    const flow = await system.flow(
      `${from.name} to ${to.name}:${port}`,
      (each) =>
        each.time >= since &&
        each.sourceAddress === from[family] &&
        each.destinationAddress === to[family] &&
        each.destinationPort === port,
    );
    return { outcome, flow, line: await system.lineOf(flow) };
  }

  const ADMITTED = { outcome: 'answered', flow: { verdict: 'FORWARDED' } };
  const REFUSED = { outcome: 'timeout', flow: { verdict: 'DROPPED', dropReason: 'POLICY_DENIED' } };

  describe.each(FAMILIES)('over %s', (family) => {
    test('a local peer that the policy names is answered, and the flow names the policy', async () => {
      const seen = await attempt(client, server, family, TCP_PORT);
      expect(seen).toMatchObject(ADMITTED);
      expect(seen.flow).toMatchObject({ source: podName(client), destination: podName(server) });
      expect(seen.flow.allowedBy).toContain(policyName('guard'));
      expect(seen.line).toContain('guard');
    });

    test('a local peer that the policy does not name hears nothing, and the flow names the policy', async () => {
      const seen = await attempt(stranger, server, family, TCP_PORT);
      expect(seen).toMatchObject(REFUSED);
      expect(seen.flow.deniedBy).toContain(policyName('guard'));
      expect(seen.line).toMatch(/guard/);
    });

    test('a peer that may use one port may not use another', async () => {
      const seen = await attempt(client, server, family, OTHER_PORT);
      expect(seen).toMatchObject(REFUSED);
      expect(seen.flow.deniedBy).toContain(policyName('guard'));
    });

    test('a pod of another node is known by its identity and answered', async () => {
      const seen = await attempt(remote, server, family, TCP_PORT);
      expect(seen).toMatchObject(ADMITTED);
      expect(seen.flow).toMatchObject({ source: podName(remote) });
      expect(seen.flow.allowedBy).toContain(policyName('guard'));
    });

    test('the world beyond the uplink hears nothing, and the flow names the policy', async () => {
      const seen = await attempt(far, server, family, TCP_PORT);
      expect(seen).toMatchObject(REFUSED);
      expect(seen.flow.deniedBy).toContain(policyName('guard'));
    });

    test('egress to the world is admitted where the policy says so', async () => {
      const seen = await attempt(limited, far, family, TCP_PORT);
      expect(seen).toMatchObject(ADMITTED);
      expect(seen.flow.allowedBy).toContain(policyName('limit'));
    });

    test('egress to the world is refused on another port, at the sender', async () => {
      const seen = await attempt(limited, far, family, OTHER_PORT);
      expect(seen).toMatchObject(REFUSED);
      expect(seen.flow.deniedBy).toContain(policyName('limit'));
    });

    test('egress to a local pod is refused although that pod would admit it', async () => {
      const seen = await attempt(limited, server, family, TCP_PORT);
      expect(seen).toMatchObject(REFUSED);
      expect(seen.flow.deniedBy).toContain(policyName('limit'));
    });

    test('the node itself reaches its workloads', async () => {
      expect(await connectTcp(system.topology.node, server, family, TCP_PORT)).toMatchObject({ outcome: 'answered' });
    });

    test('a pod that no policy selects may do as it likes', async () => {
      expect(await connectTcp(stranger, far, family, OTHER_PORT)).toMatchObject({ outcome: 'answered' });
    });
  });
});
