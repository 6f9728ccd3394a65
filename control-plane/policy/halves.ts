/**
 * What does policy say of every identity's flows, those on other nodes included? Asked only while a policy asks for
 * authentication, and only for the identities that it concerns.
 */
import { concerns, type Direction, type Origin, type Policy, strictness } from '../model/policy.ts';
import type { PolicyTable } from '../model/snapshot.ts';
import { Answers } from './answers.ts';
import { tableKey } from './compile-table.ts';
import type { Placed } from './placement.ts';
import { remember } from './remember.ts';

/** A table whose rule ids have a meaning. */
export interface NamedTable {
  readonly table: PolicyTable;
  readonly originOf: (rule: number) => Origin | undefined;
}

export interface HalvesOptions {
  /** The same list while the answer is the same. */
  readonly selecting: (labels: Placed['labels']) => readonly Policy[];
  readonly tableOf: (key: string, direction: Direction, policies: readonly Policy[]) => NamedTable;
  /** Those of earlier revisions are still right where the table is the same object. */
  readonly answers: WeakMap<PolicyTable, Answers>;
  /** By list of policies and direction, likewise. */
  readonly keys: WeakMap<readonly Policy[], Map<string, string>>;
}

/** Policies that ask for proofs, by direction. */
export type Asking = { readonly [direction in Direction]: ReadonlySet<Policy> };

export function askingFor(policies: readonly Policy[]): Asking {
  const asking = { egress: new Set<Policy>(), ingress: new Set<Policy>() };
  for (const policy of policies)
    for (const { direction, authentication } of policy.rules)
      if (authentication !== undefined && strictness(authentication) > 0) asking[direction].add(policy);
  return asking;
}

/** One identity's policy in one direction; the same object for all that share it. */
export class Half {
  readonly key: string;
  readonly #load: () => NamedTable;
  readonly #known: HalvesOptions['answers'];
  #named: NamedTable | undefined;
  #answers: Answers | undefined;

  /** @param load makes the table, when somebody asks what it says */
  constructor(key: string, load: () => NamedTable, known: HalvesOptions['answers']) {
    this.key = key;
    this.#load = load;
    this.#known = known;
  }

  get answers(): Answers {
    if (this.#answers === undefined) {
      const { table } = this.#table();
      this.#answers = remember(this.#known, table, () => new Answers(table));
    }
    return this.#answers;
  }

  originOf(rule: number): Origin | undefined {
    return this.#table().originOf(rule);
  }

  #table(): NamedTable {
    this.#named ??= this.#load();
    return this.#named;
  }
}

export class Halves {
  readonly #asking: Asking;
  readonly #options: HalvesOptions;
  readonly #byPlaced: { readonly [direction in Direction]: Map<Placed, Half> } = {
    egress: new Map(),
    ingress: new Map(),
  };
  readonly #byKey = new Map<string, Half>();

  constructor(asking: Asking, options: HalvesOptions) {
    this.#asking = asking;
    this.#options = options;
  }

  /** undefined: none of its policies asks for proofs in this direction. */
  asking(placed: Placed, direction: Direction): Half | undefined {
    const asking = this.#asking[direction];
    const asks = asking.size > 0 && this.#options.selecting(placed.labels).some((policy) => asking.has(policy));
    return asks ? this.half(placed, direction) : undefined;
  }

  half(placed: Placed, direction: Direction): Half {
    return remember(this.#byPlaced[direction], placed, () => this.#find(placed, direction));
  }

  #find(placed: Placed, direction: Direction): Half {
    const { selecting, tableOf, answers, keys } = this.#options;
    const all = selecting(placed.labels);
    const concerned = (): readonly Policy[] => all.filter((policy) => concerns(policy, direction));
    const known = remember(keys, all, () => new Map());
    const key = remember(known, direction, () => tableKey(direction, concerned()));
    return remember(this.#byKey, key, () => new Half(key, () => tableOf(key, direction, concerned()), answers));
  }
}
