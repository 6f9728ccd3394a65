/** Which version of the protocol do two agents speak? */
export const VERSION = 1;
export const OLDEST_VERSION = 1;

/** @returns the highest that both speak; undefined: there is none */
export function commonVersion(theirs: { readonly version: number; readonly oldest: number }): number | undefined {
  const common = Math.min(VERSION, theirs.version);
  return common >= OLDEST_VERSION && common >= theirs.oldest ? common : undefined;
}
