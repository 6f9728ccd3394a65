/** How long to wait before the next try. */

export interface Waits {
  readonly firstMs: number;
  readonly mostMs: number;
}

/** @returns random numbers, at least 0 and below 1 */
export type Random = () => number;

/**
 * Twice as long after each failure; up to a half of it is left to chance, so that many who failed together do not come back
 * together.
 * @param failures how many there were, at least 1
 * @returns milliseconds
 */
export function backoffMs(failures: number, { firstMs, mostMs }: Waits, random: Random): number {
  const most = Math.min(mostMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return most * (1 - random() / 2);
}
