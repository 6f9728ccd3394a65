/**
 * What has been proven between this node and one other, over all their sessions: the one place that tells the sink about proofs,
 * so that what is listed here and what the kernel was told are the same.
 */
import type { X509Certificate } from 'node:crypto';
import { SidestepError } from '../../model/error.ts';
import type { ErrorCode } from '../../model/error-codes.ts';
import type { Proof, ProofSink } from '../peers.ts';

export type Side = 'theirs' | 'ours';

export interface Held {
  readonly proof: Proof;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Of theirs, to be judged again when the trust bundle is another. */
  readonly chain: readonly X509Certificate[];
  /** The sink has written it. */
  readonly written: boolean;
  /** Of ours: the other end has said that it takes it. */
  readonly confirmed: boolean;
}

type Writable = { -readonly [Key in keyof Held]: Held[Key] };

export class Ledger {
  readonly #node: string;
  readonly #sink: ProofSink;
  readonly #changed: (side: Side, spiffeId: string) => void;
  readonly #held = { theirs: new Map<string, Writable>(), ours: new Map<string, Writable>() };

  /** @param changed something became valid */
  constructor(node: string, sink: ProofSink, changed: (side: Side, spiffeId: string) => void) {
    this.#node = node;
    this.#sink = sink;
    this.#changed = changed;
  }

  get(side: Side, spiffeId: string): Held | undefined {
    return this.#held[side].get(spiffeId);
  }

  entries(side: Side): ReadonlyMap<string, Held> {
    return this.#held[side];
  }

  get size(): number {
    return this.#held.theirs.size + this.#held.ours.size;
  }

  /** Written, not over, and the other end agrees. */
  isValid(side: Side, spiffeId: string, now: number): boolean {
    const held = this.#held[side].get(spiffeId);
    return held?.written === true && held.confirmed && held.proof.expires > now;
  }

  /** @returns false: it was withdrawn while it was written. @throws AUTH_ENTRY_FAILED */
  proven(proof: Proof, chain: readonly X509Certificate[], now: number): Promise<boolean> {
    return this.#write('theirs', { proof, chain, since: now, written: false, confirmed: true });
  }

  /** @param confirmed false: the other end will hear of it next. @returns, @throws as `proven` */
  accepted(proof: Proof, confirmed: boolean, now: number): Promise<boolean> {
    return this.#write('ours', { proof, chain: [], since: now, written: false, confirmed });
  }

  /** The other end takes what was written before it could answer. */
  confirm(spiffeId: string): void {
    const held = this.#held.ours.get(spiffeId);
    if (held === undefined || held.confirmed) return;
    held.confirmed = true;
    this.#changed('ours', spiffeId);
  }

  withdraw(side: Side, spiffeId: string, cause: ErrorCode): void {
    if (this.#held[side].delete(spiffeId)) this.#sink.withdrawn(this.#node, spiffeId, side, cause);
  }

  withdrawAll(cause: ErrorCode): void {
    for (const side of ['theirs', 'ours'] as const)
      for (const spiffeId of [...this.#held[side].keys()]) this.withdraw(side, spiffeId, cause);
  }

  expire(now: number): void {
    for (const side of ['theirs', 'ours'] as const)
      for (const [spiffeId, { proof }] of [...this.#held[side]])
        if (proof.expires <= now) this.withdraw(side, spiffeId, 'AUTH_PROOF_EXPIRED');
  }

  async #write(side: Side, held: Writable): Promise<boolean> {
    const { proof } = held;
    // Before it is written: what is withdrawn meanwhile must be found, and the sink hears it behind this.
    this.#held[side].set(proof.spiffeId, held);
    const stands = (): boolean => this.#held[side].get(proof.spiffeId) === held;
    try {
      await (side === 'theirs' ? this.#sink.proven(proof) : this.#sink.accepted(proof));
    } catch (cause) {
      if (stands()) this.withdraw(side, proof.spiffeId, 'AUTH_ENTRY_FAILED');
      const words = cause instanceof Error ? cause.message : String(cause);
      throw new SidestepError('AUTH_ENTRY_FAILED', `${proof.spiffeId} of ${this.#node}: ${words}`, { cause });
    }
    if (!stands()) return false;
    held.written = true;
    if (held.confirmed) this.#changed(side, proof.spiffeId);
    return true;
  }
}
