/** How much of policy is in force: audit of a policy, a namespace and a node, enforcement modes and enrolment, on real traffic. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ObservedFlow } from '../../control-plane/demo/flows.ts';
import { admit, TCP, TCP_PORT } from '../lib/policies.ts';
import { podName, policyName, System } from '../lib/system.ts';
import type { Workload } from '../lib/topology.ts';
import { connectTcp, FAMILIES, type Family, HeldConnection, tcpEchoServer } from '../lib/traffic.ts';

const AUDIT = { 'sidestep.dev/audit': 'true' };
const ENROLLED = { 'sidestep.dev/enrolled': 'true' };
/** An edit is in force by then, also where it comes as several files. */
const PATIENCE = { timeout: 10_000 };

/** A node with three pods, one of which answers. */
class Scene {
  readonly system: System;
  readonly client: Workload;
  readonly stranger: Workload;
  readonly server: Workload;

  private constructor(system: System, pods: readonly [Workload, Workload, Workload]) {
    this.system = system;
    [this.client, this.stranger, this.server] = pods;
  }

  /** Only the client is admitted to the server. */
  static async create(name: string, options: readonly string[], annotations = {}): Promise<Scene> {
    const system = await System.create(`modes-${name}`, options);
    const pod = (each: string): Promise<Workload> => system.pod(each, 'routed');
    const scene = new Scene(system, [await pod('client'), await pod('stranger'), await pod('server')]);
    system.policy('guard', admit('server', ['client'], TCP), annotations);
    await tcpEchoServer(scene.server, TCP_PORT);
    await system.start();
    return scene;
  }

  async ask(from: Workload, family: Family = 'ipv4'): Promise<string> {
    return (await connectTcp(from, this.server, family, TCP_PORT)).outcome;
  }

  /** An attempt, and what the record of its beginning says. */
  async seen(from: Workload, family: Family = 'ipv4'): Promise<{ outcome: string; flow: ObservedFlow }> {
    const since = Date.now() - 20;
    const outcome = await this.ask(from, family);
    const flow = await this.system.flow(
      `${from.name} to the server`,
      (each) =>
        each.time >= since && each.sourceAddress === from[family] && each.destinationAddress === this.server[family],
    );
    return { outcome, flow };
  }

  /** Until an edit of the manifests is in force. */
  async until(from: Workload, outcome: string): Promise<void> {
    await expect.poll(() => this.ask(from), PATIENCE).toBe(outcome);
  }
}

describe('on trial', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await Scene.create('trial', [], AUDIT);
  });
  afterAll(() => scene?.system.remove());

  test.each(FAMILIES)('what a policy would refuse passes, and the record names it, over %s', async (family) => {
    const { client, stranger, server } = scene;
    expect(await scene.seen(client, family)).toMatchObject({ outcome: 'answered', flow: { verdict: 'FORWARDED' } });
    const { outcome, flow } = await scene.seen(stranger, family);
    expect(outcome).toBe('answered');
    expect(flow).toMatchObject({ verdict: 'AUDIT', source: podName(stranger), destination: podName(server) });
    expect(flow.summary).toContain(`ingress would be denied by default, which ${policyName('guard')} switched on`);
  });

  test('beside a policy that is enforced: that one refuses, and the other says what it would', async () => {
    const { system, client, stranger } = scene;
    system.policy('open', admit('server', ['client', 'stranger'], TCP));
    const denied = { fromEndpoints: [{ matchLabels: { app: 'client' } }] };
    system.policy('trial', { endpointSelector: { matchLabels: { app: 'server' } }, ingressDeny: [denied] }, AUDIT);
    await expect.poll(async () => (await scene.seen(client)).flow.verdict, PATIENCE).toBe('AUDIT');
    const { outcome, flow } = await scene.seen(client);
    expect(outcome).toBe('answered');
    expect(flow.summary).toContain(`ingress would be denied by ${policyName('trial')}#ingressDeny[0]`);
    // Everything counted, the enforced one admits it.
    expect(await scene.seen(stranger)).toMatchObject({ outcome: 'answered', flow: { verdict: 'FORWARDED' } });
    system.policy('open', admit('server', ['client'], TCP));
    await scene.until(stranger, 'timeout');
    system.removePolicy('open');
    system.removePolicy('trial');
    await scene.until(stranger, 'answered');
  });

  test('no longer: it refuses, and cuts what it has let through', async () => {
    const { system, stranger, server } = scene;
    const held = await HeldConnection.open(stranger, server, 'ipv4', TCP_PORT);
    system.policy('guard', admit('server', ['client'], TCP));
    await scene.until(stranger, 'timeout');
    await expect(held.alive()).rejects.toThrow();
    await held.close();
    const { flow } = await scene.seen(stranger);
    expect(flow).toMatchObject({ verdict: 'DROPPED', dropReason: 'POLICY_DENIED', deniedBy: [policyName('guard')] });
  });

  test('with its whole namespace, and no longer', async () => {
    const { system, stranger } = scene;
    system.namespace({ annotations: AUDIT });
    await scene.until(stranger, 'answered');
    expect((await scene.seen(stranger)).flow.verdict).toBe('AUDIT');
    system.namespace({});
    await scene.until(stranger, 'timeout');
  });
});

test('on a node in audit mode nothing is refused, and every record says what would be', async () => {
  const scene = await Scene.create('node', ['--policy-audit-mode', 'true']);
  try {
    const { outcome, flow } = await scene.seen(scene.stranger);
    expect([outcome, flow.verdict]).toEqual(['answered', 'AUDIT']);
    expect(flow.summary).toContain(policyName('guard'));
  } finally {
    await scene.system.remove();
  }
});

test('enforcement always: pods that no policy selects are closed, both ways', async () => {
  const scene = await Scene.create('always', ['--enforcement', 'always']);
  try {
    const { system, client, server } = scene;
    // The server admits the client, whom nothing admits to the server.
    const { outcome, flow } = await scene.seen(client);
    expect([outcome, flow.verdict, flow.dropReason]).toEqual(['timeout', 'DROPPED', 'POLICY_DENIED']);
    expect(flow.summary).toContain('egress denied');
    system.policy('out', {
      endpointSelector: { matchLabels: { app: 'client' } },
      egress: [{ toEndpoints: [{ matchLabels: { app: 'server' } }] }],
    });
    await scene.until(client, 'answered');
    expect(await connectTcp(system.topology.node, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
  } finally {
    await scene.system.remove();
  }
});

test('enforcement never: nothing is refused, and no record speaks of policy', async () => {
  const scene = await Scene.create('never', ['--enforcement', 'never']);
  try {
    const { outcome, flow } = await scene.seen(scene.stranger);
    expect([outcome, flow.verdict]).toEqual(['answered', 'FORWARDED']);
    expect([...flow.allowedBy, ...flow.deniedBy]).toEqual([]);
  } finally {
    await scene.system.remove();
  }
});

test('enrolment by label: policy is enforced for pods of a namespace from the label on, and no longer without it', async () => {
  const scene = await Scene.create('enrol', ['--enrol', 'labelled']);
  try {
    const { system, stranger } = scene;
    const endpoints = async (): Promise<unknown> => JSON.parse((await system.agent.get('/v1/endpoints')).body);
    expect(await scene.ask(stranger)).toBe('answered');
    // No hook of ours is on their veths.
    expect([await endpoints(), system.links().size]).toEqual([[], 0]);
    system.namespace({ labels: ENROLLED });
    await scene.until(stranger, 'timeout');
    expect((await scene.seen(stranger)).flow.deniedBy).toEqual([policyName('guard')]);
    system.namespace({});
    await scene.until(stranger, 'answered');
    expect([await endpoints(), system.links().size]).toEqual([[], 0]);
  } finally {
    await scene.system.remove();
  }
});
