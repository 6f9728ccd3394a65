/**
 * What does policy say of every identity's flows, those on other nodes included? Asked only while a policy asks for
 * authentication, and only for the identities that it concerns.
 */
import { type Direction, type Origin, type Policy, strictness } from '../model/policy.ts';
import type { PolicyTable } from '../model/snapshot.ts';
import { Answers } from './answers.ts';
import type { Placed } from './placement.ts';
import { remember } from './remember.ts';
import type { TableSpec } from './table-spec.ts';

/** A table whose rule ids have a meaning. */
export interface NamedTable {
  readonly table: PolicyTable;
  readonly originOf: (rule: number) => Origin | undefined;
}

export interface HalvesOptions {
  /** What is enforced for an identity; the same object while the answer is the same. */
  readonly specOf: (placed: Placed, direction: Direction) => TableSpec;
  readonly tableOf: (spec: TableSpec) => NamedTable;
  /** Those of earlier revisions are still right where the table is the same object. */
  readonly answers: WeakMap<PolicyTable, Answers>;
}

/** Whether the policy asks for proofs. */
export function asksForProofs({ rules }: Policy, direction?: Direction): boolean {
  return rules.some(
    (rule) => strictness(rule.authentication) > 0 && (direction === undefined || rule.direction === direction),
  );
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
  readonly #options: HalvesOptions;
  readonly #byPlaced: { readonly [direction in Direction]: Map<Placed, Half> } = {
    egress: new Map(),
    ingress: new Map(),
  };
  readonly #byKey = new Map<string, Half>();
  readonly #asking = new Map<TableSpec, boolean>();

  constructor(options: HalvesOptions) {
    this.#options = options;
  }

  /** undefined: none of its policies asks for proofs in this direction. */
  asking(placed: Placed, direction: Direction): Half | undefined {
    const spec = this.#options.specOf(placed, direction);
    const asks = remember(this.#asking, spec, () => spec.policies.some((policy) => asksForProofs(policy, direction)));
    return asks ? this.half(placed, direction) : undefined;
  }

  half(placed: Placed, direction: Direction): Half {
    return remember(this.#byPlaced[direction], placed, () => {
      const spec = this.#options.specOf(placed, direction);
      const load = (): NamedTable => this.#options.tableOf(spec);
      return remember(this.#byKey, spec.key, () => new Half(spec.key, load, this.#options.answers));
    });
  }
}
