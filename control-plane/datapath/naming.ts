/** Where the kernel puts DNS aside for the agent, and how it knows that there is one. */
import { encodeNamingState } from '../generated/bpf.ts';
import type { KernelMap } from './kernel.ts';

const ONLY = new Uint8Array(4);

export class Naming {
  readonly #state: KernelMap;
  readonly #now: () => bigint;

  /** @param now CLOCK_MONOTONIC in nanoseconds */
  constructor(object: { map(name: string): KernelMap }, now: () => bigint) {
    this.#state = object.map('naming');
    this.#now = now;
  }

  /**
   * From now on DNS waits there, for as long as this is said again.
   * @param ifindex of the TAP device
   * @param forMs after it answers pass unread, and queries that must be read are refused
   */
  alive(ifindex: number, forMs: number): void {
    this.#write(ifindex, this.#now() + BigInt(forMs) * 1_000_000n);
  }

  /** Nobody reads any more. */
  gone(): void {
    this.#write(0, 0n);
  }

  #write(ifindex: number, aliveUntilNs: bigint): void {
    this.#state.update(ONLY, encodeNamingState({ ifindex, aliveUntilNs }));
  }
}
