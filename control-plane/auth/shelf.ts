/**
 * What a source has at the moment: the bundle, the SVIDs in use, and what is wrong. What has expired, or leads to no authority
 * of the bundle any more, is taken off by itself.
 */

import type { Clock } from '../model/clock.ts';
import { SidestepError } from '../model/error.ts';
import { atTime } from './at-time.ts';
import type { Svid, TrustBundle } from './svid.ts';
import { verifySvid } from './verify.ts';

/** Stands for the source itself. */
const SOURCE = '';

interface Kept {
  readonly svid: Svid;
  readonly cancelExpiry: () => void;
}

export class Shelf {
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();
  readonly #trouble = new Map<string, SidestepError>();
  readonly #listeners = new Set<() => void>();
  #bundle: TrustBundle | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get trouble(): ReadonlyMap<string, SidestepError> {
    return this.#trouble;
  }

  get bundle(): TrustBundle | undefined {
    return this.#bundle;
  }

  get(spiffeId: string): Svid | undefined {
    return this.#kept.get(spiffeId)?.svid;
  }

  subscribe(changed: () => void): () => void {
    const listener = (): void => changed();
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes off what the new bundle does not vouch for. */
  setBundle(bundle: TrustBundle): void {
    if (this.#bundle !== undefined && isSame(bundle, this.#bundle)) return;
    this.#bundle = bundle;
    for (const [spiffeId, { svid }] of this.#kept)
      try {
        verifySvid(svid.chain, bundle, this.#clock.now());
      } catch (error) {
        this.#take(spiffeId);
        this.#trouble.set(spiffeId, error as SidestepError);
      }
    this.#tell();
  }

  /** In the place of the one before; what was wrong with it is not any more. */
  put(svid: Svid): void {
    const { spiffeId, serial, notAfter } = svid;
    const before = this.#kept.get(spiffeId)?.svid;
    const hadTrouble = this.#trouble.delete(spiffeId);
    if (before?.serial !== serial || !before.chain[0]?.raw.equals(svid.chain[0]?.raw ?? Buffer.alloc(0))) {
      this.#take(spiffeId);
      const cancelExpiry = atTime(this.#clock, notAfter, () => this.#expire(svid));
      this.#kept.set(spiffeId, { svid, cancelExpiry });
    } else if (!hadTrouble) return;
    this.#tell();
  }

  /** It is not there or could not be renewed; the one in use stays. `''`: the source itself. */
  fail(spiffeId: string, error: SidestepError): void {
    const inUse = this.#kept.get(spiffeId)?.svid;
    const until = inUse && `; the one in use is valid until ${new Date(inUse.notAfter).toISOString()}`;
    this.#report(spiffeId, until === undefined ? error : reworded(error, error.message + until));
  }

  /** It is no longer there, and why. */
  drop(spiffeId: string, error: SidestepError): void {
    const had = this.#take(spiffeId);
    if (!this.#report(spiffeId, error) && had) this.#tell();
  }

  /** Nobody wants it any more, or nothing is wrong with the source any more. */
  forget(spiffeId: string): void {
    const had = this.#take(spiffeId);
    if (this.#trouble.delete(spiffeId) || had) this.#tell();
  }

  /** The source works again. */
  recovered(): void {
    if (this.#trouble.delete(SOURCE)) this.#tell();
  }

  close(): void {
    this.#listeners.clear();
    for (const { cancelExpiry } of this.#kept.values()) cancelExpiry();
  }

  #expire({ spiffeId, notAfter }: Svid): void {
    const why = this.#trouble.get(spiffeId);
    const message = `${spiffeId} was valid until ${new Date(notAfter).toISOString()}${why ? ` and was not renewed: ${why.message}` : ''}`;
    this.drop(spiffeId, new SidestepError('SVID_EXPIRED', message, { cause: why, ...(why && { hint: why.hint }) }));
  }

  #take(spiffeId: string): boolean {
    this.#kept.get(spiffeId)?.cancelExpiry();
    return this.#kept.delete(spiffeId);
  }

  /** @returns whether it was news */
  #report(spiffeId: string, error: SidestepError): boolean {
    const before = this.#trouble.get(spiffeId);
    if (before?.code === error.code && before.message === error.message) return false;
    this.#trouble.set(spiffeId, error);
    this.#tell();
    return true;
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function reworded(error: SidestepError, message: string): SidestepError {
  const { code, hint, path } = error;
  return new SidestepError(code, message, { cause: error, hint, ...(path !== undefined && { path }) });
}

function isSame(a: TrustBundle, b: TrustBundle): boolean {
  const keys = ({ authorities }: TrustBundle) => authorities.map(({ fingerprint256 }) => fingerprint256).sort();
  return a.trustDomain === b.trustDomain && keys(a).join() === keys(b).join();
}
