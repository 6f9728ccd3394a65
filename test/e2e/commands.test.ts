/** What a person types, against one running agent: every command, its formats and its exit codes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AgentStatus, EndpointRow, IdentityRow, PolicyRow } from '../../control-plane/agent/view.ts';
import { Child, type RunOptions, type RunResult, run } from '../../control-plane/demo/process.ts';
import type { FlowResponse } from '../../control-plane/observe/flow.ts';
import type { CheckAnswer } from '../../control-plane/policy/check.ts';
import { admit, TCP, TCP_PORT, UDP_PORT } from '../lib/policies.ts';
import { NODE, podName, policyName, System } from '../lib/system.ts';
import { ROOT } from '../lib/tools.ts';
import type { Workload } from '../lib/topology.ts';
import { askUdp, connectTcp, FAMILIES, HeldConnection, ping, tcpEchoServer, udpEchoServer } from '../lib/traffic.ts';

const SIDESTEP = join(ROOT, 'bin/sidestep');
const DENIED = `ingress denied by default, which ${policyName('guard')} switched on`;

let system: System;
let client: Workload;
let server: Workload;
let stranger: Workload;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sidestep-commands-'));
  system = await System.create('commands', ['--flow-history', '5000']);
  client = await system.pod('client', 'routed');
  server = await system.pod('server', 'routed');
  stranger = await system.pod('stranger', 'routed');
  system.policy('guard', admit('server', ['client'], TCP));
  await tcpEchoServer(server, TCP_PORT);
  await udpEchoServer(server, UDP_PORT);
  await system.start();
});

afterAll(async () => {
  await system?.remove();
  rmSync(folder, { recursive: true });
});

function sidestep(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return run(SIDESTEP, args, { tolerate: true, timeoutMs: 20_000, ...options });
}

/** A command that must succeed, asked of our agent. */
async function ask(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await sidestep([...args, '--instance', system.instance]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

async function status(): Promise<AgentStatus> {
  return JSON.parse(await system.status()) as AgentStatus;
}

function linesOf(text: string): string[] {
  return text.split('\n').slice(0, -1);
}

function flowsOf(text: string): Extract<FlowResponse, { readonly flow: unknown }>['flow'][] {
  return linesOf(text).map((line) => (JSON.parse(line) as Extract<FlowResponse, { readonly flow: unknown }>).flow);
}

describe('observe', () => {
  /** All of TCP up to here: what comes later does not disturb. */
  let recorded: string;
  let bounds: readonly string[];

  beforeAll(async () => {
    const admitted = await connectTcp(client, server, 'ipv4', TCP_PORT);
    const refused = await connectTcp(stranger, server, 'ipv6', TCP_PORT);
    expect([admitted.outcome, refused.outcome]).toEqual(['answered', 'timeout']);
    await system.flow('the close', ({ raw }) => raw.includes('closed after') && raw.includes(`${admitted.port}`));
    await system.flow('the refusal', ({ source, verdict }) => source === podName(stranger) && verdict === 'DROPPED');
    recorded = await ask('observe', '--all', '-o', 'json', '--protocol', 'tcp');
    bounds = ['--protocol', 'tcp', '--until', flowsOf(recorded).at(-1)?.time ?? ''];
  });

  const observe = (...args: readonly string[]): Promise<string> => ask('observe', ...bounds, ...args);

  test('--last answers the newest, --first the oldest, in the order they came', async () => {
    expect(linesOf(await observe('-o', 'json', '--last', '2'))).toEqual(linesOf(recorded).slice(-2));
    expect(linesOf(await observe('-o', 'json', '--first', '2'))).toEqual(linesOf(recorded).slice(0, 2));
    expect(await observe('-o', 'json')).toBe(recorded);
    expect(await observe('--last', '0')).toBe('');
  });

  test('without a bound answers 20', async () => {
    for (let i = 0; i < 10; i++) await connectTcp(client, server, 'ipv4', TCP_PORT);
    await expect.poll(async () => linesOf(await ask('observe')).length).toBe(20);
  });

  test('--pod and --verdict leave the flows that match', async () => {
    const refused = linesOf(recorded).filter((line) => line.includes('"verdict":"DROPPED"'));
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(linesOf(recorded).length);
    expect(linesOf(await observe('-o', 'json', '--verdict', 'DROPPED'))).toEqual(refused);
    expect(linesOf(await observe('-o', 'json', '--pod', podName(stranger)))).toEqual(refused);
    expect(linesOf(await observe('-o', 'json', '--pod', 'stra'))).toEqual(refused);
    expect(await observe('--pod', podName(client), '--verdict', 'DROPPED')).toBe('');
    const others = linesOf(recorded).filter((line) => !refused.includes(line));
    expect(linesOf(await observe('-o', 'json', '--not', '--from-pod', podName(stranger)))).toEqual(others);
  });

  test('a line says who, whether, and which rule decided', async () => {
    const time = String.raw`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\.\d{3}: `;
    const [refused = ''] = linesOf(await observe('--verdict', 'DROPPED'));
    expect(refused).toMatch(new RegExp(`${time}shop/stranger:\\d+ \\(ID:\\d+\\) <> shop/server:7000 \\(ID:\\d+\\) `));
    expect(refused).toContain(` Policy denied DROPPED (TCP Flags: SYN; ${DENIED})`);
    const [admitted = ''] = linesOf(await observe('--type', 'policy-verdict', '--print-policy-names'));
    expect(admitted).toMatch(new RegExp(`${time}shop/client:\\d+ \\(ID:\\d+\\) -> shop/server:7000 \\(ID:\\d+\\) `));
    expect(admitted).toContain(
      ' policy-verdict:L3-L4 INGRESS ALLOWED BY guard (CiliumNetworkPolicy) ' +
        `(TCP Flags: SYN; ingress allowed by ${policyName('guard')}#ingress[0])`,
    );
  });

  test('--follow shows a flow when it comes, and ends at Ctrl-C', async () => {
    const { followers } = (await status()).flows;
    const follower = Child.start(SIDESTEP, [
      'observe',
      '--follow',
      '--to-pod',
      'server',
      '--instance',
      system.instance,
    ]);
    await expect.poll(async () => (await status()).flows.followers).toBe(followers + 1);
    expect(follower.lines).toEqual([]);
    const { port } = await connectTcp(client, server, 'ipv4', TCP_PORT);
    const line = await follower.waitForLine((each) => each.includes(`shop/client:${port} `));
    expect(line).toContain(' ALLOWED (');
    follower.kill('SIGINT');
    expect(await follower.exited).toEqual({ code: 130, signal: null });
    await expect.poll(async () => (await status()).flows.followers).toBe(followers);
  });

  test('--input-file answers from a recording what the agent answered', async () => {
    const file = join(folder, 'flows.jsonl');
    writeFileSync(file, recorded);
    const questions = [
      ['-o', 'json'],
      ['-o', 'compact'],
      ['-o', 'dict', '--print-node-name'],
      ['-o', 'table', '--numeric'],
      ['--verdict', 'DROPPED', '--last', '1'],
      ['--not', '--verdict', 'DROPPED', '--first', '1'],
      ['--last', '0'],
    ];
    for (const question of questions) {
      const replayed = await sidestep(['observe', '--input-file', file, ...question]);
      expect(replayed).toEqual({ code: 0, stderr: '', stdout: await observe(...question) });
    }
    const piped = await sidestep(['observe', '--input-file', '-', '-o', 'json'], { input: recorded });
    expect(piped.stdout).toBe(recorded);
  });

  test('a loss in a recording is told whatever the filter', async () => {
    const lost = { source: 'OBSERVER_EVENTS_QUEUE', num_events_lost: '3' };
    const input = `${JSON.stringify({ lost_events: lost, node_name: NODE, time: '2026-01-04T10:15:02.123456Z' })}\n`;
    const { stdout } = await sidestep(['observe', '--input-file', '-', '--verdict', 'DROPPED'], { input });
    expect(stdout).toMatch(/^Jan {2}4 .* EVENTS LOST: OBSERVER_EVENTS_QUEUE CPU\(0\) 3\n$/);
  });

  test.each([
    ['no JSON', 'Jan 4 10:15:02: a line\n'],
    ['nothing', 'null\n'],
    ['no record', '{"level":30,"msg":"hello"}\n'],
    ['an empty flow', '{"flow":{},"node_name":"n","time":"2026-01-04T10:15:02.123456Z"}\n'],
    ['an empty loss', '{"lost_events":null,"node_name":"n","time":"2026-01-04T10:15:02.123456Z"}\n'],
  ])('a recording with %s in it is refused with the line', async (_, line) => {
    const answer = await sidestep(['observe', '--input-file', '-'], { input: `${linesOf(recorded)[0]}\n${line}` });
    expect(answer).toMatchObject({ code: 65, stdout: '' });
    expect(answer.stderr).toBe(
      'error[INPUT_INVALID]: -:2 is not a recorded flow\nhint: Record with `sidestep observe -o json`.\n',
    );
  });
});

describe('status', () => {
  test('is a page to read', async () => {
    const text = await ask('status');
    expect(text).toMatch(/^Agent {6}ready √ {2}version \S+, pid \d+, node node-1, instance /);
    expect(text).toMatch(/^Endpoints {2}3 ready {2}\((tcx|clsact)\)$/m);
    expect(text).toContain('\nPolicies   1 accepted\n');
    expect(text).toContain('\nBypass     off\n');
  });

  test('-o json has the configuration, and where each value is from', async () => {
    const answer = JSON.parse(await ask('status', '-o', 'json')) as AgentStatus;
    expect(answer).toMatchObject({
      health: 'ready',
      synced: true,
      node: NODE,
      instance: system.instance,
      pid: system.agent.pid,
      issues: [],
      degraded: [],
      endpoints: { ready: 3, degraded: 0, waiting: 0 },
      policies: { accepted: 1, 'last-good': 0, refused: 0 },
      bypass: { all: false, namespaces: [] },
      config: {
        source: { value: system.manifests.path, origin: 'flag' },
        flowHistory: { value: 5000, origin: 'flag' },
        ringBytes: { value: 4 << 20, origin: 'default' },
        metricsAddress: { value: null, origin: 'default' },
      },
    });
    expect(answer.revision.kernel).toBe(answer.revision.snapshot);
    expect(answer.revision.kernel).toBeGreaterThan(0);
    expect(answer.drops).toContainEqual(expect.objectContaining({ reason: 'POLICY_DENIED' }));
  });
});

describe('the lists', () => {
  test('of endpoints has addresses, hooks and what is enforced', async () => {
    const rows = JSON.parse(await ask('endpoint', 'list', '-o', 'json')) as EndpointRow[];
    expect(rows.map(({ pod }) => pod).sort()).toEqual(['client', 'server', 'stranger']);
    const row = rows.find(({ pod }) => pod === 'server');
    expect(row).toMatchObject({
      namespace: 'shop',
      addresses: [server.ipv4, server.ipv6],
      state: 'ready',
      interface: { name: 'to-server' },
      egress: { enforcing: false },
      ingress: { enforcing: true },
    });
    const lines = linesOf(await ask('endpoint', 'list'));
    expect(lines).toHaveLength(4);
    expect(words(lines[0])).toEqual('ID NAMESPACE POD IDENTITY ADDRESSES INTERFACE EGRESS INGRESS STATE'.split(' '));
    expect(words(lines.find((line) => line.includes(' server ')))).toEqual([
      String(row?.id),
      'shop',
      'server',
      String(row?.identity),
      `${server.ipv4},${server.ipv6}`,
      `to-server (${row?.interface?.attach})`,
      'open',
      'enforced',
      'ready',
    ]);
  });

  test('of identities has the labels that each stands for', async () => {
    const rows = JSON.parse(await ask('identity', 'list', '-o', 'json')) as IdentityRow[];
    expect(rows).toContainEqual({ id: 2, labels: expect.arrayContaining([expect.stringMatching(/^reserved:world/)]) });
    const row = rows.find(({ labels }) => labels.includes('k8s:app=server'));
    expect(row?.labels).toContain('k8s:io.kubernetes.pod.namespace=shop');
    const lines = linesOf(await ask('identity', 'list'));
    expect(words(lines[0])).toEqual(['ID', 'LABELS']);
    expect(lines.map(words)).toContainEqual([String(row?.id), row?.labels.join(',')]);
  });

  test('of policies has their state and whom they select', async () => {
    const rows = JSON.parse(await ask('policy', 'list', '-o', 'json')) as PolicyRow[];
    expect(rows).toEqual([
      {
        kind: 'CiliumNetworkPolicy',
        namespace: 'shop',
        name: 'guard',
        state: 'accepted',
        audit: false,
        selects: ['shop/server'],
        issues: [],
        origin: expect.stringMatching(/policy-guard\.yaml/),
      },
    ]);
    const lines = linesOf(await ask('policy', 'list'));
    expect(lines.map(words)).toEqual([
      ['NAMESPACE', 'NAME', 'KIND', 'STATE', 'MODE', 'SELECTS', 'ORIGIN'],
      ['shop', 'guard', 'CiliumNetworkPolicy', 'accepted', 'enforced', 'shop/server', rows[0]?.origin],
    ]);
  });

  /** Cells of a row: columns stand three blanks apart. */
  function words(line: string | undefined): string[] {
    return (line ?? '').split(/ {3,}/);
  }
});

describe('policy check', () => {
  const over = {
    tcp: async (from: Workload, to: Workload) => (await connectTcp(from, to, 'ipv4', TCP_PORT)).outcome === 'answered',
    udp: async (from: Workload, to: Workload) => (await askUdp(from, to, 'ipv4', UDP_PORT)).outcome === 'answered',
    icmp: async (from: Workload, to: Workload) => (await ping(from, to, 'ipv4')) === 1,
  };

  test('says offline what the kernel does', async () => {
    const questions = [
      { from: client, to: server, port: `${TCP_PORT}/TCP`, kernel: over.tcp, allowed: true },
      { from: stranger, to: server, port: `${TCP_PORT}/TCP`, kernel: over.tcp, allowed: false },
      { from: client, to: server, port: `${UDP_PORT}/UDP`, kernel: over.udp, allowed: false },
      { from: client, to: server, port: '8/ICMP', kernel: over.icmp, allowed: false },
      { from: client, to: stranger, port: '8/ICMP', kernel: over.icmp, allowed: true },
    ];
    for (const { from, to, port, kernel, allowed } of questions) {
      const args = ['--from', podName(from), '--to', podName(to), '--port', port];
      const { code, stdout } = await sidestep(['policy', 'check', '-f', system.manifests.path, ...args, '-o', 'json']);
      const { verdict } = JSON.parse(stdout) as CheckAnswer;
      expect([args, verdict, code]).toEqual([args, allowed ? 'ALLOWED' : 'DENIED', allowed ? 0 : 79]);
      expect([args, await kernel(from, to)]).toEqual([args, allowed]);
    }
  });

  test('names the policy that the flow names', async () => {
    const args = ['--from', podName(stranger), '--to', podName(server), '--port', `${TCP_PORT}/TCP`];
    const { stdout } = await sidestep(['policy', 'check', '-f', system.manifests.path, ...args, '-o', 'json']);
    const { ingress } = JSON.parse(stdout) as CheckAnswer;
    expect(ingress).toMatchObject({ reason: 'default-deny', policies: [{ namespace: 'shop', name: 'guard' }] });
    await connectTcp(stranger, server, 'ipv4', TCP_PORT);
    const flow = await system.flow('refused', (each) => each.source === podName(stranger));
    expect(flow.deniedBy).toEqual(ingress.policies.map(({ kind, namespace, name }) => `${kind}/${namespace}/${name}`));
    const text = await sidestep(['policy', 'check', '-f', system.manifests.path, ...args]);
    expect(text.stdout).toContain(`default deny, switched on by ${policyName('guard')}; no rule admits it`);
  });
});

test('/metrics counts drops with their reason', async () => {
  await connectTcp(stranger, server, 'ipv4', TCP_PORT);
  const { status, body } = await system.agent.get('/metrics');
  expect(status).toBe(200);
  expect(body).toMatch(/^sidestep_drop_total\{reason="POLICY_DENIED",direction="(IN|E)GRESS"\} [1-9]\d*$/m);
  expect(body).toMatch(/^sidestep_flows_processed_total\{verdict="DROPPED",type="drop"\} [1-9]\d*$/m);
  expect(body).toContain('\nsidestep_endpoints{state="ready"} 3\n');
  expect(body).toContain('\nsidestep_bypass 0\n');
});

test('check says whether the machine can run it', async () => {
  const { code, stdout } = await sidestep(['check', '-o', 'json']);
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: { result: string; hint: string }[] };
  expect(ok).toBe(true);
  expect(code).toBe(checks.some(({ result }) => result === 'warning') ? 79 : 0);
  for (const { result, hint } of checks) expect(hint === '').toBe(result === 'ok');
  expect((await sidestep(['check'])).stdout).toContain('\nStatus: this machine can run Sidestep √\n');
});

test('version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  expect(await sidestep(['version'])).toEqual({ code: 0, stdout: `sidestep ${version}\n`, stderr: '' });
  expect(JSON.parse((await sidestep(['version', '-o', 'json'])).stdout)).toMatchObject({ version });
});

test.each(
  [
    [],
    ['nonsense'],
    ['observe', '--last', 'many'],
    ['observe', '--first', '1', '--last', '1'],
    ['observe', '--last', '1', '--all'],
    ['observe', '--since', 'yesterday'],
    ['observe', '--not'],
    ['observe', '--not', '--not', '--pod', 'web'],
    ['observe', '--follow', '-o', 'table'],
    ['observe', '-o', 'yaml'],
    ['status', '-o', 'yaml'],
    ['check', '-o', 'yaml'],
    ['version', '-o', 'yaml'],
    ['bypass', 'maybe'],
    ['bypass'],
    ['policy', 'check', '--from', 'shop/web'],
  ].map((args) => ({ args })),
)('wrong usage is exit 64: $args', async ({ args }) => {
  const { code, stdout, stderr } = await sidestep(args);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).not.toBe('');
});

test.each([[['observe', '--port', 'http']], [['observe', '--input-file', '/nowhere/flows.jsonl']]])(
  'bad input is exit 65: %s',
  async (args) => {
    const { code, stdout, stderr } = await sidestep(args);
    expect([code, stdout]).toEqual([65, '']);
    expect(stderr).toMatch(/^error\[INPUT_INVALID\]: .+\nhint: .+\n$/);
  },
);

test.each(
  [['status'], ['observe'], ['endpoint', 'list'], ['identity', 'list'], ['policy', 'list']].map((args) => ({ args })),
)('without an agent $args says so and is exit 1', async ({ args }) => {
  const instance = ['--instance', 'nobody'];
  expect(await sidestep([...args, ...instance])).toEqual({
    code: 1,
    stdout: '',
    stderr:
      'error[AGENT_UNREACHABLE]: /run/sidestep/nobody/agent.sock: no agent answers\n' +
      'hint: Start it with `sidestep agent`, or name the right --instance.\n',
  });
  const { stderr } = await sidestep([...args, ...instance, '-o', 'json']);
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'AGENT_UNREACHABLE' } });
});

describe('bypass', () => {
  test('of an instance that is not there is an error', async () => {
    expect(await sidestep(['bypass', 'on', '--instance', 'nobody'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('error[NOT_FOUND]: instance nobody is not installed in this kernel\n'),
    });
  });

  test('opens within a second with the agent dead, and closes again', async () => {
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
    const { followers } = (await status()).flows;
    const follower = Child.start(SIDESTEP, ['observe', '-f', '--instance', system.instance]);
    await expect.poll(async () => (await status()).flows.followers).toBe(followers + 1);
    await system.agent.killHard();
    expect(await follower.exited).toEqual({ code: 1, signal: null });
    expect(follower.stderr).toContain('error[AGENT_UNREACHABLE]: the agent went away\n');

    expect(await ask('bypass', 'on')).toBe(
      `bypass is on for all namespaces (instance ${system.instance}): policy refuses nothing\n`,
    );
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT, 1_000)).toMatchObject({ outcome: 'answered' });

    expect(await ask('bypass', 'off')).toBe(`bypass is off for all namespaces (instance ${system.instance})\n`);
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
    expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
  });

  test.each(FAMILIES)('takes back at its end what it let in, with the agent dead: %s', async (family) => {
    await ask('bypass', 'on');
    const held = await HeldConnection.open(stranger, server, family, TCP_PORT);
    await held.alive();
    await ask('bypass', 'off');
    expect(await held.ended()).toBe('ECONNRESET');
  });

  test('is shown by status, metrics and every flow while it is on, also by an agent that starts then', async () => {
    await ask('bypass', 'on');
    await system.start();
    expect(await status()).toMatchObject({ health: 'degraded', bypass: { all: true, namespaces: [] } });
    const page = await sidestep(['status', '--instance', system.instance]);
    expect(page).toMatchObject({
      code: 79,
      stdout: expect.stringContaining('\nBypass     ON for everything: policy refuses nothing\n'),
    });
    expect((await system.agent.get('/metrics')).body).toContain('\nsidestep_bypass 1\n');

    const { outcome, port } = await connectTcp(stranger, server, 'ipv4', TCP_PORT);
    expect(outcome).toBe('answered');
    const flow = await system.flow('by bypass', ({ sourcePort }) => sourcePort === port);
    expect(flow).toMatchObject({ verdict: 'FORWARDED', allowedBy: [], deniedBy: [] });
    expect(await system.lineOf(flow)).toContain(' ALLOWED (TCP Flags: SYN; ingress allowed: bypass is on)');

    await ask('bypass', 'off');
    expect(await status()).toMatchObject({ health: 'ready', bypass: { all: false } });
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  });

  test('of one namespace leaves the others closed', async () => {
    await ask('bypass', 'on', '--namespace', 'other');
    expect((await status()).bypass.all).toBe(false);
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
    await ask('bypass', 'off', '--namespace', 'other');

    expect(JSON.parse(await ask('bypass', 'on', '--namespace', 'shop', '-o', 'json'))).toEqual({
      instance: system.instance,
      namespace: 'shop',
      bypass: 'on',
    });
    expect(await status()).toMatchObject({ health: 'degraded', bypass: { all: false, namespaces: ['shop'] } });
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
    await ask('bypass', 'off', '--namespace', 'shop');
    expect(await connectTcp(stranger, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'timeout' });
  });
});
