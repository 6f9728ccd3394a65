/**
 * Frames that wait for a proof. The kernel puts them aside, this asks for the proof and writes them back, whatever the answer
 * is: the kernel judges them then. Nothing is decided here, and nothing can pass that the kernel would not let pass.
 */
import { SidestepError } from '../model/error.ts';

/** Two identities, one here and one here or on another node. */
export interface Pair {
  /** The same text for the same pair. */
  readonly key: string;
  /** Resolves when the kernel has both proofs. Rejects with why it will not. */
  prove(): Promise<void>;
}

export interface HoldQueueOptions {
  /** Whose packet is it? undefined: nobody's that we know; it goes back at once and is refused. */
  readonly pairOf: (source: Uint8Array, destination: Uint8Array) => Pair | undefined;
  readonly writeBack: (frame: Uint8Array) => void;
  /** Told why a pair is not proven. */
  readonly failed: (key: string, error: SidestepError) => void;
  readonly limits?: Partial<HoldLimits>;
}

export interface HoldLimits {
  readonly frames: number;
  readonly bytes: number;
  /** Shorter than HOLD_NS in bpf/lib/hold.h, after which the kernel gives the flow up by itself. */
  readonly ageMs: number;
}

export interface HoldNumbers {
  readonly waiting: number;
  readonly held: number;
  readonly released: number;
  /** Went back unproven: no pair, a failure, or it took too long. */
  readonly unproven: number;
  /** Went back at once because the queue was full. */
  readonly overflowed: number;
}

const LIMITS: HoldLimits = { frames: 4096, bytes: 4 << 20, ageMs: 4000 };

const ETHERNET = 14;
const ETHERTYPE = 12;
const IPV4 = { type: 0x0800, length: 20, source: 12, destination: 16 } as const;
const IPV6 = { type: 0x86dd, length: 40, source: 8, destination: 24 } as const;

export class HoldQueue {
  readonly #options: HoldQueueOptions;
  readonly #limits: HoldLimits;
  readonly #waiting = new Map<string, Uint8Array[]>();
  #frames = 0;
  #bytes = 0;
  #held = 0;
  #released = 0;
  #unproven = 0;
  #overflowed = 0;

  constructor(options: HoldQueueOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
  }

  get numbers(): HoldNumbers {
    return {
      waiting: this.#frames,
      held: this.#held,
      released: this.#released,
      unproven: this.#unproven,
      overflowed: this.#overflowed,
    };
  }

  /** @param ethernet where the Ethernet header begins; what is before it goes back as it came */
  take(frame: Uint8Array, ethernet = 0): void {
    this.#held++;
    const ends = addressesOf(frame, ethernet);
    const pair = ends && this.#options.pairOf(ends.source, ends.destination);
    if (pair === undefined) {
      this.#unproven++;
      this.#options.writeBack(frame);
      return;
    }
    const queue = this.#waiting.get(pair.key);
    if (this.#frames >= this.#limits.frames || this.#bytes + frame.length > this.#limits.bytes) {
      this.#overflowed++;
      // Before those of its flow that wait? It is refused, so it overtakes nobody.
      this.#options.writeBack(frame);
      return;
    }
    this.#frames++;
    this.#bytes += frame.length;
    if (queue) {
      queue.push(frame);
      return;
    }
    this.#waiting.set(pair.key, [frame]);
    void this.#prove(pair);
  }

  async #prove(pair: Pair): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const { ageMs } = this.#limits;
      timer = setTimeout(() => reject(new SidestepError('AUTH_HOLD_TIMEOUT', `not proven within ${ageMs} ms`)), ageMs);
      timer.unref();
    });
    let proven = true;
    try {
      await Promise.race([pair.prove(), late]);
    } catch (error) {
      proven = false;
      if (!(error instanceof SidestepError)) throw error;
      this.#options.failed(pair.key, error);
    } finally {
      clearTimeout(timer);
    }
    const frames = this.#waiting.get(pair.key) ?? [];
    this.#waiting.delete(pair.key);
    for (const frame of frames) {
      this.#frames--;
      this.#bytes -= frame.length;
      if (proven) this.#released++;
      else this.#unproven++;
      this.#options.writeBack(frame);
    }
  }
}

/** Source and destination, 16 bytes each; undefined for what is no IP packet. */
function addressesOf(frame: Uint8Array, ethernet: number): { source: Uint8Array; destination: Uint8Array } | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < ethernet + ETHERNET) return undefined;
  const type = view.getUint16(ethernet + ETHERTYPE);
  const ip = ethernet + ETHERNET;
  if (type === IPV4.type && frame.length >= ip + IPV4.length)
    return { source: mapped(frame, ip + IPV4.source), destination: mapped(frame, ip + IPV4.destination) };
  if (type === IPV6.type && frame.length >= ip + IPV6.length)
    return {
      source: frame.subarray(ip + IPV6.source, ip + IPV6.source + 16),
      destination: frame.subarray(ip + IPV6.destination, ip + IPV6.destination + 16),
    };
  return undefined;
}

/** IPv4 mapped into IPv6, RFC 4291 §2.5.5.2. */
function mapped(frame: Uint8Array, at: number): Uint8Array {
  const address = new Uint8Array(16);
  address.fill(0xff, 10, 12);
  address.set(frame.subarray(at, at + 4), 12);
  return address;
}
