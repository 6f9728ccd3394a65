/** Performs what state.ts decides: one Envoy, there while somebody wants it, replaced when it is lost, left behind for the next agent. */

import type { Clock } from '../model/clock.ts';
import { SidestepError } from '../model/error.ts';
import { HEALTH_TIMES, type HealthTimes, HealthWatch } from './health.ts';
import type {
  EnvoyAdmin,
  EnvoyIdentity,
  EnvoyLauncher,
  EnvoyLog,
  EnvoyPlan,
  EnvoyProcess,
  EnvoyRecord,
  RecordStore,
} from './ports.ts';
import {
  type Effect,
  type EnvoyEvent,
  INITIAL,
  type Machine,
  PAUSES,
  type Pauses,
  pauseOf,
  TIMER_EVENTS,
  type Timer,
  transition,
} from './state.ts';
import { type EnvoyFailure, type EnvoyStatus, failureOf } from './status.ts';
import { Timers } from './timers.ts';

/** While draining, connections are counted this often. */
const COUNT_MS = 1000;
/** The log is looked at this often. */
const TRIM_MS = 60_000;
/** A process that was killed is waited for before another takes its ports. */
const DEATH_MS = 5000;
const DEATH_POLL_MS = 10;

export interface ManagerPorts {
  readonly launcher: EnvoyLauncher;
  readonly admin: EnvoyAdmin;
  readonly clock: Clock;
  readonly record: RecordStore;
  /** Looks at binary and module, writes the configuration. @throws ENVOY_* */
  readonly plan: () => Promise<EnvoyPlan>;
  readonly log: EnvoyLog;
}

export interface ManagerOptions {
  readonly pauses?: Partial<Pauses>;
  readonly health?: Partial<HealthTimes>;
  /** Called after every change of state. */
  readonly changed?: (status: EnvoyStatus) => void;
}

export class EnvoyManager {
  readonly #ports: ManagerPorts;
  readonly #pauses: Pauses;
  readonly #healthTimes: HealthTimes;
  readonly #changed: (status: EnvoyStatus) => void;
  readonly #timers: Timers;
  #machine: Machine = INITIAL;
  #since: number;
  #opened = false;
  #closed = false;
  #wanted = false;
  #running: EnvoyRecord | undefined;
  #adopted = false;
  #health: HealthWatch | undefined;
  #launching: Promise<void> = Promise.resolve();
  /** Killed, perhaps still holding its ports. */
  #dying: EnvoyProcess | undefined;
  #restarts = 0;
  #lastFailure: EnvoyFailure | undefined;
  #stopTrimming: () => void = () => undefined;

  constructor(ports: ManagerPorts, options: ManagerOptions = {}) {
    this.#ports = ports;
    this.#pauses = { ...PAUSES, ...options.pauses };
    this.#healthTimes = { ...HEALTH_TIMES, ...options.health };
    this.#changed = options.changed ?? (() => undefined);
    this.#timers = new Timers(ports.clock);
    this.#since = ports.clock.now();
  }

  /** Takes over an Envoy that an earlier agent left, if it is as we would start it; ends one that is not. */
  async open(): Promise<void> {
    const record = this.#ports.record.read();
    if (record !== undefined) await this.#takeOver(record);
    this.#opened = true;
    if (this.#closed) return;
    this.#trim();
    if (this.#wanted) this.#dispatch('want');
  }

  /** Whether something on this node needs Envoy. */
  want(wanted: boolean): void {
    if (this.#wanted === wanted) return;
    this.#wanted = wanted;
    if (this.#opened) this.#dispatch(wanted ? 'want' : 'unwant');
  }

  status(): EnvoyStatus {
    const iso = (ms: number): string => new Date(ms).toISOString();
    const running = this.#running;
    const retryAt = this.#timers.at('retry');
    return {
      state: this.#machine.state,
      since: iso(this.#since),
      wanted: this.#wanted,
      adopted: running !== undefined && this.#adopted,
      restarts: this.#restarts,
      ...(running
        ? {
            pid: running.process.pid,
            version: running.identity.version,
            startedAt: iso(running.startedAt),
          }
        : {}),
      ...(retryAt === undefined ? {} : { retryAt: iso(retryAt) }),
      ...(this.#lastFailure ? { lastFailure: this.#lastFailure } : {}),
    };
  }

  /** Envoy stays as it is: the next agent takes it over. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timers.clearAll();
    this.#stopTrimming();
    this.#health?.stop();
    // One that is being started gets its note written, or nobody would find it.
    await this.#launching;
  }

  async #takeOver(record: EnvoyRecord): Promise<void> {
    const { launcher, log } = this.#ports;
    const { pid } = record.process;
    if (launcher.look(record.process) === undefined) {
      this.#ports.record.remove();
      return;
    }
    const difference = await this.#difference(record.identity);
    if (this.#closed) return;
    if (difference !== undefined) {
      log.info({ pid, difference }, 'the Envoy of the agent before is not as it would be started now: it ends');
      launcher.kill(record.process, 'SIGKILL');
      this.#dying = record.process;
      this.#ports.record.remove();
      return;
    }
    log.info({ pid }, 'the Envoy of the agent before is taken over');
    this.#adopted = true;
    this.#run(record, 'found');
  }

  /** @returns what is not as we would start it */
  async #difference(found: EnvoyIdentity): Promise<string | undefined> {
    try {
      const { identity } = await this.#ports.plan();
      const names = ['binary', 'version', 'module', 'configuration'] as const;
      return names.find((name) => identity[name] !== found[name]);
    } catch (error) {
      // Nothing could be started in its place: what runs is better than nothing.
      this.#fail(error, 'Envoy cannot be started again');
      return undefined;
    }
  }

  #run(record: EnvoyRecord, event: 'found' | 'launched'): void {
    this.#running = record;
    const { pid } = record.process;
    this.#health = new HealthWatch(this.#ports, record.process, this.#healthTimes, event === 'found', {
      ready: () => this.#dispatch('ready'),
      gone: () => {
        if (!this.#machine.ending && this.#dying === undefined)
          this.#lost(`Envoy (pid ${pid}) ${this.#ports.launcher.howItEnded(record.process)}`);
        this.#dying = undefined;
        this.#dispatch('gone');
      },
      hung: (silentMs) => {
        this.#lost(`Envoy (pid ${pid}) gave no answer for ${(silentMs / 1000).toFixed(1)} s`);
        this.#dispatch('hung');
      },
    });
    this.#dispatch(event);
    this.#health?.start();
  }

  #dispatch(event: EnvoyEvent): void {
    if (this.#closed) return;
    const before = this.#machine;
    const { machine, effects } = transition(before, event);
    this.#machine = machine;
    const changed = machine.state !== before.state;
    if (changed) {
      this.#timers.clearAll();
      this.#since = this.#ports.clock.now();
    }
    if (event === 'late') this.#lost(`Envoy was not ready after ${this.#pauses.startMs / 1000} s`);
    for (const effect of effects) this.#perform(effect);
    if (!changed) return;
    const status = this.status();
    this.#ports.log.info({ state: machine.state, before: before.state, pid: status.pid }, `envoy ${machine.state}`);
    this.#changed(status);
  }

  #perform(effect: Effect): void {
    if (typeof effect === 'object') {
      if ('clear' in effect) this.#timers.clear(effect.clear);
      else this.#setTimer(effect.set);
      return;
    }
    const { admin, launcher, record } = this.#ports;
    switch (effect) {
      case 'launch':
        this.#launching = this.#launch();
        break;
      case 'kill':
        this.#dying = this.#running?.process;
        if (this.#dying) launcher.kill(this.#dying, 'SIGKILL');
        break;
      case 'forget':
        this.#health?.stop();
        this.#running = undefined;
        record.remove();
        break;
      case 'drain':
        void this.#drain();
        break;
      case 'undrain':
        void admin.undrain();
        break;
      case 'quit':
        void admin.quit();
        break;
    }
  }

  #setTimer(timer: Timer): void {
    const pause = pauseOf(timer, this.#machine, this.#pauses);
    this.#timers.set(timer, pause, () => this.#dispatch(TIMER_EVENTS[timer]));
  }

  async #launch(): Promise<void> {
    const { launcher, clock, record } = this.#ports;
    try {
      await this.#death();
      const { identity, command } = await this.#ports.plan();
      if (this.#closed) return;
      const started: EnvoyRecord = { process: launcher.start(command), identity, startedAt: clock.now() };
      record.write(started);
      this.#adopted = false;
      if (this.#machine.failures > 0) this.#restarts++;
      this.#run(started, 'launched');
    } catch (error) {
      this.#fail(error, 'Envoy cannot be started');
      this.#dispatch('unable');
    }
  }

  async #death(): Promise<void> {
    const { launcher, clock } = this.#ports;
    const dying = this.#dying;
    if (dying === undefined) return;
    for (let waited = 0; launcher.look(dying) !== undefined; waited += DEATH_POLL_MS) {
      if (waited >= DEATH_MS) throw new SidestepError('ENVOY_FAILED', `Envoy (pid ${dying.pid}) does not die`);
      await new Promise<void>((resolve) => clock.after(DEATH_POLL_MS, resolve));
    }
    this.#dying = undefined;
  }

  /** Nothing new is sent here any more: with the last connection the work is done. */
  async #drain(): Promise<void> {
    const { admin, clock } = this.#ports;
    await admin.drain();
    const count = async (): Promise<void> => {
      if (this.#closed || this.#machine.state !== 'draining' || this.#machine.ending) return;
      if ((await admin.connections()) === 0) this.#dispatch('drained');
      else clock.after(COUNT_MS, () => void count());
    };
    await count();
  }

  #lost(message: string): void {
    this.#fail(new SidestepError('ENVOY_FAILED', message), message, this.#ports.launcher.lastWords());
  }

  #fail(error: unknown, what: string, lastWords: readonly string[] = []): void {
    this.#lastFailure = failureOf(error, what, lastWords, this.#ports.clock.now());
    const { code, message } = this.#lastFailure;
    this.#ports.log.warn({ code, lastWords }, message);
  }

  #trim(): void {
    this.#ports.launcher.trimLog();
    this.#stopTrimming = this.#ports.clock.after(TRIM_MS, () => this.#trim());
  }
}
