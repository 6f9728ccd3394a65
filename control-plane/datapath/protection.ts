/**
 * What was proven, and where the tunnel and the device for held packets are: the tables by which the kernel binds identity
 * to encryption. Entries are per identity and node (docs/adr/0011). Whatever is taken away or shortened is felt by live flows at
 * their next packet, because it raises the generation.
 */
import {
  AuthenticationSide,
  encodeAuthenticationEntry,
  encodeAuthenticationKey,
  encodeProtectionState,
  ProtectionFlag,
  readAuthenticationEntry,
  readAuthenticationKey,
  readProtectionState,
} from '../generated/bpf.ts';
import type { KernelMap } from './kernel.ts';
import { MirroredMap, type WriteCounter } from './mirror.ts';

export type Side = 'theirs' | 'ours';

export interface Proven {
  /** Security identity. */
  readonly identity: number;
  /** Number of the node that it was proven by or to; 0: this node's own SVID. */
  readonly node: number;
  readonly side: Side;
  /** Milliseconds since the epoch. */
  readonly expires: number;
  readonly epoch: number;
}

export interface ProtectionDevices {
  /** 0: none. */
  readonly tunnel: number;
  readonly hold: number;
  /** What would leave this node unencrypted is dropped. */
  readonly strict: boolean;
}

const SIDES = { theirs: AuthenticationSide.SIDE_THEIRS, ours: AuthenticationSide.SIDE_OURS } as const;
const ONLY = new Uint8Array(4);
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export class Protection {
  readonly #proven: MirroredMap;
  readonly #state: KernelMap;
  readonly #writes: WriteCounter;
  readonly #bootTime: () => number;
  #devices: ProtectionDevices;
  #generation: number;

  /**
   * Takes over what an earlier agent left: proofs hold until they expire.
   * @param bootTime CLOCK_MONOTONIC 0 as milliseconds since the epoch, asked anew each time because clocks are set
   */
  constructor(object: { map(name: string): KernelMap }, writes: WriteCounter, bootTime: () => number) {
    this.#proven = new MirroredMap(object.map('authentications'), writes);
    this.#state = object.map('protection');
    this.#writes = writes;
    this.#bootTime = bootTime;
    const bytes = this.#state.lookup(ONLY);
    const { tunnelIfindex, holdIfindex, generation, flags } =
      bytes === undefined
        ? { tunnelIfindex: 0, holdIfindex: 0, generation: 0, flags: 0 }
        : readProtectionState(viewOf(bytes));
    this.#generation = generation;
    this.#devices = {
      tunnel: tunnelIfindex,
      hold: holdIfindex,
      strict: (flags & ProtectionFlag.PROTECTION_STRICT) !== 0,
    };
  }

  get devices(): ProtectionDevices {
    return this.#devices;
  }

  /** Every entry that the kernel holds, expired ones included. */
  entries(): Proven[] {
    return this.#proven.keys().flatMap((key) => {
      const value = this.#proven.get(key);
      if (value === undefined) return [];
      const { identity, node, side } = readAuthenticationKey(viewOf(key));
      const { expiresNs, epoch } = readAuthenticationEntry(viewOf(value));
      const expires = this.#bootTime() + Number(expiresNs) / 1e6;
      return [{ identity, node, side: side === SIDES.ours ? 'ours' : 'theirs', expires, epoch } as const];
    });
  }

  setDevices(devices: ProtectionDevices): void {
    const { tunnel, hold, strict } = this.#devices;
    if (tunnel === devices.tunnel && hold === devices.hold && strict === devices.strict) return;
    this.#devices = devices;
    this.#generation++;
    this.#writeState();
  }

  /**
   * Makes the kernel hold exactly these. An entry that goes or ends sooner than before makes live flows ask again.
   * @throws MAP_FULL; what was there before stays
   */
  replace(wanted: readonly Proven[]): void {
    const lessened = this.#put(wanted);
    const keep = new Set(wanted.map((each) => Buffer.from(keyOf(each)).toString('latin1')));
    const gone = this.#proven.keys().filter((key) => !keep.has(Buffer.from(key).toString('latin1')));
    this.#proven.deleteAll(gone);
    if (gone.length > 0 || lessened) this.#raiseGeneration();
  }

  /**
   * Makes the kernel hold these beside what it holds: a proof costs what itself costs, however many there are.
   * An entry that ends sooner than before makes live flows ask again. @throws MAP_FULL
   */
  add(proven: readonly Proven[]): void {
    if (this.#put(proven)) this.#raiseGeneration();
  }

  /** @returns whether one of them ends sooner than before */
  #put(proven: readonly Proven[]): boolean {
    let lessened = false;
    for (const each of proven) {
      const key = keyOf(each);
      const expiresNs = this.#monotonic(each.expires);
      const known = this.#proven.get(key);
      const before = known && readAuthenticationEntry(viewOf(known)).expiresNs;
      // The wall clock and the monotonic one drift: a second more or less is the same entry.
      if (before !== undefined && abs(before - expiresNs) < 1_000_000_000n) continue;
      if (before !== undefined && expiresNs < before) lessened = true;
      this.#proven.set(key, encodeAuthenticationEntry({ expiresNs, epoch: each.epoch }));
    }
    return lessened;
  }

  #raiseGeneration(): void {
    this.#generation++;
    this.#writeState();
  }

  #monotonic(time: number): bigint {
    const ns = (time - this.#bootTime()) * 1e6;
    return ns <= 0 ? 0n : BigInt(Math.floor(ns));
  }

  #writeState(): void {
    const { tunnel, hold, strict } = this.#devices;
    this.#state.update(
      ONLY,
      encodeProtectionState({
        tunnelIfindex: tunnel,
        holdIfindex: hold,
        generation: this.#generation,
        flags: strict ? ProtectionFlag.PROTECTION_STRICT : 0,
      }),
    );
    this.#writes.add(1);
  }
}

function keyOf({ identity, node, side }: Proven): Uint8Array {
  return encodeAuthenticationKey({ identity, node, side: SIDES[side] });
}

function abs(value: bigint): bigint {
  return value < 0n ? -value : value;
}
