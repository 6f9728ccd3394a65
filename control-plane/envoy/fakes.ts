/** For tests: an Envoy that lives, dies and hangs as it is told. */

import type { Clock } from '../model/clock.ts';
import type {
  EnvoyAdmin,
  EnvoyCommand,
  EnvoyLauncher,
  EnvoyProcess,
  EnvoyRecord,
  ProcessLook,
  Readiness,
  RecordStore,
} from './ports.ts';

/** Both edges of one machine: at most one Envoy runs on it, and it is what the admin interface speaks of. */
export class FakeEnvoy implements EnvoyLauncher, EnvoyAdmin {
  readonly #clock: Clock;
  readonly calls: string[] = [];
  readonly #alive = new Map<number, EnvoyProcess>();
  #pids = 100;
  /** What /ready says; refused: nobody listens. */
  answer: Readiness | 'refused' = 'ready';
  state = 'S';
  mainThreadTicks = 0;
  clients: number | undefined = 0;
  /** What the next starts fail with. */
  unable: Error | undefined;
  /** SIGKILL does not help: it is in the kernel's hands. */
  undying = false;
  /** It ends when it is asked to. */
  polite = true;
  words: readonly string[] = ['the last line'];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get running(): readonly EnvoyProcess[] {
    return [...this.#alive.values()];
  }

  get pid(): number {
    return this.running[0]?.pid ?? 0;
  }

  spawn(): EnvoyProcess {
    const process = { pid: ++this.#pids, startTime: this.#pids * 10 };
    this.#alive.set(process.pid, process);
    return process;
  }

  die(): void {
    this.#alive.clear();
  }

  async version(): Promise<string> {
    return 'envoy  version: abc/1.40.0/Clean/RELEASE/BoringSSL';
  }

  start(_: EnvoyCommand): EnvoyProcess {
    if (this.unable !== undefined) throw this.unable;
    this.calls.push('start');
    return this.spawn();
  }

  look({ pid, startTime }: EnvoyProcess): ProcessLook | undefined {
    if (this.#alive.get(pid)?.startTime !== startTime) return undefined;
    return { state: this.state, mainThreadTicks: this.mainThreadTicks };
  }

  howItEnded(): string {
    return 'ended by itself';
  }

  kill(process: EnvoyProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
    this.calls.push(signal);
    if (!this.undying) this.#alive.delete(process.pid);
  }

  lastWords(): readonly string[] {
    return this.words;
  }

  trimLog(): void {
    this.calls.push('trim');
  }

  async ready(timeoutMs: number): Promise<Readiness> {
    if (this.answer === 'refused' || this.#alive.size === 0) return 'silent';
    if (this.answer !== 'silent') return this.answer;
    await new Promise<void>((resolve) => this.#clock.after(timeoutMs, resolve));
    return 'silent';
  }

  async drain(): Promise<void> {
    this.calls.push('drain');
  }

  async undrain(): Promise<void> {
    this.calls.push('undrain');
  }

  async quit(): Promise<void> {
    this.calls.push('quit');
    if (this.polite) this.#alive.clear();
  }

  async connections(): Promise<number | undefined> {
    return this.clients;
  }
}

export class MemoryRecord implements RecordStore {
  record: EnvoyRecord | undefined;

  read(): EnvoyRecord | undefined {
    return this.record;
  }
  write(record: EnvoyRecord): void {
    this.record = record;
  }
  remove(): void {
    this.record = undefined;
  }
}
