/**
 * Whom must be proven to whom, ahead of traffic: every pair of identities, one of them here, with a flow between them that
 * both ends' policy admits and one end's only under authentication. Each node finds the same pairs, so that what one asks
 * for the other has ready.
 */
import { DIRECTIONS, type Direction } from '../model/policy.ts';
import type { NodeNeeds, ServiceAccountRef } from '../model/snapshot.ts';
import type { Column } from './answers.ts';
import type { Halves } from './halves.ts';
import { longest, shadowed } from './keys.ts';
import type { Placed } from './placement.ts';
import { remember } from './remember.ts';

export interface Needs {
  readonly needs: readonly NodeNeeds[];
  readonly certified: readonly ServiceAccountRef[];
}

const OPPOSITE = { egress: 'ingress', ingress: 'egress' } as const satisfies Record<Direction, Direction>;

type Accounts = Map<string, ServiceAccountRef>;

export function needsOf(halves: Halves, placed: readonly Placed[], passes: Passes): Needs {
  const nodes = new Map<string, { readonly ours: Accounts; readonly theirs: Accounts }>();
  const certified: Accounts = new Map();
  const note = (here: Placed, peer: Placed): void => {
    if (!here.here) return;
    for (const node of peer.nodes) {
      const need = remember(nodes, node, () => ({ ours: new Map(), theirs: new Map() }));
      add(need.ours, here.account);
      add(need.theirs, peer.account);
    }
    add(certified, here.account);
  };
  for (const [subject, peer] of pairs(halves, placed, passes)) {
    note(subject, peer);
    note(peer, subject);
  }
  return {
    needs: [...nodes]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([node, { ours, theirs }]) => ({ node, ours: sorted(ours), theirs: sorted(theirs) })),
    certified: sorted(certified),
  };
}

/** Subject and peer, one of them here at least, with a flow that the subject's policy wants proven and both admit. */
function* pairs(
  halves: Halves,
  placed: readonly Placed[],
  passes: Passes,
): Generator<readonly [subject: Placed, peer: Placed]> {
  const known = new Map(placed.map((each) => [each.identity, each]));
  const here = placed.filter((each) => each.here);
  for (const direction of DIRECTIONS)
    for (const subject of placed) {
      const half = halves.asking(subject, direction);
      if (half === undefined) continue;
      const all = passes.asks(half.answers.toOthers) ? (subject.here ? placed : here) : undefined;
      for (const peer of all ?? [...half.answers.named].flatMap((identity) => known.get(identity) ?? [])) {
        if (!subject.here && !peer.here) continue;
        const column = half.answers.to(peer.identity);
        if (!passes.asks(column)) continue;
        if (passes.both(column, halves.half(peer, OPPOSITE[direction]).answers.to(subject.identity)))
          yield [subject, peer];
      }
    }
}

/** Answers about columns, remembered as long as the columns are. */
export class Passes {
  readonly #asking = new WeakMap<Column, boolean>();
  readonly #both = new WeakMap<Column, WeakMap<Column, boolean>>();

  /** Does it let anything pass under authentication? */
  asks(column: Column): boolean {
    return remember(this.#asking, column, () => {
      const unseen = shadowed(column.keys());
      return [...column].some(([number, { auth }]) => auth === 'required' && !unseen.has(number));
    });
  }

  /** Is there a flow that the first lets pass under authentication and the second, too, lets pass? */
  both(column: Column, other: Column): boolean {
    const known = remember(this.#both, column, () => new WeakMap());
    return remember(known, other, () => meet(column, other));
  }
}

function meet(column: Column, other: Column): boolean {
  const numbers = new Set([...column.keys(), ...other.keys()]);
  const unseen = shadowed(numbers);
  return [...numbers].some((number) => {
    if (unseen.has(number)) return false;
    const [first, second] = [longest(column, number), longest(other, number)];
    return first?.auth === 'required' && second?.allowed === true && second.auth !== 'always-fail';
  });
}

function add(accounts: Accounts, account: ServiceAccountRef): void {
  accounts.set(`${account.namespace}/${account.serviceAccount}`, account);
}

function sorted(accounts: Accounts): ServiceAccountRef[] {
  return [...accounts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, account]) => account);
}
