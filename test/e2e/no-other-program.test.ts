import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stopAgent } from '../../control-plane/agent/stop.ts';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child } from '../../control-plane/demo/process.ts';
import { admit, TCP_PORT } from '../lib/policies.ts';
import { System } from '../lib/system.ts';
import { connectTcp, tcpEchoServer } from '../lib/traffic.ts';

/** Calls that start a program or a process. Threads are clones, too: they carry CLONE_THREAD and are none. */
const TRACED = 'execve,execveat,fork,vfork,clone,clone3';

test('while it runs the agent executes no other program', async () => {
  expect(existsSync('/usr/bin/strace'), 'strace is part of what make deps installs').toBe(true);
  const folder = mkdtempSync(join(tmpdir(), 'sst-strace-'));
  const trace = join(folder, 'trace');
  await using system = await System.create('exec');
  const client = await system.pod('client', 'routed');
  const server = await system.pod('server', 'bridge');
  await tcpEchoServer(server, TCP_PORT);

  // From its first instruction on: loading programs and attaching hooks is where tools like tc would be called.
  const command = [
    'strace',
    '-f',
    '--seccomp-bpf',
    '-o',
    trace,
    '-e',
    `trace=${TRACED}`,
    '--',
    ...system.agent.commandLine,
  ];
  const traced = Child.start('nsenter', inside(system.topology.node.namespace, command));
  await expect
    .poll(
      () =>
        system.agent.get('/readyz').then(
          (answer) => answer.status,
          () => 0,
        ),
      { timeout: 30_000 },
    )
    .toBe(200);

  // Edits, a pod that comes and one that goes, and questions: all that an agent does in its life.
  system.policy('guard', admit('server', ['client']));
  const late = await system.pod('late', 'routed');
  const outcome = (): Promise<string> => connectTcp(late, server, 'ipv4', TCP_PORT).then((answer) => answer.outcome);
  await expect.poll(outcome, { timeout: 20_000 }).toBe('timeout');
  expect(await connectTcp(client, server, 'ipv4', TCP_PORT)).toMatchObject({ outcome: 'answered' });
  await system.topology.removeWorkload(late);
  system.withdraw('late');
  await expect.poll(() => system.links().size).toBe(4);
  await system.agent.cli(['status'], { tolerate: true });

  const running = readFileSync(trace, 'utf8');
  // The agent itself: strace that is killed would leave it running.
  await stopAgent(`/run/sidestep/${system.instance}`);
  await traced.exited;
  rmSync(folder, { recursive: true });

  const calls = running.split('\n').filter((line) => /\b(execve|execveat|v?fork|clone3?)\(/.test(line));
  const started = calls
    .filter((line) => /execve(at)?\(/.test(line) && / = 0$/.test(line))
    .map((line) => /"([^"]*)"/.exec(line)?.[1] ?? line);
  // The launcher becomes node, and node stays: the last program that was executed.
  expect(started.at(-1)).toMatch(/node$/);
  expect(
    started.every((program) => /(sidestep|env|sh|bash|node)$/.test(program)),
    started.join(', '),
  ).toBe(true);
  const [agent = ''] = calls.find((line) => /node"/.test(line) && / = 0$/.test(line))?.split(' ') ?? [];
  const processes = calls.filter((line) => /\b(v?fork|clone3?)\(/.test(line) && !line.includes('CLONE_THREAD'));
  const ofAgent = processes.filter((line) => line.startsWith(`${agent} `));
  expect(ofAgent, 'processes that the agent made').toEqual([]);
});
