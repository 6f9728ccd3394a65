/** Objects -> Snapshot. */
import type { Numbers } from '../identity/numbers.ts';
import type { Labels } from '../model/labels.ts';
import type { ObjectSet } from '../model/objects.ts';
import { concerns, type Direction, formatPolicyRef, type Policy } from '../model/policy.ts';
import type { AddressIdentity, PolicySummary, PrefixIdentity, Snapshot, WorkloadSpec } from '../model/snapshot.ts';
import { type CompiledTable, compileTable, tableKey } from './compile-table.ts';
import { UNMANAGED, WORLD } from './identities.ts';
import { type KnownPod, Pods, type PodView } from './pods.ts';
import { PolicyIndex } from './policy-index.ts';
import { SelectorCache } from './selector-cache.ts';

export interface CompileOptions {
  readonly nodeName: string;
  /** Ranges that pods have addresses from, besides those of Node objects. */
  readonly podRanges: readonly { readonly address: Uint8Array; readonly bits: number }[];
  /** false: this node has no Envoy, and what an HTTP rule would have to look into is denied. Default true. */
  readonly http?: boolean;
}

/** A table and what it was made from. */
interface Made extends CompiledTable {
  readonly policies: readonly Policy[];
  readonly identities: ReadonlyMap<number, Labels>;
}

/** What policy says about every endpoint of one identity. */
interface Decided {
  readonly policies: readonly Policy[];
  readonly tables: WorkloadSpec['tables'];
}

export class Compiler {
  readonly #numbers: Numbers;
  readonly #options: CompileOptions;
  readonly #pods: Pods;
  readonly #selectors = new SelectorCache();
  #tables: ReadonlyMap<string, Made> = new Map();
  #revision = 0;

  constructor(numbers: Numbers, options: CompileOptions) {
    this.#numbers = numbers;
    this.#options = options;
    this.#pods = new Pods(numbers, options.nodeName);
  }

  /**
   * New numbers are on disk when this returns.
   * @throws MAP_FULL when there are more label sets than identities or more decision points than ruleset ids, STATE_UNUSABLE when numbers cannot be kept
   */
  compile(objects: ObjectSet): Snapshot {
    const view = this.#pods.view(objects);
    this.#selectors.update(view.identities);
    const index = new PolicyIndex(objects.policies.flatMap(({ policy }) => policy ?? []));
    const local = view.pods.filter((known) => known.local && known.pod.netns !== '' && known.addresses.length > 0);
    const made = new Map<string, Made>();
    const decided = new Map<number, Decided>();
    for (const { identity, labels } of local)
      if (!decided.has(identity)) decided.set(identity, this.#decide(index.selecting(labels), view, made));
    this.#tables = made;
    this.#numbers.release(view.identities);
    const rulesets = new Map(
      [...made.values()].flatMap((each) => each.rulesets.map((ruleset) => [ruleset.id, ruleset])),
    );
    this.#numbers.releaseRulesets(rulesets);
    this.#numbers.save();
    const { problem } = this.#numbers;
    return {
      revision: ++this.#revision,
      synced: true,
      workloads: local.flatMap((known) => workloadOf(known, decided.get(known.identity)) ?? []),
      addresses: view.pods.flatMap(addressesOf),
      prefixes: this.#prefixes(objects),
      tables: new Map([...made].map(([key, { table }]) => [key, table])),
      identities: view.identityInfos,
      origins: this.#numbers.origins,
      rulesets,
      policies: summaries(objects, local, decided),
      issues: [...(problem ? [problem] : []), ...objects.issues, ...view.issues],
    };
  }

  #decide(policies: readonly Policy[], view: PodView, made: Map<string, Made>): Decided {
    const tableOf = (direction: Direction): string => {
      const concerned = policies.filter((policy) => concerns(policy, direction));
      const key = tableKey(direction, concerned);
      if (!made.has(key)) made.set(key, this.#table(key, direction, concerned, view));
      return key;
    };
    return { policies, tables: { egress: tableOf('egress'), ingress: tableOf('ingress') } };
  }

  /** The table of the last revision where nothing that it was made from has changed. */
  #table(key: string, direction: Direction, policies: readonly Policy[], { identities }: PodView): Made {
    const known = this.#tables.get(key);
    const same =
      known !== undefined &&
      known.identities === identities &&
      known.policies.length === policies.length &&
      policies.every((policy, i) => policy === known.policies[i]);
    if (same) {
      this.#selectors.keep(policies);
      return known;
    }
    const compiled = compileTable(key, direction, policies, this.#selectors, {
      http: this.#options.http ?? true,
      numberOf: (origin) => this.#numbers.rule(origin),
      rulesetOf: (point) => this.#numbers.ruleset(point),
    });
    return { ...compiled, policies, identities };
  }

  #prefixes(objects: ObjectSet): PrefixIdentity[] {
    const ranges = [...this.#options.podRanges, ...objects.nodes.flatMap((node) => node.podRanges)];
    return [
      { address: new Uint8Array(16), bits: 0, identity: WORLD },
      ...ranges.map(({ address, bits }) => ({ address, bits, identity: UNMANAGED })),
    ];
  }
}

function workloadOf(
  { pod, identity, labelList, addresses }: KnownPod,
  decided: Decided | undefined,
): WorkloadSpec | undefined {
  const { namespace, name, uid, serviceAccount, netns } = pod;
  return (
    decided && {
      namespace,
      name,
      uid,
      labels: labelList,
      serviceAccount,
      netns,
      addresses,
      identity,
      tables: decided.tables,
    }
  );
}

function addressesOf({ pod, identity, local, addresses }: KnownPod): AddressIdentity[] {
  const node = local ? '' : pod.nodeName;
  return addresses.map((address) => ({ address, identity, node, namespace: pod.namespace, pod: pod.name }));
}

/** One line per object, however many specs it has. */
function summaries(
  objects: ObjectSet,
  local: readonly KnownPod[],
  decided: ReadonlyMap<number, Decided>,
): PolicySummary[] {
  const selected = new Map<string, Set<string>>();
  for (const { pod, identity } of local)
    for (const { ref } of decided.get(identity)?.policies ?? []) {
      const names = selected.get(formatPolicyRef(ref)) ?? new Set();
      selected.set(formatPolicyRef(ref), names.add(`${pod.namespace}/${pod.name}`));
    }
  const found = new Map<string, PolicySummary>();
  for (const { ref, origin, state, issues } of objects.policies) {
    const key = formatPolicyRef(ref);
    if (!found.has(key)) found.set(key, { ref, origin, state, issues, selects: [...(selected.get(key) ?? [])].sort() });
  }
  return [...found.values()];
}
