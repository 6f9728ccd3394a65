/**
 * Must the ends of a flow be proven? Answered from the rules that admit it, as Cilium does (cilium.md §1.4): an explicit
 * mode at the port and peer that decide counts, the strictest of several. Where they say nothing, the next wider port for
 * that peer does, and then what there is for the other kind of peer (named, or everybody). What a wider port switches off
 * is no more than the default.
 */
import { type AuthenticationMode, strictest } from '../model/policy.ts';
import type { Authentication } from '../model/snapshot.ts';

/** How narrowly one rule admits the flow, and what it says. */
export interface Say {
  /** Bits of the port that it fixes: for one flow there is one key of each length. */
  readonly prefix: number;
  /** It names the peer. */
  readonly exact: boolean;
  readonly authentication: AuthenticationMode | undefined;
}

/** @param deciding the port prefix and kind of peer that decide, see Say */
export function plainMode(
  says: readonly Say[],
  deciding: Pick<Say, 'prefix' | 'exact'>,
): AuthenticationMode | undefined {
  const explicit = modeOf(says, deciding);
  if (explicit !== undefined) return explicit;
  const own = nearest(says, deciding.exact);
  return own === undefined || own === 'disabled' ? nearest(says, !deciding.exact) : own;
}

/**
 * Where rules look into what passes they decide, and take nothing from plain rules, which are weaker.
 * @param looks whether it does
 */
export function layer7Mode<T extends Say>(
  says: readonly T[],
  looks: (say: T) => boolean,
): AuthenticationMode | undefined {
  for (const exact of [true, false])
    for (const prefix of prefixesOf(says)) {
      const deciding = { prefix, exact };
      const mode = says.some((say) => looks(say) && isAt(say, deciding)) ? modeOf(says, deciding) : undefined;
      if (mode !== undefined) return mode;
    }
  return undefined;
}

export function authenticationOf(mode: AuthenticationMode | undefined): Authentication {
  if (mode === 'required') return 'required';
  return mode === 'test-always-fail' ? 'always-fail' : 'none';
}

function nearest(says: readonly Say[], exact: boolean): AuthenticationMode | undefined {
  for (const prefix of prefixesOf(says)) {
    const mode = modeOf(says, { prefix, exact });
    if (mode !== undefined) return mode;
  }
  return undefined;
}

/** The narrowest first. */
function prefixesOf(says: readonly Say[]): number[] {
  return [...new Set(says.map(({ prefix }) => prefix))].sort((a, b) => b - a);
}

function modeOf(says: readonly Say[], at: Pick<Say, 'prefix' | 'exact'>): AuthenticationMode | undefined {
  return strictest(
    says.flatMap((say) =>
      say.authentication !== undefined && isAt(say, at) ? { authentication: say.authentication } : [],
    ),
  );
}

function isAt(say: Say, { prefix, exact }: Pick<Say, 'prefix' | 'exact'>): boolean {
  return say.prefix === prefix && say.exact === exact;
}
