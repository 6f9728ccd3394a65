/** Authentication beyond this node's own tables: what peers elsewhere ask for, and who must be proven to whom. */
import type { Numbers } from '../identity/numbers.ts';
import type { Labels } from '../model/labels.ts';
import type { Origin, Policy } from '../model/policy.ts';
import type { PolicyTable } from '../model/snapshot.ts';
import type { Answers } from './answers.ts';
import { compileTable } from './compile-table.ts';
import { type Asking, askingFor, Halves, type NamedTable } from './halves.ts';
import { type Needs, needsOf, Passes } from './needs.ts';
import { Demands, type PeerTables, peerTables } from './peer-tables.ts';
import { type Placed, placements } from './placement.ts';
import type { PodView } from './pods.ts';
import type { PolicyIndex } from './policy-index.ts';
import { remember } from './remember.ts';
import { SelectorCache } from './selector-cache.ts';
import { type Identities, TableCache } from './table-cache.ts';

const NOTHING: PeerTables & Needs = { tables: new Map(), keys: new Map(), needs: [], certified: [] };

export interface PeerQuestion {
  readonly view: PodView;
  readonly policies: readonly Policy[];
  readonly index: PolicyIndex;
  /** By key: tables of endpoints here, with rule ids of `Numbers`. */
  readonly tables: ReadonlyMap<string, PolicyTable>;
}

export class PeerAuthentication {
  readonly #numbers: Numbers;
  readonly #placements = new WeakMap<PodView, readonly Placed[]>();
  /**
   * Tables of endpoints elsewhere: no kernel holds them, their rules have no ids of `Numbers`, and the only peers in them
   * are identities with endpoints here.
   */
  readonly #elsewhere: TableCache<NamedTable>;
  readonly #selectors = new SelectorCache();
  #here: Identities = new Map();
  readonly #answers = new WeakMap<PolicyTable, Answers>();
  readonly #demands = new Demands();
  readonly #passes = new Passes();
  readonly #keys = new WeakMap<readonly Policy[], Map<string, string>>();
  #last: ReadonlyMap<string, PolicyTable> = new Map();

  constructor(numbers: Numbers) {
    this.#numbers = numbers;
    this.#elsewhere = new TableCache(this.#selectors, (key, direction, policies) => {
      const origins: Origin[] = [];
      // Whether another node has an Envoy is not known here; it is taken to have one.
      const options = { http: true, numberOf: (origin: Origin) => origins.push(origin) - 1, rulesetOf: () => 0 };
      const { table } = compileTable(key, direction, policies, this.#selectors, options);
      return { table, originOf: (rule) => origins[rule] };
    });
  }

  /** Costs nothing while no policy asks for a proof. */
  compile(question: PeerQuestion): PeerTables & Needs {
    const asking = askingFor(question.policies);
    this.#elsewhere.begin(this.#here);
    const found = asking.egress.size + asking.ingress.size === 0 ? NOTHING : this.#find(asking, question);
    this.#elsewhere.end();
    this.#last = found.tables;
    return found;
  }

  #find(asking: Asking, { view, index, tables }: PeerQuestion): PeerTables & Needs {
    const placed = remember(this.#placements, view, () => placements(view.pods));
    const here = new Map(placed.flatMap(({ identity, labels, here: isHere }) => (isHere ? [[identity, labels]] : [])));
    if (!sameIdentities(this.#here, here)) this.#here = here;
    this.#selectors.update(this.#here);
    this.#elsewhere.begin(this.#here);
    const halves = new Halves(asking, {
      selecting: (labels) => index.selecting(labels),
      answers: this.#answers,
      keys: this.#keys,
      tableOf: (key, direction, policies) => {
        const table = tables.get(key);
        if (table === undefined) return this.#elsewhere.table(key, direction, policies);
        return { table, originOf: (rule) => this.#numbers.origins.get(rule) };
      },
    });
    const ruleOf = (origin: Origin): number => this.#numbers.rule(origin);
    return {
      ...peerTables({ halves, placed, demands: this.#demands, ruleOf, before: this.#last }),
      ...needsOf(halves, placed, this.#passes),
    };
  }
}

function sameIdentities(before: Identities, now: Identities): boolean {
  return before.size === now.size && [...now].every(([id, labels]: [number, Labels]) => before.get(id) === labels);
}
