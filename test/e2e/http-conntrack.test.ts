/**
 * HTTP rules on a node whose own stack tracks connections, translates addresses and filters: packets on their way to Envoy
 * pass that stack twice, or are answered where it has not seen the question.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { LEG_PORT_FIRST } from '../../control-plane/datapath/load.ts';
import { inside, ipBatch } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { HTTP_PORT, httpServer } from '../lib/http.ts';
import { GET_ONLY, getOnly, getOnlyAt, verdicts } from '../lib/http-rules.ts';
import { filter, loadRules, nat, removeRules } from '../lib/nftables.ts';
import { podName, policyName, System } from '../lib/system.ts';
import { type Host, UPLINK, type Workload } from '../lib/topology.ts';
import { connectTcp, FAMILIES, type Family } from '../lib/traffic.ts';

const NODE_PORT = 30_080;
const SERVICE_PORT = 80;
const INGRESS = policyName('ingress');
const EGRESS = policyName('egress');

/** Addresses that only translation rules know. */
const somewhere = (name: string, ipv4: string, ipv6: string): Host => ({ name, namespace: '', ipv4, ipv6 });
/** Its backend is `server`. */
const SERVICE = somewhere('service', '10.96.0.10', 'fd96::10');
/** Its backend is `elsewhere`, on another node. */
const REMOTE_SERVICE = somewhere('remote-service', '10.96.0.11', 'fd96::11');
const NODE = somewhere('node', '192.0.2.1', '2001:db8::1');

/** Connections to one address go to another. */
const dnat = (from: Host, port: number, to: Host): string[] => [
  `ip daddr ${from.ipv4} tcp dport ${port} dnat ip to ${to.ipv4}:8080`,
  `ip6 daddr ${from.ipv6} tcp dport ${port} dnat ip6 to [${to.ipv6}]:8080`,
];

/** What a firewall with a policy of drop lets through anyway: answers, and neighbour discovery. */
const USUAL = ['ct state established,related accept', 'meta l4proto ipv6-icmp accept'];
const HOOKS = ['input', 'forward', 'output'] as const;
const NEW_HTTP = 'ct state new tcp dport 8080 accept';

/** Both at once: most of the time is waiting. */
async function forBoth(action: (family: Family) => Promise<void>): Promise<void> {
  await Promise.all(FAMILIES.map(action));
}

describe.each(['routed', 'bridge'] as const)('connection tracking, %s workloads', (attach) => {
  let system: System;
  /** Without rules of its own. */
  let client: Workload;
  /** Under an ingress rule. */
  let server: Workload;
  /** Under an egress rule. */
  let caller: Workload;
  /** Its egress rule knows pods only. */
  let narrow: Workload;
  /** Its egress rule knows the world only. */
  let worldly: Workload;
  let elsewhere: Host;

  beforeAll(async () => {
    system = await System.create(`ct-${attach}`, ['--envoy-strict', 'true']);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    caller = await system.pod('caller', attach);
    narrow = await system.pod('narrow', attach);
    worldly = await system.pod('worldly', attach);
    elsewhere = await system.remotePod('elsewhere');
    const { far, node } = system.topology;
    await Promise.all([server, elsewhere, far, node].map((host) => httpServer(host)));
    // As any node has it: without a route there is nothing to translate.
    await ipBatch(node.namespace, [`route add default via ${far.ipv4}`, `route add ::/0 via ${far.ipv6}`]);
    const toPods = ['server', 'elsewhere'].map((app) => ({ matchLabels: { app } }));
    system.policy('ingress', {
      endpointSelector: { matchLabels: { app: 'server' } },
      ingress: [
        { fromEndpoints: ['client', 'caller', 'worldly'].map((app) => ({ matchLabels: { app } })), toPorts: GET_ONLY },
        { fromEntities: ['world'], toPorts: GET_ONLY },
      ],
    });
    const egress = (app: string, ...rules: object[]): object => ({
      endpointSelector: { matchLabels: { app } },
      egress: rules,
    });
    const toWorld = [...GET_ONLY, ...getOnlyAt(SERVICE_PORT)];
    system.policy(
      'egress',
      egress('caller', { toEntities: ['world', 'host'], toPorts: toWorld }, { toEndpoints: toPods, toPorts: GET_ONLY }),
    );
    system.policy('narrow', egress('narrow', { toEndpoints: toPods, toPorts: GET_ONLY }));
    system.policy('worldly', egress('worldly', { toEntities: ['world'], toPorts: toWorld }));
    await system.start();
  });

  afterEach(async () => {
    const { node } = system.topology;
    await removeRules(node);
    // Envoy keeps connections to backends. One that was opened under other rules would tell nothing of these.
    await run('nsenter', inside(node.namespace, ['ss', '-HKt', 'sport', 'ge', `:${LEG_PORT_FIRST}`]));
  });
  afterAll(() => system?.remove());

  const judge = (from: Host, to: Host, family: Family, port?: number): ReturnType<typeof verdicts> =>
    verdicts(system, from, to, family, port);

  /** Every way that packets go to Envoy and back, each with the client's own address. */
  async function everyWay(family: Family): Promise<void> {
    const { far, node } = system.topology;
    const ways = [
      { from: client, to: server, by: INGRESS },
      { from: far, to: server, by: INGRESS },
      { from: caller, to: server, by: EGRESS },
      { from: caller, to: far, by: EGRESS },
      { from: caller, to: elsewhere, by: EGRESS },
      { from: caller, to: node, by: EGRESS },
    ];
    await Promise.all(
      ways.map(async ({ from, to, by }) =>
        expect(await judge(from, to, family), `${from.name} to ${to.name}`).toEqual(getOnly(from[family], by)),
      ),
    );
    // Not through Envoy: this node's own processes.
    expect(await judge(node, server, family)).toMatchObject({ get: 200, post: 200 });
  }

  test('the rules are in force', async () => {
    await expect.poll(() => judge(client, server, 'ipv4'), { timeout: 10_000 }).toMatchObject({ post: 403 });
  });

  test('a node port, translated and masqueraded: whoever is behind the node is the world', async () => {
    const { far, node } = system.topology;
    const masquerade = `iifname ${UPLINK} ct status dnat masquerade`;
    await loadRules(node, nat('prerouting', ...dnat(NODE, NODE_PORT, server)), nat('postrouting', masquerade));
    await forBoth(async (family) => {
      const answer = await judge(far, NODE, family, NODE_PORT);
      expect(answer).toMatchObject({ get: 200, post: 403, refusedBy: [INGRESS] });
      expect(answer.seen).not.toBe(far[family]);
      expect(await judge(far, server, family)).toEqual(getOnly(far[family], INGRESS));
    });
  });

  test('a node port, translated only: the backend sees the client', async () => {
    const { far, node } = system.topology;
    await loadRules(node, nat('prerouting', ...dnat(NODE, NODE_PORT, server)));
    await forBoth(async (family) => {
      expect(await judge(far, NODE, family, NODE_PORT)).toEqual(getOnly(far[family], INGRESS));
    });
  });

  test('a service address that the node translates, under a rule of the backend', async () => {
    await loadRules(system.topology.node, ...services());
    await forBoth(async (family) => {
      expect(await judge(client, SERVICE, family, SERVICE_PORT)).toEqual(getOnly(client[family], INGRESS));
    });
  });

  test('the same under a rule of the client: the address is the world, a backend here is judged by its own name', async () => {
    await loadRules(system.topology.node, ...services());
    await forBoth(async (family) => {
      expect(await judge(caller, SERVICE, family, SERVICE_PORT)).toEqual(getOnly(caller[family], EGRESS));
      expect(await judge(caller, REMOTE_SERVICE, family, SERVICE_PORT)).toEqual(getOnly(caller[family], EGRESS));
      // Envoy's own connection meets the egress rules again where it reaches the backend.
      expect(await judge(worldly, SERVICE, family, SERVICE_PORT)).toMatchObject({ get: 503, post: 403 });
      const refused = await system.flow(
        'what is not the world',
        ({ verdict, sourceAddress, destination }) =>
          verdict === 'DROPPED' && sourceAddress === worldly[family] && destination === podName(server),
      );
      expect(refused).toMatchObject({ dropReason: 'POLICY_DENIED', deniedBy: [policyName('worldly')] });
    });
  });

  test('a rule that names pods admits no service address, and the flow says so', async () => {
    await loadRules(system.topology.node, ...services());
    await forBoth(async (family) => {
      expect(await judge(narrow, elsewhere, family)).toEqual(getOnly(narrow[family], policyName('narrow')));
      expect(await connectTcp(narrow, REMOTE_SERVICE, family, SERVICE_PORT)).toMatchObject({ outcome: 'timeout' });
      const refused = await system.flow(
        'the service address',
        (flow) => flow.source === podName(narrow) && flow.destinationAddress === REMOTE_SERVICE[family],
      );
      expect(refused).toMatchObject({
        verdict: 'DROPPED',
        dropReason: 'POLICY_DENIED',
        deniedBy: [policyName('narrow')],
      });
    });
  });

  test('what leaves by the uplink is masqueraded, and the answers find Envoy', async () => {
    const { far, node } = system.topology;
    await loadRules(node, nat('postrouting', `oifname ${UPLINK} masquerade`));
    await forBoth(async (family) => {
      expect(await judge(caller, far, family)).toEqual(getOnly(NODE[family], EGRESS));
    });
  });

  test('a firewall that drops what connection tracking calls invalid drops nothing of it', async () => {
    const invalid = 'ct state invalid drop';
    await loadRules(system.topology.node, ...HOOKS.map((hook) => filter(hook, 'accept', invalid)));
    await forBoth(everyWay);
  });

  test('a firewall that accepts answers, lo, what is not tracked, and the ports that somebody opened', async () => {
    await loadRules(
      system.topology.node,
      filter('input', 'drop', ...USUAL, 'iif lo accept', NEW_HTTP),
      filter('forward', 'drop', ...USUAL, NEW_HTTP),
      filter('output', 'drop', ...USUAL, 'ct state untracked accept', NEW_HTTP),
    );
    await forBoth(everyWay);
  });

  test.each(['input', 'output'] as const)(
    'a firewall that lets nothing untracked through its %s chain: the flow says where connections are lost',
    async (hook) => {
      const since = Date.now() - 20;
      await loadRules(system.topology.node, filter(hook, 'drop', ...USUAL, NEW_HTTP));
      await forBoth(async (family) => {
        expect(await connectTcp(client, server, family, HTTP_PORT)).toMatchObject({ outcome: 'timeout' });
        const flow = await system.flow(
          'lost on the way to Envoy',
          ({ time, verdict, sourceAddress }) =>
            time >= since && verdict === 'DROPPED' && sourceAddress === client[family],
        );
        expect(flow).toMatchObject({ dropReason: 'SOCKET_LOOKUP_FAILED', destination: podName(server) });
      });
    },
  );

  /** As kube-proxy has them: for pods, and for what this node sends. */
  function services(): string[] {
    const rules = [...dnat(SERVICE, SERVICE_PORT, server), ...dnat(REMOTE_SERVICE, SERVICE_PORT, elsewhere)];
    return [nat('prerouting', ...rules), nat('output', ...rules)];
  }
});
