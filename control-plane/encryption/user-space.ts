/**
 * WireGuard as a process on a TUN device (wireguard-go): in a session and control group of its own, so that it outlives the
 * agent, and found again by its note. It is told everything over its UNIX socket. With it the device goes, and with the device
 * the route.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod/mini';
import { SidestepError } from '../model/error.ts';
import { createCgroup, joinSystemd, type ProcessCgroup } from '../process/cgroup.ts';
import { cutWhenLarge, lastLines } from '../process/log-file.ts';
import { Note, PROCESS } from '../process/note.ts';
import { publicKeyOf } from './keys.ts';
import { controlSocket } from './names.ts';
import type { EngineState, TunnelEngine, TunnelKernel, TunnelLog, TunnelSettings } from './ports.ts';
import type { TunnelPeer, TunnelPrefix } from './tunnel.ts';
import { encodePeer, encodeRemoval, encodeSettings } from './uapi.ts';
import { UapiClient } from './uapi-client.ts';

export const USER_SPACE_KIND = 'tun';
/** For the device and the mark of its packets; it needs no other. */
const CAP_NET_ADMIN = 12;
const SIGTERM = 15;
const SIGKILL = 9;
/** Of one exchange; a process under full load answers in a few milliseconds. */
const ANSWER_MS = 5_000;
const START_MS = 10_000;
const END_MS = 3_000;
const POLL_MS = 5;
const MOST_LOG_BYTES = 4 << 20;
const WORDS = 8;

const NOTE = z.object({ process: PROCESS, binary: z.string(), device: z.string(), startedAt: z.number() });

export interface UserSpaceOptions {
  readonly name: string;
  /** Of wireguard-go. */
  readonly binary: string;
  readonly runDir: string;
  /** undefined: none of its own (no cgroup2 here). */
  readonly cgroup: ProcessCgroup | undefined;
  readonly log: TunnelLog;
}

export function tunnelFiles(runDir: string): { readonly note: string; readonly log: string } {
  return { note: join(runDir, 'tunnel.pid'), log: join(runDir, 'tunnel.log') };
}

interface Found {
  readonly pid: number;
  readonly startTime: number;
}

export class UserSpaceEngine implements TunnelEngine {
  readonly kind = 'user-space';
  readonly #kernel: TunnelKernel;
  readonly #options: UserSpaceOptions;
  readonly #note: Note<typeof NOTE>;
  readonly #logFile: string;
  readonly #socket: string;
  readonly #uapi: UapiClient;
  #process: Found | undefined;

  constructor(kernel: TunnelKernel, options: UserSpaceOptions) {
    this.#kernel = kernel;
    this.#options = options;
    const { note, log } = tunnelFiles(options.runDir);
    this.#note = new Note(note, NOTE);
    this.#logFile = log;
    this.#socket = controlSocket(options.name);
    this.#uapi = new UapiClient(this.#socket, ANSWER_MS);
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  async start(): Promise<'found' | 'made'> {
    if (await this.#adopt()) return 'found';
    await this.stop();
    if (this.#deviceThere())
      throw new SidestepError('TUNNEL_FAILED', `${this.#options.name} is there and is not ours`, {
        hint: 'Take the device away, or pick another --instance.',
      });
    this.#spawn();
    await this.#answers();
    return 'made';
  }

  trouble(): SidestepError | undefined {
    if (this.#process === undefined) return this.#failed('no process runs');
    cutWhenLarge(this.#logFile, MOST_LOG_BYTES);
    const { pid, startTime } = this.#process;
    const end = this.#kernel.waitPid(pid, startTime);
    if (end === undefined) return undefined;
    const how =
      end.signal === undefined ? (end.code === undefined ? '' : ` with code ${end.code}`) : ` by signal ${end.signal}`;
    return this.#failed(`wireguard-go (pid ${pid}) has ended${how}`);
  }

  state(): Promise<EngineState> {
    return this.#uapi.state();
  }

  async configure(settings: TunnelSettings): Promise<readonly string[]> {
    const { publicKey, port, fwmark } = await this.state();
    const { name } = this.#options;
    const sameKey = publicKey !== undefined && Buffer.from(publicKey).equals(publicKeyOf(settings.privateKey));
    const wrong: { -readonly [K in keyof TunnelSettings]?: TunnelSettings[K] } = {
      ...(sameKey ? {} : { privateKey: settings.privateKey }),
      ...(fwmark === settings.fwmark ? {} : { fwmark: settings.fwmark }),
      // Last: it is opened with the mark that is set by then.
      ...(port === settings.port ? {} : { port: settings.port }),
    };
    const names = Object.keys(wrong);
    if (names.length > 0) await this.#uapi.send(encodeSettings(wrong));
    return names.map((each) => `${each} of ${name}`);
  }

  /** It opens its port when it hears that the device is up, once; when it could not, it has forgotten the number. */
  async listening(port: number): Promise<void> {
    for (let waited = 0; waited < START_MS; waited += POLL_MS) {
      const trouble = this.trouble();
      if (trouble) throw trouble;
      if (this.#process && hasPort(this.#process.pid, port)) return;
      if ((await this.state()).port !== port) {
        await this.stop();
        throw new SidestepError('TUNNEL_PORT_BUSY', `UDP port ${port} is taken`);
      }
      await sleep(POLL_MS);
    }
    await this.stop();
    throw this.#failed(`wireguard-go does not open UDP port ${port}`);
  }

  async setPeer(peer: TunnelPeer, lost: readonly TunnelPrefix[]): Promise<void> {
    await this.#uapi.send(encodePeer(peer, lost));
  }

  async removePeer(publicKey: Uint8Array): Promise<void> {
    await this.#uapi.send(encodeRemoval(publicKey));
  }

  lastWords(): readonly string[] {
    return lastLines(this.#logFile, WORDS);
  }

  /** Also what an agent that died between a start and its note has left in our control group. */
  async stop(): Promise<void> {
    const noted = this.#process ?? this.#note.read()?.process;
    for (const found of [...(noted ? [noted] : []), ...this.#strays()]) await this.#end(found);
    this.#process = undefined;
    this.#note.remove();
    rmSync(this.#socket, { force: true });
  }

  async #adopt(): Promise<boolean> {
    const noted = this.#note.read();
    if (noted === undefined || noted.device !== this.#options.name || !this.#deviceThere()) return false;
    const { pid, startTime } = noted.process;
    if (this.#kernel.waitPid(pid, startTime) !== undefined) return false;
    try {
      await this.state();
    } catch (error) {
      this.#options.log.warn({ pid, err: error }, 'the WireGuard process of the agent before gives no answer: it ends');
      return false;
    }
    this.#process = { pid, startTime };
    return true;
  }

  #spawn(): void {
    const { name, binary, cgroup, runDir } = this.#options;
    mkdirSync(runDir, { recursive: true });
    rmSync(this.#logFile, { force: true });
    if (cgroup) createCgroup(cgroup);
    let pid: number;
    try {
      pid = this.#kernel.spawn(binary, ['-f', name], {
        uid: 0,
        gid: 0,
        capabilities: [CAP_NET_ADMIN],
        cgroup: cgroup?.path,
        stdout: this.#logFile,
        // "Foreground" by the variable too: else it warns that a kernel has WireGuard, which this one may not.
        env: { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' },
      });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SidestepError('TUNNEL_UNAVAILABLE', `${binary} cannot be run: ${why}`, { cause, path: binary });
    }
    if (cgroup) joinSystemd(cgroup, pid);
    const startTime = this.#kernel.processStartTime(pid);
    if (startTime === undefined) throw this.#failed('wireguard-go ended as soon as it was started');
    this.#process = { pid, startTime };
    this.#note.write({ process: this.#process, binary, device: name, startedAt: Date.now() });
  }

  async #answers(): Promise<void> {
    for (let waited = 0; waited < START_MS; waited += POLL_MS) {
      const trouble = this.trouble();
      if (trouble) throw trouble;
      if (existsSync(this.#socket) && this.#deviceThere() && (await this.#answered())) return;
      await sleep(POLL_MS);
    }
    throw this.#failed(`wireguard-go gives no answer at ${this.#socket}`);
  }

  async #answered(): Promise<boolean> {
    try {
      await this.state();
      return true;
    } catch {
      // A socket that an earlier one has left: nobody listens yet.
      return false;
    }
  }

  #deviceThere(): boolean {
    return this.#kernel.interfaces().some(({ name }) => name === this.#options.name);
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
    throw this.#failed(`wireguard-go (pid ${pid}) does not end`);
  }

  #failed(what: string): SidestepError {
    const words = this.lastWords().at(-1);
    return new SidestepError('TUNNEL_FAILED', words === undefined ? what : `${what}; it said: ${words}`);
  }
}

/** Whether the process has a UDP socket of this port. */
function hasPort(pid: number, port: number): boolean {
  const inodes = new Set(['udp', 'udp6'].flatMap((table) => inodesAt(`/proc/${pid}/net/${table}`, port)));
  if (inodes.size === 0) return false;
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => inodes.has(socketOf(`/proc/${pid}/fd/${fd}`)));
  } catch {
    // It has just ended.
    return false;
  }
}

/** Local address and port stand in the second column, the inode in the tenth (proc(5)). */
function inodesAt(table: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  try {
    const rows = readFileSync(table, 'utf8').split('\n').slice(1);
    const columns = rows.map((row) => row.trim().split(/\s+/));
    return columns.filter(([, local]) => local?.endsWith(wanted)).map((row) => `socket:[${row[9]}]`);
  } catch {
    return [];
  }
}

function socketOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}
