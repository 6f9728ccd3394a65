/**
 * How does the tunnel of an open session come to another public key of one end?
 *
 *   rotating ──NEXT──────► other      would it be taken? Nothing has changed yet, and all peers are asked
 *   rotating ◄─KNOWN────── other      or BUSY: it rotates itself, or keys are just being agreed upon; DROPPED ends it
 *   rotating ──SWITCHED──► other      its device has the key; what it sends waits in WireGuard
 *            ◄─handshake──            with a preshared key that both ends make of the new public key: packets go through
 *
 * From KNOWN on neither end agrees on another key or rotates its own, so that both mean the same two keys.
 */
import { SidestepError } from '../../model/error.ts';
import type { MessageOf } from './messages.ts';
import { untilOver } from './until-over.ts';

export interface RotationPorts {
  readonly peer: string;
  /** Aborted when the session is over. */
  readonly over: AbortSignal;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Whoever has named a key, and then neither uses nor drops it, is not waited for any longer: milliseconds. */
  readonly keptMs: number;
  send(step: MessageOf<'rotate'>['step'], key: Uint8Array): void;
  /** Is this node to have another key itself, or is one just being agreed upon with this peer? */
  isBusy(): boolean;
  /** @returns why that key of theirs is not taken */
  claim(key: Uint8Array): SidestepError | undefined;
  /** Makes the preshared key of the public keys that both ends have now known to the tunnel. */
  prepare(): Promise<void>;
  /** Resolves when packets go through under it. */
  commit(): Promise<void>;
}

interface Asked {
  readonly key: Uint8Array;
  readonly known: () => void;
  readonly refused: (why: SidestepError) => void;
}

export class KeyRotation {
  readonly #ports: RotationPorts;
  #ours: Uint8Array = new Uint8Array();
  #theirs: Uint8Array = new Uint8Array();
  #theirNext: { readonly key: Uint8Array; readonly since: number } | undefined;
  #asked: Asked | undefined;
  #changing = false;

  constructor(ports: RotationPorts) {
    this.#ports = ports;
  }

  get ours(): Uint8Array {
    return this.#ours;
  }

  get theirs(): Uint8Array {
    return this.#theirs;
  }

  /** Nothing else may be agreed upon meanwhile. */
  get isPending(): boolean {
    return this.#asked !== undefined || this.#changing || this.#isTheirsDue;
  }

  get #isTheirsDue(): boolean {
    const { now, keptMs } = this.#ports;
    return this.#theirNext !== undefined && now() - this.#theirNext.since < keptMs;
  }

  /** As both Hellos say. */
  begin(ours: Uint8Array, theirs: Uint8Array): void {
    this.#ours = ours;
    this.#theirs = theirs;
  }

  /** Resolves when the other end knows it. @throws AUTH_KEY_BUSY: later, AUTH_NO_SESSION: it ended before */
  async announce(key: Uint8Array): Promise<void> {
    const { over, peer, send } = this.#ports;
    if (this.isPending) throw busy(peer);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#asked = { key, known: resolve, refused: reject };
    try {
      await untilOver(over, peer, () => {
        send('NEXT', key);
        return promise;
      });
    } catch (error) {
      this.#asked = undefined;
      throw error;
    }
  }

  /** It will not be. Without effect when none was announced. */
  drop(): void {
    const asked = this.#asked;
    this.#asked = undefined;
    if (asked === undefined) return;
    asked.refused(new SidestepError('AUTH_KEY_BUSY', 'this node keeps its tunnel key'));
    if (!this.#ports.over.aborted) this.#ports.send('DROPPED', asked.key);
  }

  /** The key that was announced is in use at this end. Resolves when packets go through under it. @throws as the tunnel does */
  async use(key: Uint8Array): Promise<void> {
    await this.#change(async () => {
      this.#ours = key;
      this.#asked = undefined;
      // Before the other end begins the handshake, for which this end must have the preshared key.
      await this.#ports.prepare();
      this.#ports.send('SWITCHED', key);
      await this.#ports.commit();
    });
  }

  /** @returns whether they have another key now. @throws AUTH_PROTOCOL, AUTH_TUNNEL_KEY_TAKEN, and as the tunnel does */
  async receive({ step, key }: MessageOf<'rotate'>): Promise<boolean> {
    const { peer } = this.#ports;
    if (step === 'SWITCHED') {
      if (!this.#isNext(key))
        throw new SidestepError('AUTH_PROTOCOL', `${peer}: ${step} to a key that was not spoken of`);
      await this.#change(async () => {
        this.#theirs = key;
        this.#theirNext = undefined;
        await this.#ports.prepare();
        await this.#ports.commit();
      });
      return true;
    }
    if (step === 'NEXT') this.#next(key);
    else if (step === 'DROPPED' && this.#isNext(key)) this.#theirNext = undefined;
    // An answer to what is not asked any more: it came too late.
    else if (this.#asked && equal(this.#asked.key, key)) {
      if (step === 'KNOWN') this.#asked.known();
      else if (step === 'BUSY') this.#asked.refused(busy(peer));
    }
    return false;
  }

  #next(key: Uint8Array): void {
    const { send, claim, isBusy } = this.#ports;
    if (isBusy() || this.isPending) {
      send('BUSY', key);
      return;
    }
    const refusal = claim(key);
    if (refusal) throw refusal;
    this.#theirNext = { key, since: this.#ports.now() };
    send('KNOWN', key);
  }

  #isNext(key: Uint8Array): boolean {
    return this.#theirNext !== undefined && equal(this.#theirNext.key, key);
  }

  async #change(action: () => Promise<void>): Promise<void> {
    this.#changing = true;
    try {
      await action();
    } finally {
      this.#changing = false;
    }
  }
}

function busy(peer: string): SidestepError {
  return new SidestepError('AUTH_KEY_BUSY', `a tunnel key of ${peer}'s, or with it, is just being replaced`);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
