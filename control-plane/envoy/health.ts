/**
 * Is this process alive, and does it answer? Watches one Envoy: gone is seen within a poll; hung, when two questions in a
 * row stay unanswered, within 1.75 s. An Envoy whose main thread works (a large update, a starved machine) is busy, not hung.
 */
import type { Clock } from '../model/clock.ts';
import type { EnvoyAdmin, EnvoyLauncher, EnvoyProcess, ProcessLook } from './ports.ts';

export interface HealthTimes {
  readonly pollMs: number;
  /** Until the first answer. */
  readonly startPollMs: number;
  /** No answer for so long is silence. */
  readonly silenceMs: number;
  /** Between two questions while one is open. */
  readonly spacingMs: number;
  /** A main thread that works may be silent for so long. */
  readonly busyMs: number;
}

export const HEALTH_TIMES: HealthTimes = {
  pollMs: 250,
  startPollMs: 25,
  silenceMs: 1000,
  spacingMs: 500,
  busyMs: 10_000,
};

const MISSES = 2;

export interface HealthPorts {
  readonly launcher: Pick<EnvoyLauncher, 'look'>;
  readonly admin: Pick<EnvoyAdmin, 'ready'>;
  readonly clock: Clock;
}

export interface HealthListener {
  /** Each time it becomes ready. */
  ready(): void;
  gone(): void;
  hung(silentMs: number): void;
}

export class HealthWatch {
  readonly #ports: HealthPorts;
  readonly #process: EnvoyProcess;
  readonly #times: HealthTimes;
  readonly #listener: HealthListener;
  #cancel: () => void = () => undefined;
  #stopped = false;
  #ready = false;
  /** Silence counts: one that has answered must go on answering. */
  #answers: boolean;
  #open = 0;
  #misses = 0;
  #sentAt = Number.NEGATIVE_INFINITY;
  #answeredAt: number;
  /** How the process looked when the first unanswered question was asked. */
  #before: ProcessLook | undefined;

  /** @param answers it is no newcomer: silence counts from the start */
  constructor(
    ports: HealthPorts,
    process: EnvoyProcess,
    times: HealthTimes,
    answers: boolean,
    listener: HealthListener,
  ) {
    this.#ports = ports;
    this.#process = process;
    this.#times = times;
    this.#answers = answers;
    this.#listener = listener;
    this.#answeredAt = ports.clock.now();
  }

  start(): void {
    this.#tick();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #tick(): void {
    const { launcher, clock } = this.#ports;
    const look = launcher.look(this.#process);
    if (look === undefined) {
      this.stop();
      this.#listener.gone();
      return;
    }
    const waiting = this.#open > 0 || this.#misses > 0;
    if (!waiting || clock.now() - this.#sentAt >= this.#times.spacingMs) void this.#ask(look);
    this.#cancel = clock.after(this.#answers ? this.#times.pollMs : this.#times.startPollMs, () => this.#tick());
  }

  async #ask(look: ProcessLook): Promise<void> {
    const { admin, clock } = this.#ports;
    this.#open++;
    this.#sentAt = clock.now();
    const answer = await admin.ready(this.#times.silenceMs);
    this.#open--;
    if (this.#stopped) return;
    if (answer === 'silent') {
      this.#missed(look);
      return;
    }
    this.#answers = true;
    this.#misses = 0;
    this.#before = undefined;
    this.#answeredAt = clock.now();
    const ready = answer === 'ready';
    const became = ready && !this.#ready;
    this.#ready = ready;
    if (became) this.#listener.ready();
  }

  #missed(look: ProcessLook): void {
    if (!this.#answers) return;
    this.#misses++;
    this.#before ??= look;
    if (this.#misses < MISSES) return;
    const now = this.#ports.launcher.look(this.#process);
    if (now === undefined) return; // the next poll says so
    const silentMs = this.#ports.clock.now() - this.#answeredAt;
    const works = now.state === 'R' || now.mainThreadTicks > this.#before.mainThreadTicks;
    if (works && silentMs < this.#times.busyMs) return;
    this.#misses = 0;
    this.#before = undefined;
    this.#listener.hung(silentMs);
  }
}
