/**
 * When does the tunnel get its new key? In two phases, so that there is no moment at which only one end can read the other:
 *
 *   lower ──PREPARE──► higher        both keep the new key beside the old one
 *   lower ◄─PREPARED── higher
 *   lower ──COMMIT───► higher        both use it, and try it
 *   lower ◄─COMMITTED─► higher       packets go through at both ends
 *
 * If it ends before, both still have the old one. Only the lower node counts epochs, so no two keys of a pair share a number.
 */
import { SidestepError } from '../../model/error.ts';
import type { ProofSink, TunnelKey } from '../peers.ts';
import type { MessageOf } from './messages.ts';

export type KeyStep = MessageOf<'key'>['step'];

export interface KeyPorts {
  readonly weAreLower: boolean;
  readonly peer: string;
  readonly sink: Pick<ProofSink, 'prepareKey' | 'commitKey'>;
  keyOf(epoch: number): TunnelKey;
  /** The highest epoch that either end has seen. */
  lastEpoch(): number;
  /** It was used up, whatever becomes of it. */
  used(epoch: number): void;
  send(step: KeyStep, epoch: number): void;
  /** Aborted when the session is over. */
  readonly over: AbortSignal;
  began(): void;
  /** Both ends have it in use. */
  agreed(epoch: number): void;
}

const LAST_EPOCH = 2 ** 32 - 1;

export class KeyAgreement {
  readonly #ports: KeyPorts;
  #epoch = 0;
  #phase: 'idle' | 'preparing' | 'prepared' | 'committed' = 'idle';
  #theyCommitted = false;

  constructor(ports: KeyPorts) {
    this.#ports = ports;
  }

  get isIdle(): boolean {
    return this.#phase === 'idle';
  }

  /** The lower node only, while idle. @throws AUTH_KEY_FAILED */
  async propose(): Promise<void> {
    const epoch = this.#ports.lastEpoch() + 1;
    if (epoch > LAST_EPOCH) throw new SidestepError('AUTH_LIMIT', `epochs end at ${LAST_EPOCH}`);
    this.#begin(epoch);
    this.#ports.send('PREPARE', epoch);
    await this.#prepare();
  }

  /** @throws AUTH_KEY_FAILED, AUTH_PROTOCOL */
  async receive(step: KeyStep, epoch: number): Promise<void> {
    const { weAreLower, lastEpoch, peer } = this.#ports;
    if (step === 'PREPARE' && !weAreLower && this.#phase === 'idle' && epoch > lastEpoch()) {
      this.#begin(epoch);
      await this.#prepare();
      this.#ports.send('PREPARED', epoch);
    } else if (step === 'PREPARED' && weAreLower && this.#phase === 'prepared' && epoch === this.#epoch) {
      this.#ports.send('COMMIT', epoch);
      await this.#commit();
    } else if (step === 'COMMIT' && !weAreLower && this.#phase === 'prepared' && epoch === this.#epoch) {
      await this.#commit();
    } else if (step === 'COMMITTED' && !this.#theyCommitted && this.#phase !== 'idle' && epoch === this.#epoch) {
      this.#theyCommitted = true;
      this.#finish();
    } else {
      const text = `${peer}: ${step} of epoch ${epoch} while ${this.#phase} at ${this.#epoch}`;
      throw new SidestepError('AUTH_PROTOCOL', text);
    }
  }

  #begin(epoch: number): void {
    this.#epoch = epoch;
    this.#phase = 'preparing';
    this.#theyCommitted = false;
    this.#ports.used(epoch);
    this.#ports.began();
  }

  async #prepare(): Promise<void> {
    const { sink, over, keyOf } = this.#ports;
    await this.#told('prepared', () => sink.prepareKey(keyOf(this.#epoch), over));
    this.#phase = 'prepared';
  }

  async #commit(): Promise<void> {
    const { sink, peer, over } = this.#ports;
    await this.#told('committed', () => sink.commitKey(peer, this.#epoch, over));
    this.#phase = 'committed';
    this.#ports.send('COMMITTED', this.#epoch);
    this.#finish();
  }

  async #told(what: string, call: () => Promise<void>): Promise<void> {
    try {
      await call();
    } catch (cause) {
      const words = cause instanceof Error ? cause.message : String(cause);
      const text = `epoch ${this.#epoch} with ${this.#ports.peer} is not ${what}: ${words}`;
      throw new SidestepError('AUTH_KEY_FAILED', text, { cause });
    }
  }

  #finish(): void {
    if (this.#phase !== 'committed' || !this.#theyCommitted) return;
    this.#phase = 'idle';
    this.#ports.agreed(this.#epoch);
  }
}
