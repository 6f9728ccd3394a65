import { beforeEach, describe, expect, test } from 'vitest';
import { SidestepError } from '../model/error.ts';
import { FakeClock } from '../model/fake-clock.ts';
import { FakeEnvoy, MemoryRecord } from './fakes.ts';
import { EnvoyManager, type ManagerOptions } from './manager.ts';
import type { EnvoyIdentity, EnvoyPlan } from './ports.ts';

const IDENTITY: EnvoyIdentity = {
  binary: '/opt/envoy',
  version: '1.40.0',
  module: '/opt/identity.so 1234',
  configuration: 'abcd',
};

let clock: FakeClock;
let envoy: FakeEnvoy;
let record: MemoryRecord;
let states: string[];
let plan: () => Promise<EnvoyPlan>;

beforeEach(() => {
  clock = new FakeClock();
  envoy = new FakeEnvoy(clock);
  record = new MemoryRecord();
  states = [];
  plan = async () => ({ identity: IDENTITY, command: { binary: IDENTITY.binary, arguments: [] } });
});

function create(options: ManagerOptions = {}): EnvoyManager {
  const log = { info: () => undefined, warn: () => undefined };
  return new EnvoyManager(
    { launcher: envoy, admin: envoy, clock, record, plan: () => plan(), log },
    { changed: ({ state }) => states.push(state), ...options },
  );
}

async function ready(options: ManagerOptions = {}): Promise<EnvoyManager> {
  const manager = create(options);
  await manager.open();
  manager.want(true);
  await clock.advance(50);
  expect(manager.status().state).toBe('ready');
  states = [];
  envoy.calls.length = 0;
  return manager;
}

/** In small steps, so that what follows has not begun. @returns milliseconds that passed */
async function until(manager: EnvoyManager, state: string): Promise<number> {
  for (let passed = 0; passed < 30_000; passed += 25) {
    if (manager.status().state === state) return passed;
    await clock.advance(25);
  }
  throw new Error(`not ${state} but ${manager.status().state}`);
}

describe('start', () => {
  test('nothing runs while nothing is wanted', async () => {
    const manager = create();
    await manager.open();
    await clock.advance(120_000);
    expect(envoy.running).toEqual([]);
    expect(manager.status()).toMatchObject({ state: 'stopped', wanted: false, restarts: 0 });
  });

  test('the first want starts it, and its note is written', async () => {
    const manager = create();
    await manager.open();
    manager.want(true);
    manager.want(true);
    await clock.advance(50);
    expect(states).toEqual(['wanted', 'starting', 'ready']);
    expect(envoy.calls.filter((call) => call === 'start')).toEqual(['start']);
    expect(record.record).toMatchObject({ process: { pid: envoy.pid }, identity: IDENTITY });
    expect(manager.status()).toMatchObject({
      state: 'ready',
      wanted: true,
      adopted: false,
      pid: envoy.pid,
      version: '1.40.0',
      restarts: 0,
    });
  });

  test('a want before the manager is open is kept', async () => {
    const manager = create();
    manager.want(true);
    expect(states).toEqual([]);
    await manager.open();
    await clock.advance(50);
    expect(manager.status().state).toBe('ready');
  });

  test('one that listens late is waited for', async () => {
    envoy.answer = 'refused';
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(3000);
    envoy.answer = 'not-ready';
    await clock.advance(3000);
    expect(states).toEqual(['wanted', 'starting']);
    envoy.answer = 'ready';
    await clock.advance(300);
    expect(states).toEqual(['wanted', 'starting', 'ready']);
    expect(manager.status().lastFailure).toBeUndefined();
  });

  test('one that never becomes ready is replaced', async () => {
    envoy.answer = 'not-ready';
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(20_050);
    expect(manager.status()).toMatchObject({
      state: 'failed',
      lastFailure: { code: 'ENVOY_FAILED', message: 'Envoy was not ready after 20 s', lastWords: ['the last line'] },
    });
    expect(envoy.running).toEqual([]);
    envoy.answer = 'ready';
    await clock.advance(200);
    expect(manager.status()).toMatchObject({ state: 'ready', restarts: 1 });
  });

  test('what cannot be started says why, and is tried again until it can', async () => {
    plan = () => Promise.reject(new SidestepError('ENVOY_MISSING', '/opt/envoy is not there'));
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(0);
    expect(manager.status()).toMatchObject({
      state: 'failed',
      lastFailure: { code: 'ENVOY_MISSING', message: '/opt/envoy is not there' },
    });
    expect(manager.status().retryAt).toBeDefined();
    plan = async () => ({ identity: IDENTITY, command: { binary: IDENTITY.binary, arguments: [] } });
    await clock.advance(150);
    expect(manager.status()).toMatchObject({ state: 'ready' });
    expect(manager.status().retryAt).toBeUndefined();
  });

  test('an error that is not ours is told, too', async () => {
    envoy.unable = new Error('no memory');
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(0);
    expect(manager.status().lastFailure).toMatchObject({
      code: 'ENVOY_FAILED',
      message: 'Envoy cannot be started: no memory',
    });
  });
});

describe('loss', () => {
  test('a crash is seen at the next poll and Envoy is back after 0.1 s', async () => {
    const manager = await ready();
    envoy.die();
    expect(await until(manager, 'failed')).toBeLessThanOrEqual(250);
    expect(manager.status()).toMatchObject({
      state: 'failed',
      lastFailure: {
        message: expect.stringMatching(/^Envoy \(pid \d+\) ended by itself$/),
        lastWords: ['the last line'],
      },
    });
    expect(record.record).toBeUndefined();
    expect(await until(manager, 'ready')).toBeLessThanOrEqual(150);
    expect(states).toEqual(['failed', 'wanted', 'starting', 'ready']);
    expect(manager.status()).toMatchObject({ restarts: 1, pid: envoy.pid });
  });

  test.each(['T', 'S', 'D'])('silence in state %s is a hang within 2 s, and ends by SIGKILL', async (state) => {
    const manager = await ready();
    const first = envoy.pid;
    Object.assign(envoy, { answer: 'silent', state });
    const passed = await until(manager, 'failed');
    expect(passed).toBeGreaterThan(1000);
    expect(passed).toBeLessThanOrEqual(2000);
    expect(envoy.calls).toContain('SIGKILL');
    expect(manager.status().lastFailure?.message).toMatch(/gave no answer for 1\.\d s$/);
    Object.assign(envoy, { answer: 'ready', state: 'S' });
    await clock.advance(300);
    expect(manager.status()).toMatchObject({ state: 'ready', restarts: 1 });
    expect(envoy.pid).not.toBe(first);
  });

  test('one missed answer is not a hang', async () => {
    await ready();
    envoy.answer = 'silent';
    await clock.advance(400);
    envoy.answer = 'ready';
    await clock.advance(10_000);
    expect(states).toEqual([]);
  });

  test('a main thread that works is busy, for up to 10 s', async () => {
    const manager = await ready();
    envoy.answer = 'silent';
    for (let i = 0; i < 80; i++) {
      envoy.mainThreadTicks += 5;
      await clock.advance(100);
    }
    expect(states).toEqual([]);
    for (let i = 0; i < 40; i++) {
      envoy.mainThreadTicks += 5;
      await clock.advance(100);
    }
    expect(states[0]).toBe('failed');
    expect(manager.status().lastFailure?.message).toMatch(/gave no answer for 1\d\.\d s$/);
  });

  test('losses in a row are pauses that double up to 10 s; 30 s of health end the row', async () => {
    const manager = await ready();
    const pauseAfterCrash = async (): Promise<number> => {
      envoy.die();
      await until(manager, 'failed');
      const { since, retryAt = '' } = manager.status();
      const pause = Date.parse(retryAt) - Date.parse(since);
      await clock.advance(pause + 100);
      expect(manager.status().state).toBe('ready');
      return pause;
    };
    const pauses: number[] = [];
    for (let i = 0; i < 9; i++) pauses.push(await pauseAfterCrash());
    expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    await clock.advance(30_000);
    expect(await pauseAfterCrash()).toBe(100);
    expect(manager.status().restarts).toBe(10);
  });

  test('what does not die keeps its ports: nothing is started beside it', async () => {
    const manager = await ready();
    Object.assign(envoy, { answer: 'silent', undying: true });
    await until(manager, 'failed');
    await until(manager, 'wanted');
    await until(manager, 'failed');
    expect(envoy.running).toHaveLength(1);
    expect(manager.status()).toMatchObject({
      state: 'failed',
      lastFailure: { message: expect.stringMatching(/does not die$/) },
    });
    Object.assign(envoy, { answer: 'ready', undying: false });
    envoy.die();
    await clock.advance(500);
    expect(manager.status().state).toBe('ready');
    expect(envoy.running).toHaveLength(1);
  });

  test('a failed one that nobody wants is not tried again', async () => {
    const manager = await ready();
    envoy.die();
    await until(manager, 'failed');
    manager.want(false);
    await clock.advance(60_000);
    expect(states).toEqual(['failed', 'stopped']);
    expect(envoy.running).toEqual([]);
  });
});

describe('end', () => {
  test('after the idle time it drains, and with the last connection it ends', async () => {
    const manager = await ready();
    envoy.clients = 2;
    manager.want(false);
    await clock.advance(29_900);
    expect(states).toEqual([]);
    await clock.advance(200);
    expect(states).toEqual(['draining']);
    expect(envoy.calls).toContain('drain');
    await clock.advance(5000);
    expect(envoy.running).toHaveLength(1);
    envoy.clients = 0;
    await clock.advance(1300);
    expect(states).toEqual(['draining', 'stopped']);
    expect(envoy.calls).toContain('quit');
    expect(envoy.calls).not.toContain('SIGKILL');
    expect(record.record).toBeUndefined();
    expect(manager.status().lastFailure).toBeUndefined();
    expect(manager.status().pid).toBeUndefined();
  });

  test('connections that stay are ended with the drain time', async () => {
    const manager = await ready({ pauses: { idleMs: 1000, drainMs: 5000 } });
    envoy.clients = 1;
    manager.want(false);
    await clock.advance(5900);
    expect(manager.status().state).toBe('draining');
    await clock.advance(500);
    expect(manager.status().state).toBe('stopped');
  });

  test('one that does not end when asked is killed', async () => {
    const manager = await ready({ pauses: { idleMs: 1000 } });
    envoy.polite = false;
    manager.want(false);
    await clock.advance(2900);
    expect(manager.status().state).toBe('draining');
    await clock.advance(500);
    expect(envoy.calls).toContain('SIGKILL');
    expect(manager.status().state).toBe('stopped');
    expect(manager.status().lastFailure).toBeUndefined();
  });

  test('a rule that comes back in the idle time changes nothing', async () => {
    const manager = await ready();
    const { pid } = envoy;
    manager.want(false);
    await clock.advance(20_000);
    manager.want(true);
    await clock.advance(100_000);
    expect(states).toEqual([]);
    expect(envoy.pid).toBe(pid);
  });

  test('a rule that comes back while it drains keeps it', async () => {
    const manager = await ready({ pauses: { idleMs: 1000 } });
    const { pid } = envoy;
    envoy.clients = 1;
    manager.want(false);
    await clock.advance(2000);
    envoy.answer = 'not-ready';
    await clock.advance(1000);
    manager.want(true);
    envoy.answer = 'ready';
    await clock.advance(100_000);
    expect(states).toEqual(['draining', 'ready']);
    expect(envoy.calls).toEqual(expect.arrayContaining(['drain', 'undrain']));
    expect(envoy.pid).toBe(pid);
  });

  test('a rule that comes back while it ends starts another', async () => {
    const manager = await ready({ pauses: { idleMs: 1000 } });
    const { pid } = envoy;
    envoy.polite = false;
    manager.want(false);
    await clock.advance(1500);
    expect(envoy.calls).toContain('quit');
    manager.want(true);
    await clock.advance(3000);
    expect(states).toEqual(['draining', 'wanted', 'starting', 'ready']);
    expect(envoy.pid).not.toBe(pid);
    expect(manager.status().restarts).toBe(0);
  });

  test('a hang while it drains ends it', async () => {
    const manager = await ready({ pauses: { idleMs: 1000 } });
    Object.assign(envoy, { clients: 1 });
    manager.want(false);
    await clock.advance(1500);
    Object.assign(envoy, { answer: 'silent', state: 'T' });
    await clock.advance(2500);
    expect(manager.status().state).toBe('stopped');
    expect(manager.status().lastFailure?.message).toMatch(/gave no answer/);
  });
});

describe('one agent and the next', () => {
  const left = async (): Promise<number> => {
    const manager = await ready();
    await manager.close();
    return envoy.pid;
  };

  test('an agent that ends leaves Envoy running, and lets go of time', async () => {
    const manager = await ready();
    await manager.close();
    await clock.advance(60_000);
    expect(envoy.running).toHaveLength(1);
    expect(record.record).toBeDefined();
    expect(clock.waiting).toBe(0);
    manager.want(false);
    await clock.advance(60_000);
    expect(envoy.running).toHaveLength(1);
  });

  test('the next takes it over', async () => {
    const pid = await left();
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(300);
    expect(states).toEqual(['starting', 'ready']);
    expect(manager.status()).toMatchObject({ state: 'ready', adopted: true, pid, version: '1.40.0', restarts: 0 });
    // It may have been draining.
    expect(envoy.calls).toContain('undrain');
    expect(envoy.calls).not.toContain('start');
  });

  test('and ends it after the idle time when nothing wants it any more', async () => {
    await left();
    const manager = create();
    await manager.open();
    await clock.advance(31_000);
    expect(manager.status().state).toBe('stopped');
    expect(envoy.running).toEqual([]);
  });

  test('and watches it as its own', async () => {
    await left();
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(300);
    envoy.die();
    await clock.advance(400);
    expect(manager.status()).toMatchObject({ state: 'ready', adopted: false, restarts: 1 });
  });

  test('one that hangs is replaced', async () => {
    const pid = await left();
    envoy.answer = 'silent';
    const manager = create();
    await manager.open();
    manager.want(true);
    expect(await until(manager, 'failed')).toBeLessThanOrEqual(2000);
    expect(envoy.calls).toContain('SIGKILL');
    envoy.answer = 'ready';
    await until(manager, 'ready');
    expect(envoy.pid).not.toBe(pid);
  });

  test.each(['binary', 'version', 'module', 'configuration'] as const)(
    'one with another %s is replaced',
    async (name) => {
      const pid = await left();
      plan = async () => ({
        identity: { ...IDENTITY, [name]: 'another' },
        command: { binary: IDENTITY.binary, arguments: [] },
      });
      const manager = create();
      manager.want(true);
      await manager.open();
      await clock.advance(100);
      expect(manager.status()).toMatchObject({ state: 'ready', adopted: false });
      expect(envoy.pid).not.toBe(pid);
      expect(envoy.running).toHaveLength(1);
    },
  );

  test('what runs is kept while nothing could be started in its place', async () => {
    const pid = await left();
    plan = () => Promise.reject(new SidestepError('ENVOY_MODULE_MISSING', 'gone'));
    const manager = create();
    await manager.open();
    manager.want(true);
    await clock.advance(300);
    expect(manager.status()).toMatchObject({
      state: 'ready',
      pid,
      adopted: true,
      lastFailure: { code: 'ENVOY_MODULE_MISSING' },
    });
  });

  test('a note of one that is gone is thrown away', async () => {
    await left();
    envoy.die();
    const manager = create();
    await manager.open();
    expect(record.record).toBeUndefined();
    expect(manager.status().state).toBe('stopped');
  });

  test('a start under way when the agent ends is not left without a note', async () => {
    const { promise, resolve } = Promise.withResolvers<EnvoyPlan>();
    plan = () => promise;
    const manager = create();
    await manager.open();
    manager.want(true);
    const closed = manager.close();
    resolve({ identity: IDENTITY, command: { binary: IDENTITY.binary, arguments: [] } });
    await closed;
    expect(envoy.running).toEqual([]);
    expect(record.record).toBeUndefined();
  });
});

test('the log is kept within bounds', async () => {
  await ready();
  await clock.advance(180_000);
  expect(envoy.calls.filter((call) => call === 'trim')).toHaveLength(3);
});
