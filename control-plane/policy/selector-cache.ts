/** Which identities does each rule's peer part name? Kept from revision to revision; a changed identity is matched alone. */
import type { Labels } from '../model/labels.ts';
import type { Peers, Policy } from '../model/policy.ts';
import { names } from './peers.ts';

interface Match {
  readonly peers: Peers;
  readonly ids: Set<number>;
  /** When it was last asked for. */
  used: number;
}

export class SelectorCache {
  readonly #matches = new Map<string, Match>();
  readonly #texts = new WeakMap<Peers, string>();
  #identities: ReadonlyMap<number, Labels> = new Map();
  #round = 0;

  /**
   * Begins a revision: takes the identities there are now, and forgets what the last revision did not ask for.
   * @param identities by number; a number that comes with another Labels object is matched again
   */
  update(identities: ReadonlyMap<number, Labels>): void {
    const before = this.#identities;
    for (const [text, match] of this.#matches) if (match.used < this.#round) this.#matches.delete(text);
    this.#round++;
    if (identities === before) return;
    const gone = [...before.keys()].filter((id) => !identities.has(id));
    const changed = [...identities].filter(([id, labels]) => before.get(id) !== labels);
    for (const { peers, ids } of this.#matches.values()) {
      for (const id of gone) ids.delete(id);
      for (const [id, labels] of changed)
        if (names(peers, labels)) ids.add(id);
        else ids.delete(id);
    }
    this.#identities = identities;
  }

  /** Identities that the peer part names; one that takes everybody without naming them has none. */
  idsOf(peers: Peers): ReadonlySet<number> {
    const text = this.#textOf(peers);
    let match = this.#matches.get(text);
    if (match === undefined) {
      const ids = [...this.#identities].filter(([, labels]) => names(peers, labels)).map(([id]) => id);
      match = { peers, ids: new Set(ids), used: 0 };
      this.#matches.set(text, match);
    }
    match.used = this.#round;
    return match.ids;
  }

  /** Says that policies whose table is not made anew still need theirs. */
  keep(policies: readonly Policy[]): void {
    for (const { rules } of policies) for (const { peers } of rules) this.idsOf(peers);
  }

  /** How many peer parts it knows. */
  get size(): number {
    return this.#matches.size;
  }

  #textOf(peers: Peers): string {
    const known = this.#texts.get(peers);
    if (known !== undefined) return known;
    const text =
      peers.kind === 'any'
        ? ''
        : JSON.stringify([peers.entities, peers.selectors.map(({ matchLabels }) => [...matchLabels])]);
    this.#texts.set(peers, text);
    return text;
  }
}
