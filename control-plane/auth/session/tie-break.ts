/**
 * Two sessions with one node: which of them? The node with the lower name is the one to dial, and the one that decides: it
 * answers another's Hello or it does not, and who dialled it takes what it gets. The higher one takes whatever the lower one dials.
 * So that a session that one end has lost is not preferred to the one that replaces it, each Hello carries a number that grows:
 * nobody dials who has a session, hence a later Hello says that the earlier session is gone.
 */

/** By what the other end said in its Hello. */
export interface Begun {
  /** Which run of the other agent. */
  readonly boot: string;
  /** Grows with each Hello of that run. */
  readonly ordinal: number;
}

export interface Standing {
  readonly weAreLower: boolean;
  /** The session that stands. */
  readonly current: Begun | undefined;
  /** Our own Hello has left on a connection that we dialled, and is not answered yet. */
  readonly ownHelloIsOut: boolean;
}

/** @returns whether the session that the other end has dialled is taken, in place of whatever there is */
export function takes({ weAreLower, current, ownHelloIsOut }: Standing, begun: Begun): boolean {
  const stale = current !== undefined && current.boot === begun.boot && begun.ordinal < current.ordinal;
  // The higher one will answer our Hello, or its end comes as the end of our connection.
  return !stale && !(weAreLower && ownHelloIsOut);
}

/** Code-unit order, the same on every machine. */
export function isLower(name: string, other: string): boolean {
  return name < other;
}
