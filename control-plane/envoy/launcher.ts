/** Starts Envoy as an unprivileged user with one capability, in its own session and cgroup: it outlives the agent. */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SidestepError } from '../model/error.ts';
import type { ProcessEnd, SpawnOptions } from '../model/process.ts';
import { createCgroup, joinSystemd, type ProcessCgroup } from '../process/cgroup.ts';
import { cutWhenLarge, lastLines, newLog } from '../process/log-file.ts';
import type { EnvoyPaths } from './paths.ts';
import type { EnvoyCommand, EnvoyLauncher, EnvoyProcess, ProcessLook } from './ports.ts';
import { lookAt, processOf } from './process.ts';

/** Starts a program in a session of its own, without our file descriptors. @returns its pid. @throws when it cannot be started */
export type Spawn = (program: string, args: readonly string[], options: SpawnOptions) => number;

export interface LauncherOptions {
  readonly spawn: Spawn;
  /** Takes the end of a child of ours, which stays in the process table until then. */
  readonly reap?: (process: EnvoyProcess) => ProcessEnd | undefined;
  readonly paths: EnvoyPaths;
  readonly cgroup: ProcessCgroup | undefined;
  /** The identity module: handed over open, because Envoy's user may not be able to walk to it. */
  readonly module?: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** Where Envoy finds the module that `LauncherOptions.module` hands over. */
export const MODULE_IN_ENVOY = '/proc/self/fd/200';

/** Envoy's user. */
export const NOBODY = 65534;
/** To listen transparently and to speak with the clients' addresses. */
const CAP_NET_ADMIN = 12;
const WORDS = 12;
const MOST_LOG_BYTES = 8 << 20;
const VERSION_PATIENCE_MS = 10_000;
const VERSION_POLL_MS = 10;

export class ProcessLauncher implements EnvoyLauncher {
  readonly #options: LauncherOptions;
  readonly #uid: number;
  readonly #gid: number;
  /** Of the child that was reaped last. */
  #end: (ProcessEnd & { readonly pid: number }) | undefined;

  constructor(options: LauncherOptions) {
    this.#options = options;
    this.#uid = options.uid ?? NOBODY;
    this.#gid = options.gid ?? NOBODY;
  }

  async version(binary: string): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'sidestep-envoy-'));
    try {
      const output = join(folder, 'version');
      const pid = this.#spawn(binary, ['--version'], [], undefined, output);
      const process = processOf(pid);
      for (let waited = 0; process !== undefined && this.look(process) !== undefined; waited += VERSION_POLL_MS) {
        if (waited >= VERSION_PATIENCE_MS) {
          this.kill(process, 'SIGKILL');
          throw new SidestepError('ENVOY_MISSING', `${binary} --version does not end`);
        }
        await sleep(VERSION_POLL_MS);
      }
      return readFileSync(output, 'utf8');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  start({ binary, arguments: args }: EnvoyCommand): EnvoyProcess {
    const { paths, cgroup } = this.#options;
    mkdirSync(paths.folder, { recursive: true });
    chownSync(paths.folder, this.#uid, this.#gid);
    chmodSync(paths.folder, 0o700);
    newLog(paths.log, this.#uid, this.#gid);
    rmSync(paths.admin, { force: true });
    if (cgroup) createCgroup(cgroup);
    const pid = this.#spawn(binary, args, [CAP_NET_ADMIN], cgroup?.path, paths.log);
    if (cgroup) joinSystemd(cgroup, pid);
    const process = processOf(pid);
    if (process === undefined) throw new SidestepError('ENVOY_FAILED', `${binary} ended as soon as it was started`);
    return process;
  }

  #spawn(
    program: string,
    args: readonly string[],
    capabilities: readonly number[],
    cgroup: string | undefined,
    stdout: string,
  ): number {
    try {
      return this.#options.spawn(program, args, {
        uid: this.#uid,
        gid: this.#gid,
        capabilities,
        cgroup,
        stdout,
        ...(this.#options.module === undefined ? {} : { file: this.#options.module }),
        env: { PATH: '/usr/bin:/bin' },
      });
    } catch (cause) {
      throw new SidestepError(
        'ENVOY_MISSING',
        `${program} cannot be run: ${cause instanceof Error ? cause.message : cause}`,
        { cause, path: program },
      );
    }
  }

  look(process: EnvoyProcess): ProcessLook | undefined {
    const found = lookAt(process);
    // Only the first who asks is told.
    if (found === undefined && this.#end?.pid !== process.pid) {
      const end = this.#options.reap?.(process);
      if (end !== undefined) this.#end = { ...end, pid: process.pid };
    }
    return found;
  }

  howItEnded({ pid }: EnvoyProcess): string {
    const end = this.#end?.pid === pid ? this.#end : undefined;
    if (end?.signal !== undefined) return `was ended by signal ${end.signal}`;
    return end?.code === undefined ? 'ended by itself' : `ended by itself with code ${end.code}`;
  }

  kill(target: EnvoyProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
    if (lookAt(target) === undefined) return;
    try {
      process.kill(target.pid, signal);
    } catch {
      // It ended in between.
    }
  }

  lastWords(): readonly string[] {
    return lastLines(this.#options.paths.log, WORDS);
  }

  trimLog(): void {
    cutWhenLarge(this.#options.paths.log, MOST_LOG_BYTES);
  }
}
