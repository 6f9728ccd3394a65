/**
 * Proofs that an earlier agent left in the kernel: they hold, so that no flow waits for the next agent's sessions, until this
 * agent has a word of its own on them.
 */
import type { KernelProof } from './proof-book.ts';

/** So long after a session is open, or after the start for this node's own certificates, what was not proven anew is over. */
const SETTLE_MS = 5_000;

export interface InheritedFacts {
  /** Does one of the pods of this identity run there? 0 is this node. */
  runs(identity: number, node: number): boolean;
  /** Milliseconds since the epoch; undefined: there is no session, and the proof holds until it expires. */
  openSince(node: number): number | undefined;
}

const keyOf = ({ identity, node, side }: KernelProof): string => `${identity} ${node} ${side}`;

export class InheritedProofs {
  readonly #entries: Map<string, KernelProof>;

  /** @param entries what the kernel held at the start; those that are expired may be among them */
  constructor(entries: readonly KernelProof[]) {
    this.#entries = new Map(entries.map((entry) => [keyOf(entry), entry]));
  }

  /**
   * Those that still stand beside `proven`. What is proven anew or does not stand once never comes back.
   * @param now milliseconds since the epoch
   */
  beside(proven: readonly KernelProof[], facts: InheritedFacts, now: number): readonly KernelProof[] {
    this.forget(proven);
    for (const [key, entry] of this.#entries) if (!stands(entry, facts, now)) this.#entries.delete(key);
    return [...this.#entries.values()];
  }

  /** These are proven anew. */
  forget(proven: readonly KernelProof[]): void {
    for (const entry of proven) this.#entries.delete(keyOf(entry));
  }
}

function stands({ identity, node, side, expires }: KernelProof, facts: InheritedFacts, now: number): boolean {
  const since = facts.openSince(node);
  const settled = since !== undefined && now - since >= SETTLE_MS;
  return expires > now && !settled && facts.runs(identity, side === 'ours' ? 0 : node);
}
