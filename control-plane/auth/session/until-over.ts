/** What is waited for in a session does not outlive it. */
import { SidestepError } from '../../model/error.ts';

/**
 * @param over aborted when the session with `peer` is over
 * @param begin not called when that is already
 * @throws AUTH_NO_SESSION: it ended before. What `begin` throws
 */
export async function untilOver<T>(over: AbortSignal, peer: string, begin: () => Promise<T>): Promise<T> {
  const why = (): SidestepError => new SidestepError('AUTH_NO_SESSION', `the session with ${peer} has ended`);
  if (over.aborted) throw why();
  const { promise: end, reject } = Promise.withResolvers<never>();
  const ended = (): void => reject(why());
  over.addEventListener('abort', ended);
  try {
    return await Promise.race([begin(), end]);
  } finally {
    over.removeEventListener('abort', ended);
  }
}
