/** Which identities does each rule's peer part name? Kept from revision to revision; a changed identity is matched alone. */
import { createHash } from 'node:crypto';
import { LOCAL_IDENTITIES } from '../identity/late-ids.ts';
import { formatPrefix } from '../model/address.ts';
import { nameMatchText } from '../model/dns-name.ts';
import { type Labels, selectorText } from '../model/labels.ts';
import type { Peers } from '../model/policy.ts';
import { mayNamePods, names } from './peers.ts';

/** Texts of longer peer parts are kept as their digest. */
const LONG_TEXT = 1000;

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
  /** Those of addresses outside: all that ranges and names can match. */
  #outside: readonly (readonly [number, Labels])[] = [];
  #changed: ReadonlySet<number> = new Set();
  #round = 0;

  /**
   * Begins a revision: takes the identities there are now, and forgets what the last revision did not ask for.
   * @param identities by number; a number that comes with another Labels object is matched again
   */
  update(identities: ReadonlyMap<number, Labels>): void {
    const before = this.#identities;
    for (const [text, match] of this.#matches) if (match.used < this.#round) this.#matches.delete(text);
    this.#round++;
    this.#changed = new Set();
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
    this.#outside = [...identities].filter(([id]) => id >= LOCAL_IDENTITIES.first);
    this.#changed = new Set([...gone, ...changed.map(([id]) => id)]);
  }

  /** Identities that came, went or have other labels in this revision: nothing else can be in other sets than before. */
  get changed(): ReadonlySet<number> {
    return this.#changed;
  }

  /**
   * Identities that the peer part names; one that takes everybody without naming them has none. Kept up to date as long as each
   * revision asks for it.
   */
  idsOf(peers: Peers): ReadonlySet<number> {
    const text = this.#textOf(peers);
    let match = this.#matches.get(text);
    if (match === undefined) {
      const ids = new Set<number>();
      for (const [id, labels] of mayNamePods(peers) ? this.#identities : this.#outside)
        if (names(peers, labels)) ids.add(id);
      match = { peers, ids, used: 0 };
      this.#matches.set(text, match);
    }
    match.used = this.#round;
    return match.ids;
  }

  /** How many peer parts it knows. */
  get size(): number {
    return this.#matches.size;
  }

  #textOf(peers: Peers): string {
    const known = this.#texts.get(peers);
    if (known !== undefined) return known;
    const text = peers.kind === 'any' ? '' : textOf(peers);
    const short = text.length > LONG_TEXT ? createHash('sha256').update(text).digest('hex') : text;
    this.#texts.set(peers, short);
    return short;
  }
}

function textOf({ entities, selectors, cidrs = [], names: list = [] }: Exclude<Peers, { kind: 'any' }>): string {
  return JSON.stringify([
    entities,
    selectors.map(selectorText),
    cidrs.map(({ prefix, except }) => [prefix, ...except].map(formatPrefix).join(' ')),
    list.map(nameMatchText),
  ]);
}
