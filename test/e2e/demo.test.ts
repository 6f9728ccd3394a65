import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { pinsOf } from '../../control-plane/datapath/pins.ts';
import { HTTP_POLICY, POLICY } from '../../control-plane/demo/cast.ts';
import { listNamespaces } from '../../control-plane/demo/namespaces.ts';
import type { Claim, Outcome } from '../../control-plane/demo/narrator.ts';
import { Child, type Exit, run } from '../../control-plane/demo/process.ts';
import { ROOT } from '../lib/tools.ts';

const SIDESTEP = join(ROOT, 'bin/sidestep');

/** Everything that the demo could leave on a machine. */
async function machine(): Promise<Record<string, readonly string[]>> {
  const sysctls = await run('sysctl', ['-a', '--pattern', '^net\\.']);
  const links = await run('ip', ['-o', 'link']);
  const rules = await run('sh', ['-c', 'ip rule; ip -6 rule; ip route show table all; ip -6 route show table all']);
  return {
    namespaces: listNamespaces(),
    links: links.stdout.split('\n').map((line) => line.split(':')[1]?.trim() ?? ''),
    rules: rules.stdout.split('\n'),
    sysctls: sysctls.stdout
      .split('\n')
      .filter((line) => !/conntrack_count|stable_secret|dirty_|\.random|entries/.test(line)),
    mounts: readFileSync('/proc/mounts', 'utf8').split('\n'),
    pins: listing('/sys/fs/bpf'),
    sockets: listing('/run/sidestep'),
    folders: listing('/run/sidestep-demo'),
    tunnelSockets: listing('/var/run/wireguard'),
    controlGroups: controlGroups(),
    processes: demoProcesses(),
  };
}

function listing(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder, { recursive: true }).map(String).sort() : [];
}

/** Of demos only: other tests may run beside. */
function controlGroups(): readonly string[] {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type = '']) => type.startsWith('cgroup'));
  return mounts.flatMap(([, path = '']) => readdirSync(path).filter((name) => name.startsWith('sidestep-demo-')));
}

function demoProcesses(): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()];
      } catch {
        return [];
      }
    })
    .filter((command) => /sidestep.*(demo|agent)|demo-workload|wireguard-go/.test(command));
}

function start(...args: readonly string[]): Child {
  return Child.start(SIDESTEP, ['demo', '-o', 'json', ...args]);
}

interface Told {
  readonly exit: Exit;
  readonly claims: readonly Claim[];
  readonly outcome: Outcome | undefined;
}

async function toldBy(demo: Child): Promise<Told> {
  const exit = await demo.exited;
  const objects = demo.lines.map((line) => JSON.parse(line) as { type: string });
  return {
    exit,
    claims: objects.filter((object) => object.type === 'claim') as unknown as readonly Claim[],
    outcome: objects.find((object) => object.type === 'outcome') as unknown as Outcome | undefined,
  };
}

let before: Awaited<ReturnType<typeof machine>>;

beforeAll(async () => {
  await run(SIDESTEP, ['demo', '--clean']);
  before = await machine();
});

test('every claim of the demo holds, within a minute, and nothing is left behind', async () => {
  const told = await toldBy(start());
  expect(told.claims.filter((claim) => !claim.holds)).toEqual([]);
  expect(told).toMatchObject({ exit: { code: 0 }, outcome: { passed: true } });
  expect(told.claims.map((claim) => claim.act)).toEqual([
    ...[1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4],
    ...[5, 5, 5, 5, 5, 5, 5, 5],
  ]);
  expect(told.outcome?.seconds).toBeLessThan(60);
  expect(await machine()).toEqual(before);
});

test('the text names the policy in the lines of act 2', async () => {
  const { stdout, code } = await run(SIDESTEP, ['demo', '--act', '2'], { tolerate: true });
  expect(code, stdout).toBe(0);
  expect(stdout).toMatch(/frontend-web-9a2b:\d+ .*-> production\/backend-api-6f8c:8080 .*secure-app-access/);
  expect(stdout).toMatch(/intruder-0b1c:\d+ .*backend-api-6f8c:8080 .*(DROPPED|DENIED).*secure-app-access/);
});

describe('interrupted at any moment, it leaves nothing behind', () => {
  /** Signal, exit, milliseconds after the start, and the only act, for what comes late in all of them. */
  const moments = [
    ['SIGINT', 130, 250, 'all'],
    ['SIGTERM', 143, 600, 'all'],
    ['SIGINT', 130, 1_100, 'all'],
    ['SIGHUP', 129, 1_900, 'all'],
    ['SIGINT', 130, 3_300, 2],
    ['SIGTERM', 143, 2_300, 3],
    ['SIGINT', 130, 4_100, 3],
    ['SIGTERM', 143, 2_400, 4],
    ['SIGINT', 130, 3_500, 4],
    ['SIGTERM', 143, 4_000, 5],
    ['SIGINT', 130, 8_000, 5],
  ] as const;

  test.each(moments)('%s, exit %i, after %i ms, act %s', async (signal, code, milliseconds, act) => {
    const demo = start(...(act === 'all' ? [] : ['--act', String(act)]));
    // A random part, so that over time every moment is met.
    await delay(milliseconds + Math.random() * 400);
    demo.kill(signal);
    const exit = await demo.exited;
    // Before its handlers stand it has made nothing, and the signal itself ends it.
    expect(exit.code ?? exit.signal).toSatisfy((ending) => ending === code || ending === signal);
    expect(await machine()).toEqual(before);
  });

  test('a second signal does not cut the cleaning short', async () => {
    const demo = start();
    await demo.waitForLine((line) => line.includes('"ready"'), { timeoutMs: 30_000 });
    demo.kill('SIGINT');
    await delay(20);
    demo.kill('SIGINT');
    demo.kill('SIGTERM');
    expect(await demo.exited).toMatchObject({ code: 130 });
    expect(await machine()).toEqual(before);
  });

  test('after kill -9 the next call sweeps', async () => {
    const demo = start();
    await demo.waitForLine((line) => line.includes('"ready"'), { timeoutMs: 30_000 });
    demo.kill('SIGKILL');
    await demo.exited;
    expect(listNamespaces()).not.toEqual(before['namespaces']);
    await run(SIDESTEP, ['demo', '--clean']);
    expect(await machine()).toEqual(before);
  });
});

test('kept, it goes on until it is cleaned', async () => {
  const demo = start('--keep', '--act', '1');
  const ready = JSON.parse(await demo.waitForLine((line) => line.includes('"ready"'), { timeoutMs: 30_000 })) as {
    instance: string;
  };
  expect(await toldBy(demo)).toMatchObject({ exit: { code: 0 } });
  const status = await run(SIDESTEP, ['status', '--instance', ready.instance], { tolerate: true });
  expect(status.code, status.stderr).toBe(0);
  await run(SIDESTEP, ['demo', '--clean']);
  expect(await machine()).toEqual(before);
});

describe('sabotaged, it fails and names the false claim', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sst-policy-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  interface Sabotage {
    readonly what: string;
    readonly act: number;
    /** Option, and the text of the file that it names. */
    readonly policy?: readonly ['--policy' | '--http-policy' | '--authentication-policy', string];
    readonly environment?: Readonly<Record<string, string>>;
    readonly falseClaims: readonly string[];
  }

  const NO_ENVOY = ['Envoy was not there before, and is there now', 'GET is answered', 'POST is refused'];
  const AWAY = '/nowhere/at/all';

  // Those of a batch run at the same time: they spend it waiting for what does not come.
  const batches: readonly (readonly Sabotage[])[] = [
    [
      {
        what: 'an emptied policy',
        act: 2,
        policy: ['--policy', ''],
        falseClaims: ['intruder-0b1c is refused'],
      },
      {
        what: 'a policy that admits nobody',
        act: 2,
        policy: ['--policy', POLICY.replace('app: frontend-web', 'app: nobody')],
        falseClaims: ['frontend-web-9a2b is answered: secure-app-access admits it'],
      },
      {
        what: 'an HTTP rule that allows everything',
        act: 4,
        policy: ['--http-policy', HTTP_POLICY.replace(/method: GET\n\s*path: .*\n/, '{}\n')],
        falseClaims: ['POST is refused'],
      },
    ],
    [
      { what: 'no HTTP rule at all', act: 4, policy: ['--http-policy', POLICY], falseClaims: NO_ENVOY.toSpliced(1, 1) },
      { what: 'no Envoy', act: 4, environment: { SIDESTEP_ENVOY: AWAY }, falseClaims: NO_ENVOY },
      { what: 'no identity module', act: 4, environment: { SIDESTEP_ENVOY_MODULE: AWAY }, falseClaims: NO_ENVOY },
    ],
    [
      {
        what: 'a policy without authentication',
        act: 5,
        policy: ['--authentication-policy', POLICY],
        falseClaims: [
          'it is answered, authenticated and encrypted',
          'both ends have proven themselves',
          'without its certificate the live transfer stops',
        ],
      },
    ],
  ];

  function sabotaged({ act, policy, environment = {} }: Sabotage, index: number): Child {
    const options = ['--act', String(act)];
    if (policy !== undefined) {
      const file = join(folder, `policy-${index}.yaml`);
      writeFileSync(file, policy[1]);
      options.push(policy[0], file);
    }
    Object.assign(process.env, environment);
    const demo = start(...options);
    for (const name of Object.keys(environment)) delete process.env[name];
    return demo;
  }

  const named = batches.map((batch) => [batch.map(({ what }) => what).join('; '), batch] as const);

  test.each(named)('%s', async (_, batch) => {
    const demos = batch.map(sabotaged);
    for (const [i, { what, act, falseClaims }] of batch.entries()) {
      const told = await toldBy(demos[i] ?? start());
      expect([what, told.exit.code, told.outcome?.passed]).toEqual([what, 1, false]);
      for (const claim of falseClaims)
        expect(told.outcome?.falseClaims, what).toContainEqual(expect.stringContaining(`act ${act}: ${claim}`));
    }
    expect(await machine()).toEqual(before);
  });

  test('hooks taken out of the kernel before act 3: the intruder did not stay out', async () => {
    const demo = start('--step', '--act', '3');
    const ready = JSON.parse(await demo.waitForLine((line) => line.includes('"ready"'), { timeoutMs: 30_000 })) as {
      instance: string;
    };
    const waiting = (act: number): Promise<string> =>
      demo.waitForLine((line) => line.includes('"waiting"') && line.includes(`"act":${act}`), { timeoutMs: 30_000 });
    await waiting(3);
    detachHooks(ready.instance);
    demo.write('\n');
    const told = await toldBy(demo);
    expect(told.exit).toMatchObject({ code: 1 });
    expect(told.outcome?.falseClaims.join()).toContain('intruder-0b1c stayed out');
    expect(await machine()).toEqual(before);
  });
});

function detachHooks(instance: string): void {
  const kernel = openKernel();
  const { links } = pinsOf('/sys/fs/bpf', instance);
  for (const name of readdirSync(links)) {
    const link = kernel.openLink(join(links, name));
    link.detach();
    link.close();
  }
}
