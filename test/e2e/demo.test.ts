import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
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
  const { stdout, code } = await run(SIDESTEP, ['demo'], { tolerate: true });
  expect(code, stdout).toBe(0);
  expect(stdout).toMatch(/frontend-web-9a2b:\d+ .*-> production\/backend-api-6f8c:8080 .*secure-app-access/);
  expect(stdout).toMatch(/intruder-0b1c:\d+ .*backend-api-6f8c:8080 .*(DROPPED|DENIED).*secure-app-access/);
});

describe('interrupted at any moment, it leaves nothing behind', () => {
  const moments = [
    ['SIGINT', 130, 250],
    ['SIGTERM', 143, 600],
    ['SIGINT', 130, 1_100],
    ['SIGHUP', 129, 1_900],
    ['SIGINT', 130, 3_300],
    ['SIGTERM', 143, 5_200],
    ['SIGINT', 130, 7_400],
    ['SIGTERM', 143, 9_300],
    ['SIGINT', 130, 11_000],
    ['SIGTERM', 143, 13_500],
    ['SIGINT', 130, 14_500],
    ['SIGHUP', 129, 16_500],
    ['SIGTERM', 143, 20_000],
  ] as const;

  test.each(moments)('%s, exit %i, after %i ms', async (signal, code, milliseconds) => {
    const demo = start();
    // A random part, so that over time every moment is met.
    await delay(milliseconds + Math.random() * 200);
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
  const demo = start('--keep');
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
  async function withPolicy(text: string): Promise<Told> {
    const folder = mkdtempSync(join(tmpdir(), 'sst-policy-'));
    const file = join(folder, 'policy.yaml');
    writeFileSync(file, text);
    const told = await toldBy(start('--policy', file));
    rmSync(folder, { recursive: true });
    return told;
  }

  test('an emptied policy: the intruder is not refused', async () => {
    const told = await withPolicy('');
    expect(told.exit).toMatchObject({ code: 1 });
    expect(told.outcome?.falseClaims.join()).toContain('intruder-0b1c is refused');
    expect(await machine()).toEqual(before);
  });

  test('an HTTP rule that allows everything: the POST is not refused', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sst-policy-'));
    const file = join(folder, 'policy.yaml');
    writeFileSync(file, HTTP_POLICY.replace(/method: GET\n\s*path: .*\n/, '{}\n'));
    const told = await toldBy(start('--http-policy', file));
    rmSync(folder, { recursive: true });
    expect(told.exit).toMatchObject({ code: 1 });
    expect(told.outcome?.falseClaims.join()).toContain('POST is refused');
    expect(await machine()).toEqual(before);
  });

  test('a policy without authentication: nothing is proven, and all of it can be read', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sst-policy-'));
    const file = join(folder, 'policy.yaml');
    writeFileSync(file, POLICY);
    const told = await toldBy(start('--authentication-policy', file));
    rmSync(folder, { recursive: true });
    expect(told.exit).toMatchObject({ code: 1 });
    const said = told.outcome?.falseClaims.join() ?? '';
    for (const claim of ['authenticated and encrypted', 'both ends have proven themselves', 'the live transfer stops'])
      expect(said).toContain(claim);
    expect(await machine()).toEqual(before);
  });

  test('neither the kernel nor a process has WireGuard: the second node cannot join', async (context) => {
    if (openKernel().features().wireguard) return context.skip('this kernel has its own WireGuard');
    process.env['SIDESTEP_WIREGUARD'] = '/nowhere/at/all';
    const demo = start();
    delete process.env['SIDESTEP_WIREGUARD'];
    const told = await toldBy(demo);
    expect(told.exit).toMatchObject({ code: 1 });
    expect(told.outcome?.falseClaims.join()).toContain('has a certificate');
    expect(await machine()).toEqual(before);
  });

  test.each([
    ['SIDESTEP_ENVOY', 'no Envoy'],
    ['SIDESTEP_ENVOY_MODULE', 'no module'],
  ])('%s names a file that is not there: %s, and nothing passes the rule', async (variable) => {
    process.env[variable] = '/nowhere/at/all';
    const demo = start();
    delete process.env[variable];
    const told = await toldBy(demo);
    expect(told.exit).toMatchObject({ code: 1 });
    expect(told.outcome?.falseClaims.join()).toContain('Envoy was not there before, and is there now');
    expect(told.outcome?.falseClaims.join()).toContain('GET is answered');
    expect(await machine()).toEqual(before);
  });

  test('a policy that admits nobody: the frontend is not answered', async () => {
    const told = await withPolicy(POLICY.replace('app: frontend-web', 'app: nobody'));
    expect(told.exit).toMatchObject({ code: 1 });
    expect(told.outcome?.falseClaims.join()).toContain('frontend-web-9a2b is answered: secure-app-access admits it');
    expect(await machine()).toEqual(before);
  });

  test('hooks taken out of the kernel before act 3: the intruder did not stay out', async () => {
    const demo = start('--step');
    const ready = JSON.parse(await demo.waitForLine((line) => line.includes('"ready"'), { timeoutMs: 30_000 })) as {
      instance: string;
    };
    const waiting = (act: number): Promise<string> =>
      demo.waitForLine((line) => line.includes('"waiting"') && line.includes(`"act":${act}`), { timeoutMs: 30_000 });
    await waiting(2);
    demo.write('\n');
    await waiting(3);
    detachHooks(ready.instance);
    demo.write('\n');
    await waiting(4);
    demo.write('\n');
    await waiting(5);
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
