/**
 * What is proven now, by SPIFFE ID, and what that means for the numbers that the kernel knows: every identity of a namespace
 * and service account shares their certificate.
 */
import { parseSpiffeId } from './spiffe-id.ts';
import type { ServiceAccountRef } from './svid.ts';

export type ProofSide = 'theirs' | 'ours';

/** A proof, or this node's own certificate (`node` is '' then). */
export interface BookEntry {
  readonly node: string;
  readonly spiffeId: string;
  readonly side: ProofSide;
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly expires: number;
  readonly epoch: number;
}

export interface KernelProof {
  readonly identity: number;
  readonly node: number;
  readonly side: ProofSide;
  readonly expires: number;
  readonly epoch: number;
}

/** The numbers of the moment. */
export interface Numbering {
  /** Identities of a namespace and service account. */
  identitiesOf(of: ServiceAccountRef): readonly number[];
  /** undefined: a node that is gone. */
  nodeNumber(name: string): number | undefined;
}

const keyOf = ({ node, spiffeId, side }: Pick<BookEntry, 'node' | 'spiffeId' | 'side'>): string =>
  `${node} ${side} ${spiffeId}`;

export class ProofBook {
  readonly #entries = new Map<string, BookEntry>();

  /** A newer proof of the same takes the place of the older one. */
  write(entry: BookEntry): void {
    this.#entries.set(keyOf(entry), entry);
  }

  /** @returns false when it was not there */
  strike(entry: Pick<BookEntry, 'node' | 'spiffeId' | 'side'>): boolean {
    return this.#entries.delete(keyOf(entry));
  }

  /** Exactly these are this node's own certificates. */
  own(certificates: readonly Pick<BookEntry, 'spiffeId' | 'serial' | 'expires'>[]): void {
    for (const [key, { node }] of this.#entries) if (node === '') this.#entries.delete(key);
    for (const certificate of certificates) this.write({ ...certificate, node: '', side: 'ours', epoch: 0 });
  }

  has(entry: Pick<BookEntry, 'node' | 'spiffeId' | 'side'>, now: number): boolean {
    return (this.#entries.get(keyOf(entry))?.expires ?? 0) > now;
  }

  /** Sorted by node, side, SPIFFE ID. */
  list(): readonly BookEntry[] {
    return [...this.#entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, entry]) => entry);
  }

  /** Forgets what is over. */
  sweep(now: number): void {
    for (const [key, { expires }] of this.#entries) if (expires <= now) this.#entries.delete(key);
  }

  /** What the kernel must hold. */
  forKernel(numbering: Numbering, now: number): KernelProof[] {
    return this.list().flatMap((entry) => kernelProofs(entry, numbering, now));
  }
}

/** What one entry means to the kernel: nothing when it is over, or no workload's, or of a node that is gone. */
export function kernelProofs(
  { node, spiffeId, side, expires, epoch }: BookEntry,
  numbering: Numbering,
  now: number,
): KernelProof[] {
  const id = parseSpiffeId(spiffeId);
  const number = node === '' ? 0 : numbering.nodeNumber(node);
  if (id?.kind !== 'workload' || number === undefined || expires <= now) return [];
  return numbering.identitiesOf(id).map((identity) => ({ identity, node: number, side, expires, epoch }));
}
