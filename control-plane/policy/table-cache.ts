/** What is made from policies is kept from revision to revision, and made again only where one of them has changed. */
import { remember } from './remember.ts';
import type { TableSpec } from './table-spec.ts';

export interface Maker<T> {
  readonly made: T;
  /** Takes up what has changed of identities since the last revision. @returns the same object where nothing has */
  refresh(): T;
}

interface Kept<T> {
  readonly spec: TableSpec;
  readonly maker: Maker<T>;
  readonly made: T;
}

export class TableCache<T> {
  readonly #make: (spec: TableSpec) => Maker<T>;
  #last: ReadonlyMap<string, Kept<T>> = new Map();
  #now = new Map<string, Kept<T>>();

  constructor(make: (spec: TableSpec) => Maker<T>) {
    this.#make = make;
  }

  begin(): void {
    this.#now = new Map();
  }

  /** The one of the last revision where nothing that it was made from has changed. */
  table(spec: TableSpec): T {
    return remember(this.#now, spec.key, () => {
      const known = this.#last.get(spec.key);
      const kept = known !== undefined && samePolicies(known.spec, spec);
      if (kept) return { ...known, made: known.maker.refresh() };
      const maker = this.#make(spec);
      return { spec, maker, made: maker.made };
    }).made;
  }

  /** Forgets what was not asked for. @returns what was, by key */
  end(): ReadonlyMap<string, T> {
    this.#last = this.#now;
    return new Map([...this.#now].map(([key, { made }]) => [key, made]));
  }
}

/** The rest of a spec is in its key. */
function samePolicies({ policies: before }: TableSpec, { policies }: TableSpec): boolean {
  return before.length === policies.length && policies.every((policy, i) => policy === before[i]);
}
