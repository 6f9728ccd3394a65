/** This node's certificate for an identity, by its SPIFFE ID. */
import { SidestepError } from '../../model/error.ts';
import { parseSpiffeId } from '../spiffe-id.ts';
import type { Svid, SvidSource } from '../svid.ts';

export function svidOf(source: Pick<SvidSource, 'workload'>, spiffeId: string): Svid | undefined {
  const id = parseSpiffeId(spiffeId);
  return id?.kind === 'workload' ? source.workload(id) : undefined;
}

/** @returns AUTH_SVID_MISSING, with what the source says about it */
export function missing({ trouble }: Pick<SvidSource, 'trouble'>, spiffeId: string): SidestepError {
  const cause = trouble.get(spiffeId) ?? trouble.get('');
  const why = cause === undefined ? '' : `: ${cause.message}`;
  return new SidestepError('AUTH_SVID_MISSING', `${spiffeId} has no certificate on this node${why}`, { cause });
}
