/** The edges of the manager: what starts and watches a process, what asks Envoy, and what keeps a note of it. */

/** A pid alone may by now be anybody's; with the time it was started it is one process. */
export interface EnvoyProcess {
  readonly pid: number;
  /** Clock ticks after boot, /proc/PID/stat. */
  readonly startTime: number;
}

export interface ProcessLook {
  /** R running, S sleeping, D waiting for a disk, T stopped, … (proc(5)). */
  readonly state: string;
  /** Time on a CPU of the main thread, in clock ticks. */
  readonly mainThreadTicks: number;
}

export interface EnvoyCommand {
  readonly binary: string;
  readonly arguments: readonly string[];
}

export interface EnvoyLauncher {
  /** What `binary --version` prints. @throws ENVOY_MISSING */
  version(binary: string): Promise<string>;
  /** Starts it so that it outlives the agent. */
  start(command: EnvoyCommand): EnvoyProcess;
  /** undefined: it is gone. */
  look(process: EnvoyProcess): ProcessLook | undefined;
  /** Of one that is gone: the words behind "Envoy (pid N)". */
  howItEnded(process: EnvoyProcess): string;
  kill(process: EnvoyProcess, signal: 'SIGTERM' | 'SIGKILL'): void;
  /** The last lines of its log, since it was started. */
  lastWords(): readonly string[];
  /** Keeps its log within bounds. */
  trimLog(): void;
}

/** silent: no answer in time, or nobody listens. */
export type Readiness = 'ready' | 'not-ready' | 'silent';

export interface EnvoyAdmin {
  ready(timeoutMs: number): Promise<Readiness>;
  /** Responses ask clients to close their connections; `undrain` takes it back. */
  drain(): Promise<void>;
  undrain(): Promise<void>;
  quit(): Promise<void>;
  /** Connections of clients; undefined when it does not say. */
  connections(): Promise<number | undefined>;
}

/** What a running Envoy was started from. Equal: it is as we would start it now. */
export interface EnvoyIdentity {
  readonly binary: string;
  readonly version: string;
  /** Path and content of the identity module. */
  readonly module: string;
  /** Hash of the bootstrap and of the command line. */
  readonly configuration: string;
}

export interface EnvoyRecord {
  readonly process: EnvoyProcess;
  readonly identity: EnvoyIdentity;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

/** The note by which the next agent finds Envoy. */
export interface RecordStore {
  read(): EnvoyRecord | undefined;
  write(record: EnvoyRecord): void;
  remove(): void;
}

/** What to start, once binary and module have been looked at. */
export interface EnvoyPlan {
  readonly identity: EnvoyIdentity;
  readonly command: EnvoyCommand;
}

export interface EnvoyLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}
