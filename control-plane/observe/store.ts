/** The last flows, in memory, bounded by number and by bytes; and those who follow. What is lost is counted, per stage. */
import type { Flow, FlowEndpoint } from './flow.ts';

/** Records that are made when somebody looks; most are pushed out before anybody does. */
export interface LatentFlows {
  /** How many they are. */
  readonly count: number;
  /** What they take, made or not. */
  readonly bytes: number;
  /** The same ones each time, oldest first. */
  flows(): readonly Flow[];
}

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

/** Roughly: enough to bound memory, cheap enough per flow. @param texts length of those that it has for itself */
export function sizeOfRecord(texts: number, ends: readonly FlowEndpoint[]): number {
  let bytes = 600 + texts * 2;
  for (const end of ends) bytes += (end.pod_name?.length ?? 0) + 40;
  return bytes;
}

/** One that is there already. */
class Present implements LatentFlows {
  readonly count = 1;
  readonly bytes: number;
  readonly #flow: Flow;

  constructor(flow: Flow) {
    this.#flow = flow;
    const texts = flow.Summary.length + (flow.l7?.http?.url.length ?? 0);
    this.bytes = sizeOfRecord(texts, [flow.source, flow.destination]);
  }

  flows(): readonly Flow[] {
    return [this.#flow];
  }
}

export class FlowStore {
  readonly #limits: StoreLimits;
  /** A ring: `#start` is the oldest. */
  #ring: (LatentFlows | undefined)[] = [];
  #start = 0;
  /** Entries of the ring, and records in them. */
  #count = 0;
  #kept = 0;
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
      kept: this.#kept,
      bytes: this.#bytes,
      followers: this.#followers.size,
      lostByFollowers: this.#lostByFollowers,
    };
  }

  add(flow: Flow): void {
    this.addLatent(new Present(flow));
  }

  addLatent(entry: LatentFlows): void {
    const { maxFlows, maxBytes } = this.#limits;
    while (this.#count > 0 && (this.#kept + entry.count > maxFlows || this.#bytes + entry.bytes > maxBytes))
      this.#evict();
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#start + this.#count) % this.#ring.length] = entry;
    this.#count++;
    this.#kept += entry.count;
    this.#bytes += entry.bytes;
    this.#stored += entry.count;
    if (this.#followers.size === 0) return;
    for (const flow of entry.flows()) for (const follower of this.#followers) this.#offer(follower, flow);
  }

  #grow(): void {
    const bigger: (LatentFlows | undefined)[] = new Array(
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
    if (oldest === undefined) return;
    this.#kept -= oldest.count;
    this.#evicted += oldest.count;
    this.#bytes -= oldest.bytes;
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
    const at = (i: number): readonly Flow[] => this.#ring[(this.#start + i) % this.#ring.length]?.flows() ?? [];
    if (last !== undefined && first === undefined) {
      for (let i = this.#count - 1; i >= 0 && found.length < last; i--)
        found.push(
          ...at(i)
            .filter(wanted)
            .reverse()
            .slice(0, last - found.length),
        );
      return found.reverse();
    }
    const most = first ?? Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#count && found.length < most; i++)
      found.push(
        ...at(i)
          .filter(wanted)
          .slice(0, most - found.length),
      );
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
