/** The last flows, in memory, bounded by number and by bytes; and those who follow. What is lost is counted, per stage. */
import type { Flow } from './flow.ts';

export interface StoreLimits {
  readonly maxFlows: number;
  readonly maxBytes: number;
}

export interface StoreNumbers {
  /** Ever put in. */
  readonly stored: number;
  /** Pushed out by newer ones. */
  readonly evicted: number;
  readonly kept: number;
  readonly bytes: number;
  readonly followers: number;
  /** Not delivered to followers that were too slow. */
  readonly lostByFollowers: number;
}

export interface Query {
  readonly test: (flow: Flow) => boolean;
  /** At most so many, the newest (`last`) or the oldest (`first`) of those that match. */
  readonly last?: number;
  readonly first?: number;
  /** Milliseconds since the epoch. */
  readonly since?: number;
  readonly until?: number;
}

/** Records that one slow follower may have waiting. */
const FOLLOWER_QUEUE = 8192;

interface Follower {
  readonly test: (flow: Flow) => boolean;
  readonly queue: Flow[];
  lost: number;
  wake: (() => void) | undefined;
}

export interface Following extends Disposable {
  /** What has come since the last call, and how many were lost; waits until there is something. */
  next(signal: AbortSignal): Promise<{ readonly flows: readonly Flow[]; readonly lost: number }>;
}

/** Strings of a record, roughly: enough to bound memory, cheap enough per flow. */
function sizeOf(flow: Flow): number {
  let bytes = 600 + (flow.Summary.length + (flow.l7?.http.url.length ?? 0)) * 2;
  for (const end of [flow.source, flow.destination]) bytes += (end.pod_name?.length ?? 0) + 40;
  return bytes;
}

export class FlowStore {
  readonly #limits: StoreLimits;
  /** A ring: `#start` is the oldest. */
  #ring: (Flow | undefined)[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;
  #stored = 0;
  #evicted = 0;
  #lostByFollowers = 0;
  readonly #followers = new Set<Follower>();

  constructor(limits: StoreLimits) {
    this.#limits = limits;
  }

  get numbers(): StoreNumbers {
    return {
      stored: this.#stored,
      evicted: this.#evicted,
      kept: this.#count,
      bytes: this.#bytes,
      followers: this.#followers.size,
      lostByFollowers: this.#lostByFollowers,
    };
  }

  add(flow: Flow): void {
    const size = sizeOf(flow);
    while (this.#count > 0 && (this.#count >= this.#limits.maxFlows || this.#bytes + size > this.#limits.maxBytes))
      this.#evict();
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#start + this.#count) % this.#ring.length] = flow;
    this.#count++;
    this.#bytes += size;
    this.#stored++;
    for (const follower of this.#followers) this.#offer(follower, flow);
  }

  #grow(): void {
    const bigger: (Flow | undefined)[] = new Array(
      Math.min(this.#limits.maxFlows, Math.max(1024, this.#ring.length * 2)),
    );
    for (let i = 0; i < this.#count; i++) bigger[i] = this.#ring[(this.#start + i) % this.#ring.length];
    this.#ring = bigger;
    this.#start = 0;
  }

  #evict(): void {
    const oldest = this.#ring[this.#start];
    this.#ring[this.#start] = undefined;
    this.#start = (this.#start + 1) % this.#ring.length;
    this.#count--;
    this.#evicted++;
    if (oldest) this.#bytes -= sizeOf(oldest);
  }

  #offer(follower: Follower, flow: Flow): void {
    if (!follower.test(flow)) return;
    if (follower.queue.length >= FOLLOWER_QUEUE) {
      follower.lost++;
      this.#lostByFollowers++;
      return;
    }
    follower.queue.push(flow);
    follower.wake?.();
  }

  /** Oldest first. */
  query({ test, last, first, since, until }: Query): Flow[] {
    const wanted = (flow: Flow): boolean => {
      const time = since === undefined && until === undefined ? 0 : Date.parse(flow.time);
      return (since === undefined || time >= since) && (until === undefined || time <= until) && test(flow);
    };
    const found: Flow[] = [];
    const at = (i: number): Flow | undefined => this.#ring[(this.#start + i) % this.#ring.length];
    if (last !== undefined && first === undefined) {
      for (let i = this.#count - 1; i >= 0 && found.length < last; i--) {
        const flow = at(i);
        if (flow && wanted(flow)) found.push(flow);
      }
      return found.reverse();
    }
    for (let i = 0; i < this.#count && found.length < (first ?? Number.POSITIVE_INFINITY); i++) {
      const flow = at(i);
      if (flow && wanted(flow)) found.push(flow);
    }
    return found;
  }

  /** Everything added from now on that passes the test. */
  follow(test: (flow: Flow) => boolean): Following {
    const follower: Follower = { test, queue: [], lost: 0, wake: undefined };
    this.#followers.add(follower);
    return {
      next: async (signal) => {
        while (follower.queue.length === 0 && follower.lost === 0 && !signal.aborted) {
          const { promise, resolve } = Promise.withResolvers<void>();
          const wake = (): void => resolve();
          follower.wake = wake;
          signal.addEventListener('abort', wake, { once: true });
          await promise;
          signal.removeEventListener('abort', wake);
          follower.wake = undefined;
        }
        const { lost } = follower;
        follower.lost = 0;
        return { flows: follower.queue.splice(0), lost };
      },
      [Symbol.dispose]: () => void this.#followers.delete(follower),
    };
  }
}
