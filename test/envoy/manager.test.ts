/** The manager and a real Envoy, started by the addon as the agent starts it: user, capability, session and cgroup. Needs root. */
import { chmodSync, existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { AdminClient } from '../../control-plane/envoy/admin.ts';
import { endEnvoy } from '../../control-plane/envoy/end.ts';
import { MODULE_IN_ENVOY, ProcessLauncher } from '../../control-plane/envoy/launcher.ts';
import { EnvoyManager } from '../../control-plane/envoy/manager.ts';
import { type EnvoyPaths, envoyPaths } from '../../control-plane/envoy/paths.ts';
import { planner } from '../../control-plane/envoy/plan.ts';
import { lookAt, processOf } from '../../control-plane/envoy/process.ts';
import { RecordFile } from '../../control-plane/envoy/record.ts';
import type { EnvoyState } from '../../control-plane/envoy/state.ts';
import { XDS_TABLE, type XdsMessages } from '../../control-plane/generated/xds.ts';
import { systemClock } from '../../control-plane/model/clock.ts';
import { type ProcessCgroup, processCgroup } from '../../control-plane/process/cgroup.ts';
import { encodeTraffic, translate } from '../../control-plane/traffic/resources.ts';
import { Codec } from '../../control-plane/xds/codec.ts';
import { GrpcServer } from '../../control-plane/xds/grpc-server.ts';
import { ResourceCache } from '../../control-plane/xds/resource-cache.ts';
import { DeltaAdsServer } from '../../control-plane/xds/server.ts';
import { ENVOY, freePort, MODULE, removeFolder } from './real.ts';

const NOBODY = 65534;
const INSTANCE = `sst-${process.pid}`;
const IDLE_MS = 300;

const kernel = openKernel();
let runDir: string;
let paths: EnvoyPaths;
let cgroup: ProcessCgroup;
let port: number;
let discovery: Discovery;
let managers: EnvoyManager[];

/** What the agent serves: the listener, and no ruleset. */
class Discovery {
  readonly #ads: DeltaAdsServer;
  readonly #server: GrpcServer;

  constructor(path: string) {
    const cache = new ResourceCache();
    this.#ads = new DeltaAdsServer(cache);
    const traffic = translate(new Map(), { modulePath: MODULE_IN_ENVOY, port, marks: [] });
    for (const [type, resources] of encodeTraffic(new Codec<XdsMessages>(XDS_TABLE), traffic))
      cache.set(type, resources);
    this.#server = new GrpcServer({ path, mode: 0o600, owner: { uid: NOBODY, gid: NOBODY } });
    this.#server.register(this.#ads.service);
  }

  listen(): Promise<void> {
    return this.#server.listen();
  }

  close(): void {
    this.#ads.close();
    this.#server.close();
  }
}

interface ManagerChanges {
  readonly concurrency?: number;
  readonly binary?: string;
  readonly admin?: string;
}

async function open({
  concurrency = 1,
  binary = ENVOY,
  admin = paths.admin,
}: ManagerChanges = {}): Promise<EnvoyManager> {
  const changed = { ...paths, admin };
  const launcher = new ProcessLauncher({
    spawn: (program, args, options) => kernel.spawn(program, args, options),
    reap: ({ pid, startTime }) => kernel.waitPid(pid, startTime),
    paths: changed,
    cgroup,
    module: MODULE,
  });
  const requirements = { binary, module: MODULE, version: undefined, uid: NOBODY };
  const options = { concurrency, drainSeconds: 5, rejectUnknownFields: true };
  const manager = new EnvoyManager(
    {
      launcher,
      admin: new AdminClient(paths.admin),
      clock: systemClock,
      record: new RecordFile(paths.record),
      plan: planner(requirements, changed, options, launcher),
      log: { info: () => undefined, warn: () => undefined },
    },
    { pauses: { idleMs: IDLE_MS, drainMs: 5000 } },
  );
  managers.push(manager);
  await manager.open();
  return manager;
}

/** @returns milliseconds it took */
async function until(manager: EnvoyManager, ...states: readonly EnvoyState[]): Promise<number> {
  const begin = performance.now();
  while (!states.includes(manager.status().state)) {
    if (performance.now() - begin > 10_000)
      throw new Error(`not ${states.join(' or ')}: ${JSON.stringify(manager.status())}`);
    await sleep(5);
  }
  return performance.now() - begin;
}

async function ready(changes: ManagerChanges = {}): Promise<{ manager: EnvoyManager; pid: number }> {
  const manager = await open(changes);
  manager.want(true);
  await until(manager, 'ready');
  return { manager, pid: pidOf(manager) };
}

function pidOf(manager: EnvoyManager): number {
  const { pid } = manager.status();
  if (pid === undefined) throw new Error('no Envoy');
  return pid;
}

const runs = (pid: number): boolean => {
  const found = processOf(pid);
  return found !== undefined && lookAt(found) !== undefined;
};

/** One request to the listener, which lets nobody in: nobody said whose connection it is. */
function ask(agent: Agent): Promise<{ status: number | undefined; headers: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path: '/', agent }, (response) => {
      response.resume();
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers }));
    });
    asked.on('error', reject);
    asked.end();
  });
}

beforeAll(() => {
  for (const file of [ENVOY, MODULE]) if (!existsSync(file)) throw new Error(`${file} is missing: run \`make deps\``);
});

beforeEach(async () => {
  runDir = mkdtempSync(join(tmpdir(), 'sst-manager-'));
  // As /run/sidestep/INSTANCE is.
  chmodSync(runDir, 0o755);
  paths = envoyPaths(runDir);
  cgroup = processCgroup(INSTANCE, 'envoy');
  port = await freePort();
  managers = [];
  discovery = new Discovery(paths.discovery);
  await discovery.listen();
});

afterEach(async () => {
  for (const manager of managers) await manager.close();
  await endEnvoy(runDir, INSTANCE);
  discovery.close();
  removeFolder(runDir);
});

afterAll(() => {
  expect(existsSync(cgroup.path)).toBe(false);
});

test('it starts when it is wanted: nobody, with one capability, in a session and cgroup of its own', async () => {
  const manager = await open();
  expect(manager.status().state).toBe('stopped');
  manager.want(true);
  await until(manager, 'ready');
  const pid = pidOf(manager);
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
  expect(status).toMatch(/^Groups:\s*$/m);
  for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
    expect(status).toMatch(new RegExp(`^Cap${set}:\\t0000000000001000$`, 'm'));
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  expect(readFileSync(join(cgroup.path, 'cgroup.procs'), 'utf8').split('\n')).toContain(String(pid));
  // Field 6: the session.
  expect(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[3]).toBe(String(pid));
  expect(manager.status()).toMatchObject({ version: '1.40.0', restarts: 0, adopted: false });
});

describe('it is replaced', () => {
  test('when it is killed: noticed in 2 s, back after 0.1 s, and how it ended is told', async () => {
    const { manager, pid } = await ready();
    process.kill(pid, 'SIGKILL');
    expect(await until(manager, 'failed')).toBeLessThan(2000);
    expect(manager.status().lastFailure?.message).toBe(`Envoy (pid ${pid}) was ended by signal 9`);
    await until(manager, 'ready');
    expect(pidOf(manager)).not.toBe(pid);
    expect(manager.status().restarts).toBe(1);
    // Nobody is left in the process table.
    expect(processOf(pid)).toBeUndefined();
  });

  test('when it hangs: noticed in 2 s, killed, back', async () => {
    const { manager, pid } = await ready();
    process.kill(pid, 'SIGSTOP');
    expect(await until(manager, 'failed')).toBeLessThan(2000);
    expect(manager.status().lastFailure?.message).toMatch(/gave no answer for 1\.\d s$/);
    await until(manager, 'ready');
    expect(runs(pid)).toBe(false);
    expect(runs(pidOf(manager))).toBe(true);
  });

  test('again and again, with longer pauses', async () => {
    const { manager } = await ready();
    const pauses: number[] = [];
    for (let i = 0; i < 4; i++) {
      process.kill(pidOf(manager), 'SIGKILL');
      await until(manager, 'failed');
      const { since, retryAt = '' } = manager.status();
      // To the clock's grain.
      pauses.push(Math.round((Date.parse(retryAt) - Date.parse(since)) / 10) * 10);
      await until(manager, 'ready');
    }
    expect(pauses).toEqual([100, 200, 400, 800]);
  });
});

test('what cannot start is tried again, with its last words', async () => {
  const manager = await open({ admin: '/nowhere/admin.sock' });
  manager.want(true);
  await until(manager, 'failed');
  const { lastFailure } = manager.status();
  expect(lastFailure?.code).toBe('ENVOY_FAILED');
  expect(lastFailure?.message).toMatch(/^Envoy \(pid \d+\) ended by itself with code \d+$/);
  expect(lastFailure?.lastWords.join('\n')).toMatch(/\/nowhere\/admin\.sock/);
});

test('an Envoy that is not there is named', async () => {
  const manager = await open({ binary: join(runDir, 'none') });
  manager.want(true);
  await until(manager, 'failed');
  expect(manager.status().lastFailure).toMatchObject({
    code: 'ENVOY_MISSING',
    message: `${join(runDir, 'none')} is not there`,
  });
});

/** `ready` is said of the process; its listener comes by discovery, a moment later. */
async function listening(): Promise<void> {
  const answers = (): Promise<boolean> =>
    ask(new Agent()).then(
      () => true,
      () => false,
    );
  await expect.poll(answers, { timeout: 5_000, interval: 20 }).toBe(true);
}

describe('it ends', () => {
  test('when nobody wanted it for the idle time', async () => {
    const { manager, pid } = await ready();
    manager.want(false);
    await sleep(IDLE_MS / 2);
    expect(manager.status().state).toBe('ready');
    await until(manager, 'stopped');
    expect(runs(pid)).toBe(false);
    expect(existsSync(paths.record)).toBe(false);
    expect(manager.status()).not.toHaveProperty('lastFailure');
  });

  test('with its last connection, which is asked to close after its next response', async () => {
    const { manager, pid } = await ready();
    await listening();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    expect(await ask(agent)).toMatchObject({
      status: 403,
      headers: expect.not.objectContaining({ connection: 'close' }),
    });
    manager.want(false);
    await until(manager, 'draining');
    await sleep(1500);
    expect(runs(pid)).toBe(true);
    expect(await ask(agent)).toMatchObject({ status: 403, headers: { connection: 'close' } });
    expect(await until(manager, 'stopped')).toBeLessThan(3000);
    agent.destroy();
  });

  test('not when it is wanted again while it drains, and connections stay', async () => {
    const { manager, pid } = await ready();
    await listening();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await ask(agent);
    manager.want(false);
    await until(manager, 'draining');
    manager.want(true);
    await sleep(500);
    expect(manager.status()).toMatchObject({ state: 'ready', pid });
    expect((await ask(agent)).headers['connection']).not.toBe('close');
    agent.destroy();
  });
});

describe('the next agent', () => {
  test('takes it over, ready at once, and watches it as its own', async () => {
    const { manager: first, pid } = await ready();
    await first.close();
    discovery.close();
    await sleep(300);
    expect(runs(pid)).toBe(true);
    discovery = new Discovery(paths.discovery);
    await discovery.listen();
    const second = await open();
    second.want(true);
    expect(await until(second, 'ready')).toBeLessThan(1000);
    expect(second.status()).toMatchObject({ pid, adopted: true, restarts: 0 });
    process.kill(pid, 'SIGKILL');
    expect(await until(second, 'failed')).toBeLessThan(2000);
    await until(second, 'ready');
    expect(second.status()).toMatchObject({ adopted: false, restarts: 1 });
  });

  test('takes one over that was draining, and it serves again', async () => {
    const { manager: first, pid } = await ready();
    await first.close();
    await new AdminClient(paths.admin).drain();
    expect(await new AdminClient(paths.admin).ready(1000)).toBe('not-ready');
    const second = await open();
    second.want(true);
    await until(second, 'ready');
    expect(pidOf(second)).toBe(pid);
  });

  test('replaces one that hangs', async () => {
    const { manager: first, pid } = await ready();
    await first.close();
    process.kill(pid, 'SIGSTOP');
    const second = await open();
    second.want(true);
    await until(second, 'failed');
    await until(second, 'ready');
    expect(pidOf(second)).not.toBe(pid);
    expect(runs(pid)).toBe(false);
  });

  test('replaces one that was started otherwise', async () => {
    const { manager: first, pid } = await ready();
    await first.close();
    const { manager: second } = await ready({ concurrency: 2 });
    expect(pidOf(second)).not.toBe(pid);
    expect(runs(pid)).toBe(false);
    expect(second.status().adopted).toBe(false);
  });

  test('ends it when nothing wants it', async () => {
    const { manager: first, pid } = await ready();
    await first.close();
    const second = await open();
    await until(second, 'starting', 'ready');
    await until(second, 'stopped');
    expect(runs(pid)).toBe(false);
  });
});
