/** When is a node dialled? The lower node does it at once; the higher one when a packet waits, or the other has not in a while. */

import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import { Backoff } from './backoff.ts';
import type { Times } from './limits.ts';
import type { Channel } from './ports.ts';
import type { Session } from './session.ts';

export interface DiallerPorts {
  readonly weAreLower: boolean;
  readonly clock: Clock;
  readonly random: () => number;
  readonly times: Times;
  /** There is no session, and something to do in one. */
  readonly isNeeded: () => boolean;
  readonly packetsWait: () => boolean;
  /** @throws why not */
  readonly connect: (over: AbortSignal) => Promise<Channel>;
  /** Begins a session: its Hello leaves. @param began when dialling began */
  readonly begin: (channel: Channel, began: number) => Session;
  readonly failed: (reason: SidestepError) => void;
}

interface Dial {
  readonly abort: AbortController;
  /** Once the other end is verified; its Hello is awaited. */
  session: Session | undefined;
}

export class Dialler {
  readonly #ports: DiallerPorts;
  readonly #backoff: Backoff;
  #dial: Dial | undefined;
  #pause: { readonly until: number; readonly cancel: () => void } | undefined;
  #hurriedAt = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(ports: DiallerPorts) {
    this.#ports = ports;
    this.#backoff = new Backoff(ports.times.firstPauseMs, ports.times.longestPauseMs, ports.random);
  }

  get isDialling(): boolean {
    return this.#dial !== undefined;
  }

  /** Our Hello has left in it, and is not answered. */
  get session(): Session | undefined {
    return this.#dial?.session;
  }

  /** When it will be tried again. */
  get pausesUntil(): number | undefined {
    return this.#pause?.until;
  }

  /** There is something to do. */
  approach(): void {
    if (!this.#mayBegin() || this.#pause !== undefined) return;
    const { weAreLower, times, random } = this.#ports;
    if (weAreLower) void this.#call();
    else this.#callIn(times.headStartMs * (0.5 + random() / 2));
  }

  /** A packet waits: that of a new pair does not wait for a pause to end, but a thousand of them do not dial a thousand times. */
  hurry(): void {
    if (!this.#mayBegin()) return;
    const { clock, times } = this.#ports;
    if (this.#pause !== undefined && Math.abs(clock.now() - this.#hurriedAt) < times.retryMs) return;
    this.#hurriedAt = clock.now();
    this.forgive();
    void this.#call();
  }

  /** Something failed or ended. */
  approachLater(): void {
    if (!this.#mayBegin() || this.#pause !== undefined) return;
    const { weAreLower, packetsWait, times } = this.#ports;
    const headStart = weAreLower || packetsWait() ? 0 : times.headStartMs;
    this.#callIn(headStart + this.#backoff.next());
  }

  /** Earlier failures count no more. */
  forgive(): void {
    this.#backoff.reset();
    this.#pause?.cancel();
    this.#pause = undefined;
  }

  /** There is a session now, perhaps the one that was dialled: whatever else is on its way is given up. */
  taken(session: Session): void {
    this.#pause?.cancel();
    this.#pause = undefined;
    const dial = this.#dial;
    this.#dial = undefined;
    if (dial === undefined || dial.session === session) return;
    dial.abort.abort();
    dial.session?.close(replaced());
  }

  /** It came to nothing, if it was the one that was dialled. */
  ended(session: Session): void {
    if (this.#dial?.session === session) this.#dial = undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.forgive();
    this.#dial?.abort.abort();
  }

  #mayBegin(): boolean {
    return !this.#stopped && this.#dial === undefined && this.#ports.isNeeded();
  }

  #callIn(ms: number): void {
    const { clock } = this.#ports;
    const cancel = clock.after(ms, () => {
      this.#pause = undefined;
      if (this.#mayBegin()) void this.#call();
    });
    this.#pause = { until: clock.now() + ms, cancel };
  }

  async #call(): Promise<void> {
    const { clock, connect, begin, failed } = this.#ports;
    const began = clock.now();
    const dial: Dial = { abort: new AbortController(), session: undefined };
    const over = dial.abort.signal;
    this.#dial = dial;
    try {
      const channel = await connect(over);
      if (over.aborted) channel.close(replaced());
      else dial.session = begin(channel, began);
    } catch (error) {
      if (over.aborted) return;
      this.#dial = undefined;
      failed(error instanceof SidestepError ? error : new SidestepError('AUTH_UNREACHABLE', String(error)));
      this.approachLater();
    }
  }
}

function replaced(): SidestepError {
  return new SidestepError('AUTH_SESSION_REPLACED', 'another session has begun');
}
