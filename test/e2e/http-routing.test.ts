/** HTTP rules and the node's routing: strict and loose source checks, servers on the node itself, and what is put back when it goes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inside, setSysctls } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { HTTP_PORT, httpServer } from '../lib/http.ts';
import { GET_ONLY, getOnly, verdicts } from '../lib/http-rules.ts';
import { nft } from '../lib/nftables.ts';
import { podName, policyName, System } from '../lib/system.ts';
import { type Host, snmp, type Workload } from '../lib/topology.ts';
import { connectTcp, FAMILIES, type Family } from '../lib/traffic.ts';

const INGRESS = policyName('ingress');
const EGRESS = policyName('egress');
/** The agent looks every 5 s. */
const MENDED = { timeout: 8_000 };

/** What the product needs, and what somebody sets instead. */
const SYSCTLS = [
  { path: 'net/ipv4/tcp_early_demux', wanted: '0', broken: '1' },
  { path: 'net/ipv4/tcp_fwmark_accept', wanted: '0', broken: '1' },
  { path: 'net/ipv4/conf/lo/accept_local', wanted: '1', broken: '0' },
  { path: 'net/ipv4/conf/lo/rp_filter', wanted: '2', broken: '1' },
  { path: 'net/ipv4/ip_local_port_range', wanted: '32768\t65535', broken: '32768\t60999' },
];

describe.each(['routed', 'bridge'] as const)('the way to Envoy, %s workloads', (attach) => {
  let system: System;
  /** Without rules of its own. */
  let client: Workload;
  /** Under an ingress rule. */
  let server: Workload;
  /** Under an egress rule. */
  let caller: Workload;

  beforeAll(async () => {
    system = await System.create(`way-${attach}`, ['--envoy-strict', 'true']);
    client = await system.pod('client', attach);
    server = await system.pod('server', attach);
    caller = await system.pod('caller', attach);
    const { far, node } = system.topology;
    await Promise.all([server, far, node].map((host) => httpServer(host)));
    system.policy('ingress', {
      endpointSelector: { matchLabels: { app: 'server' } },
      ingress: [
        { fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: GET_ONLY },
        { fromEntities: ['world'], toPorts: GET_ONLY },
      ],
    });
    system.policy('egress', {
      endpointSelector: { matchLabels: { app: 'caller' } },
      egress: [{ toEntities: ['world', 'host'], toPorts: GET_ONLY }],
    });
    await system.start();
  });

  afterAll(() => system?.remove());

  const judge = (from: Host, to: Host, family: Family): ReturnType<typeof verdicts> =>
    verdicts(system, from, to, family);

  const onNode = async (script: string): Promise<string> =>
    (await run('nsenter', inside(system.topology.node.namespace, ['sh', '-ec', script]))).stdout.trim();

  const sysctl = (path: string): Promise<string> => onNode(`cat /proc/sys/${path}`);

  /** Stops the agent, so that it mends nothing before the action has ended. */
  async function unwatched(action: () => Promise<void>): Promise<void> {
    const { pid } = system.agent;
    if (pid === undefined) throw new Error('the agent does not run');
    process.kill(pid, 'SIGSTOP');
    try {
      await action();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  }

  async function everyWay(family: Family): Promise<void> {
    const { far } = system.topology;
    await Promise.all([
      judge(client, server, family).then((found) => expect(found).toEqual(getOnly(client[family], INGRESS))),
      judge(far, server, family).then((found) => expect(found).toEqual(getOnly(far[family], INGRESS))),
      judge(caller, far, family).then((found) => expect(found).toEqual(getOnly(caller[family], EGRESS))),
    ]);
  }

  test('the rules are in force', async () => {
    await expect.poll(() => judge(client, server, 'ipv4'), { timeout: 10_000 }).toMatchObject({ post: 403 });
  });

  test.each(FAMILIES)('a server on the node itself, under a rule of the client, over %s', async (family) => {
    const { node } = system.topology;
    expect(await judge(caller, node, family)).toEqual(getOnly(caller[family], EGRESS));
    // The address of its uplink, too.
    const uplink = { ...node, ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
    expect(await judge(caller, uplink, family)).toEqual(getOnly(caller[family], EGRESS));
    // And whoever has no such rule speaks to it as ever.
    expect(await judge(client, node, family)).toMatchObject({ get: 200, seen: client[family], post: 200 });
  });

  test.each([0, 1, 2])('rp_filter %i on every interface', async (mode) => {
    await onNode(`for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo ${mode} > $each; done`);
    // On lo it is the product's.
    if (mode === 1) await expect.poll(() => sysctl('net/ipv4/conf/lo/rp_filter'), MENDED).toBe('2');
    await everyWay('ipv4');
    expect(await judge(caller, system.topology.node, 'ipv4')).toEqual(getOnly(caller.ipv4, EGRESS));
  });

  // What follows is the node's own, however its workloads are attached.
  if (attach === 'bridge') return;

  test('what somebody takes away is put back, and the log says so', async () => {
    const { node } = system.topology;
    const before = system.agent.log().length;
    await unwatched(async () => {
      // As a firewall that is loaded anew does, and a network manager that takes away what it did not make.
      await nft(node, 'flush ruleset\n');
      await setSysctls(node.namespace, Object.fromEntries(SYSCTLS.map(({ path, broken }) => [path, broken])));
      for (const version of ['-4', '-6'])
        await onNode(`ip ${version} rule del lookup 2004; ip ${version} route flush table 2004`);
    });
    await expect.poll(() => system.agent.log().slice(before), MENDED).toContain('the way to Envoy was mended');
    const log = system.agent.log().slice(before);
    for (const { path, wanted } of SYSCTLS) {
      expect(await sysctl(path), path).toBe(wanted);
      expect(log).toContain(`sysctl ${path}`);
    }
    for (const family of [4, 6]) {
      expect(log).toContain(`IPv${family} route in table 2004`);
      expect(log).toContain(`IPv${family} rule for table 2004`);
    }
    expect(log).toContain(`nftables table inet sidestep-${system.instance}`);
    expect(await onNode('nft list tables')).toBe(`table inet sidestep-${system.instance}`);
    await Promise.all(FAMILIES.map(everyWay));
  });

  test('while the way is missing nothing goes past Envoy, and the flow says where connections are lost', async () => {
    const { far } = system.topology;
    const received = async (): Promise<number> => (await snmp(far.namespace)).get('Tcp.InSegs') ?? 0;
    const since = Date.now() - 20;
    await unwatched(async () => {
      await onNode('ip -4 rule del lookup 2004; ip -6 rule del lookup 2004');
      const before = await received();
      const outcomes = await Promise.all(FAMILIES.map((family) => connectTcp(caller, far, family, HTTP_PORT)));
      expect(outcomes).toMatchObject([{ outcome: 'timeout' }, { outcome: 'timeout' }]);
      expect(await received()).toBe(before);
    });
    for (const family of FAMILIES) {
      const lost = await system.flow(
        'lost on the way to Envoy',
        ({ time, verdict, source, destinationAddress }) =>
          time >= since && verdict === 'DROPPED' && source === podName(caller) && destinationAddress === far[family],
      );
      expect(lost.dropReason).toBe('SOCKET_LOOKUP_FAILED');
      await expect.poll(() => judge(caller, far, family), MENDED).toEqual(getOnly(caller[family], EGRESS));
    }
  });
});
