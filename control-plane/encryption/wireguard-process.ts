/** The process of a user-space WireGuard: started, found again by its note, watched, ended. */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod/mini';
import { SidestepError } from '../model/error.ts';
import { createCgroup, joinSystemd, type ProcessCgroup } from '../process/cgroup.ts';
import { cutWhenLarge, lastLines } from '../process/log-file.ts';
import { Note, PROCESS } from '../process/note.ts';
import type { TunnelKernel } from './ports.ts';

/** For the device and the mark of its packets; it needs no other. */
const CAP_NET_ADMIN = 12;
const SIGTERM = 15;
const SIGKILL = 9;
const END_MS = 3_000;
const POLL_MS = 5;
const MOST_LOG_BYTES = 4 << 20;
const WORDS = 8;

export const WIREGUARD_ENVIRONMENT = {
  // "Foreground" by the variable too: else it warns that a kernel has WireGuard, which this one may not.
  WG_PROCESS_FOREGROUND: '1',
  LOG_LEVEL: 'error',
  // Its pools of 64 KiB buffers grow without an end under load, and are never given back. Less costs throughput (ADR 10).
  GOMEMLIMIT: '256MiB',
} as const;

const NOTE = z.object({ process: PROCESS, binary: z.string(), device: z.string(), startedAt: z.number() });

export interface WireGuardProcessOptions {
  /** Of its device. */
  readonly name: string;
  /** wireguard-go. */
  readonly binary: string;
  readonly runDir: string;
  /** undefined: none of its own (no cgroup2 here). */
  readonly cgroup: ProcessCgroup | undefined;
}

interface Found {
  readonly pid: number;
  readonly startTime: number;
}

export function tunnelFiles(runDir: string): { readonly note: string; readonly log: string } {
  return { note: join(runDir, 'tunnel.pid'), log: join(runDir, 'tunnel.log') };
}

export class WireGuardProcess {
  readonly #kernel: TunnelKernel;
  readonly #options: WireGuardProcessOptions;
  readonly #note: Note<typeof NOTE>;
  readonly #log: string;
  #process: Found | undefined;

  constructor(kernel: TunnelKernel, options: WireGuardProcessOptions) {
    this.#kernel = kernel;
    this.#options = options;
    const { note, log } = tunnelFiles(options.runDir);
    this.#note = new Note(note, NOTE);
    this.#log = log;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** @returns whether the one of the note runs */
  find(): boolean {
    const noted = this.#note.read();
    if (noted === undefined || noted.device !== this.#options.name) return false;
    if (this.#kernel.waitPid(noted.process.pid, noted.process.startTime) !== undefined) return false;
    this.#process = noted.process;
    return true;
  }

  /** @throws TUNNEL_UNAVAILABLE when it cannot be run, TUNNEL_FAILED when it ends at once */
  start(): void {
    const { name, binary, cgroup, runDir } = this.#options;
    mkdirSync(runDir, { recursive: true });
    rmSync(this.#log, { force: true });
    if (cgroup) createCgroup(cgroup);
    const pid = this.#spawn();
    if (cgroup) joinSystemd(cgroup, pid);
    const startTime = this.#kernel.processStartTime(pid);
    if (startTime === undefined) throw this.failed('wireguard-go ended as soon as it was started');
    this.#process = { pid, startTime };
    this.#note.write({ process: this.#process, binary, device: name, startedAt: Date.now() });
  }

  #spawn(): number {
    const { name, binary, cgroup } = this.#options;
    try {
      return this.#kernel.spawn(binary, ['-f', name], {
        // The folder of its socket is root's; what root may do it may not.
        uid: 0,
        gid: 0,
        capabilities: [CAP_NET_ADMIN],
        cgroup: cgroup?.path,
        stdout: this.#log,
        env: WIREGUARD_ENVIRONMENT,
      });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SidestepError('TUNNEL_UNAVAILABLE', `${binary} cannot be run: ${why}`, { cause, path: binary });
    }
  }

  /** Why it is of no use; undefined: it runs. */
  trouble(): SidestepError | undefined {
    if (this.#process === undefined) return this.failed('no process runs');
    const { pid, startTime } = this.#process;
    const end = this.#kernel.waitPid(pid, startTime);
    if (end === undefined) return undefined;
    const byItself = end.code === undefined ? '' : ` with code ${end.code}`;
    return this.failed(
      `wireguard-go (pid ${pid}) has ended${end.signal === undefined ? byItself : ` by signal ${end.signal}`}`,
    );
  }

  /** Whether it has a UDP socket of this port. */
  hasPort(port: number): boolean {
    if (this.#process === undefined) return false;
    const { pid } = this.#process;
    const sockets = new Set(['udp', 'udp6'].flatMap((table) => socketsAt(`/proc/${pid}/net/${table}`, port)));
    if (sockets.size === 0) return false;
    try {
      return readdirSync(`/proc/${pid}/fd`).some((fd) => sockets.has(target(`/proc/${pid}/fd/${fd}`)));
    } catch {
      // It has just ended.
      return false;
    }
  }

  /**
   * Also what an agent that died between a start and its note has left in our control group.
   * @throws TUNNEL_FAILED when one does not end
   */
  async stop(): Promise<void> {
    const noted = this.#process ?? this.#note.read()?.process;
    for (const found of [...(noted ? [noted] : []), ...this.#strays()]) await this.#end(found);
    this.#process = undefined;
    this.#note.remove();
  }

  tidy(): void {
    cutWhenLarge(this.#log, MOST_LOG_BYTES);
  }

  lastWords(): readonly string[] {
    return lastLines(this.#log, WORDS);
  }

  failed(what: string): SidestepError {
    const words = this.lastWords().at(-1);
    return new SidestepError('TUNNEL_FAILED', words === undefined ? what : `${what}; it said: ${words}`);
  }

  #strays(): Found[] {
    const { cgroup } = this.#options;
    if (cgroup === undefined) return [];
    let pids: string;
    try {
      pids = readFileSync(join(cgroup.path, 'cgroup.procs'), 'utf8');
    } catch {
      return [];
    }
    return pids.split('\n').flatMap((text) => {
      const pid = Number(text);
      const startTime = pid > 1 ? this.#kernel.processStartTime(pid) : undefined;
      return startTime === undefined ? [] : [{ pid, startTime }];
    });
  }

  /** Asked first, so that it takes its socket away. */
  async #end({ pid, startTime }: Found): Promise<void> {
    for (const signal of [SIGTERM, SIGKILL]) {
      this.#kernel.signalProcess(pid, startTime, signal);
      for (let waited = 0; waited < END_MS; waited += POLL_MS) {
        if (this.#kernel.waitPid(pid, startTime) !== undefined) return;
        await sleep(POLL_MS);
      }
    }
    throw this.failed(`wireguard-go (pid ${pid}) does not end`);
  }
}

/** Local address and port stand in the second column, the inode in the tenth (proc(5)). */
function socketsAt(table: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  try {
    const rows = readFileSync(table, 'utf8').split('\n').slice(1);
    const columns = rows.map((row) => row.trim().split(/\s+/));
    return columns.filter(([, local]) => local?.endsWith(wanted)).map((row) => `socket:[${row[9]}]`);
  } catch {
    return [];
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}
