/** Who waits for a proof: packets that are held, by their pair of identities. */

import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { Side } from './ledger.ts';

/** One pair, with this node's identity and the other's. */
export interface Pair {
  readonly ours: string;
  readonly theirs: string;
}

interface Demand extends Pair {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (why: SidestepError) => void;
  readonly since: number;
  readonly cancel: () => void;
  /** What has been heard so far, for when time is up. */
  why: SidestepError | undefined;
}

/** So long as they may be about to change, they are no answer: pods and certificates are known at one node before the other. */
const PASSING = new Set(['AUTH_SVID_MISSING', 'AUTH_IDENTITY_ELSEWHERE', 'AUTH_IDENTITY_WITHDRAWN']);

export interface DemandOptions {
  readonly clock: Clock;
  readonly waitMs: number;
  readonly most: number;
  /** Why there is no proof when time is up; `why`: what was heard of it. */
  readonly overdue: (pair: Pair, why: SidestepError | undefined) => SidestepError;
  readonly took: (ms: number) => void;
}

export class Demands {
  readonly #options: DemandOptions;
  readonly #byPair = new Map<string, Demand>();
  readonly #bySide = { ours: new Map<string, Set<Demand>>(), theirs: new Map<string, Set<Demand>>() };

  constructor(options: DemandOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byPair.size;
  }

  identities(side: Side): Iterable<string> {
    return this.#bySide[side].keys();
  }

  waiting(pair: Pair): Promise<void> | undefined {
    return this.#byPair.get(keyOf(pair))?.promise;
  }

  /** @returns rejects with what `overdue` says, a refusal, or AUTH_LIMIT */
  add(pair: Pair): Promise<void> {
    const { clock, waitMs, most, overdue } = this.#options;
    if (this.#byPair.size >= most)
      return Promise.reject(new SidestepError('AUTH_LIMIT', `${most} pairs wait for this node already`));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const cancel = clock.after(waitMs, () => this.#end(demand, overdue(pair, demand.why)));
    const demand: Demand = { ...pair, promise, resolve, reject, since: clock.now(), cancel, why: undefined };
    this.#byPair.set(keyOf(pair), demand);
    for (const side of ['ours', 'theirs'] as const) {
      const same = this.#bySide[side].get(pair[side]) ?? new Set();
      this.#bySide[side].set(pair[side], same.add(demand));
    }
    return promise;
  }

  /** @param isProven both of a pair */
  changed(side: Side, identity: string, isProven: (pair: Pair) => boolean): void {
    for (const demand of [...(this.#bySide[side].get(identity) ?? [])])
      if (isProven(demand)) this.#end(demand, undefined);
  }

  /** @param why the proof was refused; by whom is in its words */
  refused(side: Side, identity: string, code: string, why: SidestepError): void {
    for (const demand of [...(this.#bySide[side].get(identity) ?? [])])
      if (PASSING.has(code)) demand.why = why;
      else this.#end(demand, why);
  }

  rejectAll(why: SidestepError): void {
    for (const demand of [...this.#byPair.values()]) this.#end(demand, why);
  }

  #end(demand: Demand, why: SidestepError | undefined): void {
    demand.cancel();
    this.#byPair.delete(keyOf(demand));
    for (const side of ['ours', 'theirs'] as const) {
      const same = this.#bySide[side].get(demand[side]);
      same?.delete(demand);
      if (same?.size === 0) this.#bySide[side].delete(demand[side]);
    }
    if (why === undefined) {
      this.#options.took(this.#options.clock.now() - demand.since);
      demand.resolve();
    } else demand.reject(why);
  }
}

/** A space is in no SPIFFE ID. */
function keyOf({ ours, theirs }: Pair): string {
  return `${ours} ${theirs}`;
}
