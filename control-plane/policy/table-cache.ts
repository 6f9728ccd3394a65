/** What is made from policies is kept from revision to revision, and made again only where one of them has changed. */
import type { Labels } from '../model/labels.ts';
import type { Direction, Policy } from '../model/policy.ts';
import type { SelectorCache } from './selector-cache.ts';

export type Identities = ReadonlyMap<number, Labels>;

/** Makes a table from the policies that select its endpoints and concern the direction. */
export type MakeTable<T> = (key: string, direction: Direction, policies: readonly Policy[]) => T;

interface Kept<T> {
  readonly made: T;
  readonly policies: readonly Policy[];
  readonly identities: Identities;
}

export class TableCache<T> {
  readonly #selectors: SelectorCache;
  readonly #make: MakeTable<T>;
  #last: ReadonlyMap<string, Kept<T>> = new Map();
  #now = new Map<string, Kept<T>>();
  #identities: Identities = new Map();

  constructor(selectors: SelectorCache, make: MakeTable<T>) {
    this.#selectors = selectors;
    this.#make = make;
  }

  /** @param identities the same object while no identity has changed */
  begin(identities: Identities): void {
    this.#identities = identities;
    this.#now = new Map();
  }

  /** The one of the last revision where nothing that it was made from has changed. */
  table(key: string, direction: Direction, policies: readonly Policy[]): T {
    const found = this.#now.get(key) ?? this.#unchanged(key, policies);
    const kept = found ?? { made: this.#make(key, direction, policies), policies, identities: this.#identities };
    this.#now.set(key, kept);
    return kept.made;
  }

  /** Forgets what was not asked for. @returns what was, by key */
  end(): ReadonlyMap<string, T> {
    this.#last = this.#now;
    return new Map([...this.#now].map(([key, { made }]) => [key, made]));
  }

  #unchanged(key: string, policies: readonly Policy[]): Kept<T> | undefined {
    const known = this.#last.get(key);
    const same =
      known !== undefined &&
      known.identities === this.#identities &&
      known.policies.length === policies.length &&
      policies.every((policy, i) => policy === known.policies[i]);
    if (!same) return undefined;
    this.#selectors.keep(policies);
    return known;
  }
}
