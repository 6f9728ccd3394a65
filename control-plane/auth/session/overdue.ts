/** Why has a packet waited in vain? What is nearest to its cause comes first. */
import { SidestepError } from '../../model/error.ts';
import type { SvidSource } from '../svid.ts';
import type { Pair } from './demands.ts';
import { missing, svidOf } from './own-svid.ts';
import type { LastError } from './view.ts';

export interface Situation {
  readonly peer: string;
  readonly source: Pick<SvidSource, 'workload' | 'trouble'>;
  /** There is a session. */
  readonly isOpen: boolean;
  readonly lastError: LastError | undefined;
  readonly waitedMs: number;
}

/** @param refusal what either end has said about one of the two proofs. @returns AUTH_SVID_MISSING, AUTH_NO_SESSION, it, or AUTH_DEMAND_TIMEOUT */
export function whyOverdue(pair: Pair, refusal: SidestepError | undefined, situation: Situation): SidestepError {
  const { peer, source, isOpen, lastError, waitedMs } = situation;
  if (svidOf(source, pair.ours) === undefined) return missing(source, pair.ours);
  if (!isOpen) {
    const text = lastError === undefined ? 'it is not open yet' : `${lastError.code} ${lastError.text}`;
    return new SidestepError('AUTH_NO_SESSION', `with ${peer}: ${text}`);
  }
  if (refusal !== undefined) return refusal;
  return new SidestepError('AUTH_DEMAND_TIMEOUT', `${pair.ours} and ${pair.theirs} of ${peer}, within ${waitedMs} ms`);
}
