/** Authentication beyond this node's own tables: what peers elsewhere ask for, and who must be proven to whom. */
import type { Numbers } from '../identity/numbers.ts';
import type { Labels } from '../model/labels.ts';
import type { Direction, Origin, Policy } from '../model/policy.ts';
import type { PolicyTable } from '../model/snapshot.ts';
import type { Answers } from './answers.ts';
import { type CompiledTable, type IdentityPorts, TableMaker } from './compile-table.ts';
import { asksForProofs, Halves, type NamedTable } from './halves.ts';
import { type Needs, needsOf, Passes } from './needs.ts';
import { Demands, type PeerTables, peerTables } from './peer-tables.ts';
import { type Placed, placements } from './placement.ts';
import type { PodView } from './pods.ts';
import { remember } from './remember.ts';
import { SelectorCache } from './selector-cache.ts';
import { type Maker, TableCache } from './table-cache.ts';
import type { TableSpec } from './table-spec.ts';

const NOTHING: PeerTables & Needs = { tables: new Map(), keys: new Map(), needs: [], certified: [] };

export interface PeerQuestion {
  readonly view: PodView;
  readonly policies: readonly Policy[];
  /** What is enforced for an identity; the same object while the answer is the same. */
  readonly specOf: (placed: Placed, direction: Direction) => TableSpec;
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
  #here: ReadonlyMap<number, Labels> = new Map();
  #ports: IdentityPorts = new Map();
  readonly #asks = new WeakMap<Policy, boolean>();
  readonly #answers = new WeakMap<PolicyTable, Answers>();
  readonly #demands = new Demands();
  readonly #passes = new Passes();
  #last: ReadonlyMap<string, PolicyTable> = new Map();

  constructor(numbers: Numbers) {
    this.#numbers = numbers;
    this.#elsewhere = new TableCache((spec) => this.#make(spec));
  }

  /** Costs nothing while no policy asks for a proof. */
  compile(question: PeerQuestion): PeerTables & Needs {
    const asks = question.policies.some((policy) => remember(this.#asks, policy, () => asksForProofs(policy)));
    this.#elsewhere.begin();
    const found = asks ? this.#find(question) : NOTHING;
    this.#elsewhere.end();
    this.#last = found.tables;
    return found;
  }

  #find({ view, specOf, tables }: PeerQuestion): PeerTables & Needs {
    const placed = remember(this.#placements, view, () => placements(view.pods));
    const here = new Map(placed.flatMap(({ identity, labels, here: isHere }) => (isHere ? [[identity, labels]] : [])));
    if (!sameIdentities(this.#here, here)) this.#here = here;
    this.#selectors.update(this.#here);
    this.#ports = view.ports;
    const halves = new Halves({
      specOf,
      answers: this.#answers,
      tableOf: (spec) => {
        const table = tables.get(spec.key);
        if (table === undefined) return this.#elsewhere.table(spec);
        return { table, originOf: (rule) => this.#numbers.origins.get(rule) };
      },
    });
    const ruleOf = (origin: Origin): number => this.#numbers.rule(origin);
    return {
      ...peerTables({ halves, placed, demands: this.#demands, ruleOf, before: this.#last }),
      ...needsOf(halves, placed, this.#passes),
    };
  }

  #make(spec: TableSpec): Maker<NamedTable> {
    const origins: Origin[] = [];
    // Whether another node has an Envoy is not known here; it is taken to have one.
    const options = { http: true, numberOf: (origin: Origin) => origins.push(origin) - 1, rulesetOf: () => 0 };
    const maker = new TableMaker(spec, this.#selectors, this.#ports, options);
    let last: { readonly compiled: CompiledTable; readonly named: NamedTable } | undefined;
    const named = (compiled: CompiledTable): NamedTable => {
      if (last?.compiled !== compiled)
        last = { compiled, named: { table: compiled.table, originOf: (rule) => origins[rule] } };
      return last.named;
    };
    return { made: named(maker.compiled), refresh: () => named(maker.refresh(this.#ports)) };
  }
}

function sameIdentities(before: ReadonlyMap<number, Labels>, now: ReadonlyMap<number, Labels>): boolean {
  return before.size === now.size && [...now].every(([id, labels]) => before.get(id) === labels);
}
