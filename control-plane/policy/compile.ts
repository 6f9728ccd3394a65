/** Objects -> Snapshot. */
import type { Numbers } from '../identity/numbers.ts';
import type { ObjectSet } from '../model/objects.ts';
import { concerns, type Direction, formatPolicyRef, type Policy } from '../model/policy.ts';
import type { AddressIdentity, PolicySummary, PrefixIdentity, Snapshot, WorkloadSpec } from '../model/snapshot.ts';
import { conflictIssues } from './authentication-modes.ts';
import { type CompiledTable, compileTable, tableKey } from './compile-table.ts';
import { UNMANAGED, WORLD } from './identities.ts';
import { PeerAuthentication } from './peer-authentication.ts';
import { isWorkload, nodesOf } from './placement.ts';
import { type KnownPod, Pods, type PodView } from './pods.ts';
import { PolicyIndex } from './policy-index.ts';
import { remember } from './remember.ts';
import { SelectorCache } from './selector-cache.ts';
import { TableCache } from './table-cache.ts';

export interface CompileOptions {
  readonly nodeName: string;
  /** Ranges that pods have addresses from, besides those of Node objects. */
  readonly podRanges: readonly { readonly address: Uint8Array; readonly bits: number }[];
  /** false: this node has no Envoy, and what an HTTP rule would have to look into is denied. Default true. */
  readonly http?: boolean;
}

/** What policy says about every endpoint of one identity. */
interface Decided {
  readonly policies: readonly Policy[];
  readonly tables: { readonly [direction in Direction]: string };
}

export class Compiler {
  readonly #numbers: Numbers;
  readonly #options: CompileOptions;
  readonly #pods: Pods;
  readonly #selectors = new SelectorCache();
  readonly #tables: TableCache<CompiledTable>;
  readonly #peers: PeerAuthentication;
  readonly #index = new PolicyIndex();
  readonly #podNodes = new WeakMap<PodView, ReadonlySet<string>>();
  #revision = 0;

  constructor(numbers: Numbers, options: CompileOptions) {
    this.#numbers = numbers;
    this.#options = options;
    this.#pods = new Pods(numbers, options.nodeName);
    this.#tables = new TableCache(this.#selectors, (key, direction, policies) =>
      compileTable(key, direction, policies, this.#selectors, {
        http: options.http ?? true,
        numberOf: (origin) => numbers.rule(origin),
        rulesetOf: (point) => numbers.ruleset(point),
      }),
    );
    this.#peers = new PeerAuthentication(numbers);
  }

  /**
   * New numbers are on disk when this returns.
   * @throws MAP_FULL when there are more label sets than identities, more decision points than ruleset ids or more nodes
   * than node numbers; STATE_UNUSABLE when numbers cannot be kept
   */
  compile(objects: ObjectSet): Snapshot {
    const view = this.#pods.view(objects);
    this.#selectors.update(view.identities);
    const policies = objects.policies.flatMap(({ policy }) => policy ?? []);
    this.#index.update(policies);
    const local = view.pods.filter(isWorkload);
    const decided = new Map<number, Decided>();
    this.#tables.begin(view.identities);
    for (const { identity, labels } of local)
      if (!decided.has(identity)) decided.set(identity, this.#decide(this.#index.selecting(labels)));
    const made = this.#tables.end();
    const tables = new Map([...made].map(([key, { table }]) => [key, table]));
    const peers = this.#peers.compile({ view, policies, index: this.#index, tables });
    for (const [key, table] of peers.tables) tables.set(key, table);
    this.#numbers.release(view.identities);
    const nodes = this.#nodes(objects, view);
    const rulesets = new Map(
      [...made.values()].flatMap((each) => each.rulesets.map((ruleset) => [ruleset.id, ruleset])),
    );
    this.#numbers.releaseRulesets(rulesets);
    this.#numbers.save();
    const { problem } = this.#numbers;
    return {
      revision: ++this.#revision,
      synced: true,
      workloads: local.flatMap((known) => workloadOf(known, decided.get(known.identity), peers.keys) ?? []),
      addresses: view.pods.flatMap(addressesOf),
      prefixes: this.#prefixes(objects),
      tables,
      identities: view.identityInfos,
      origins: this.#numbers.origins,
      rulesets,
      nodes,
      needs: peers.needs,
      certified: peers.certified,
      policies: summaries(objects, local, decided),
      issues: [
        ...(problem ? [problem] : []),
        ...objects.issues,
        ...view.issues,
        ...conflictIssues(
          [...made.values()].flatMap(({ conflicts }) => conflicts),
          objects.policies,
        ),
      ],
    };
  }

  #decide(policies: readonly Policy[]): Decided {
    const tableOf = (direction: Direction): string => {
      const concerned = policies.filter((policy) => concerns(policy, direction));
      const key = tableKey(direction, concerned);
      this.#tables.table(key, direction, concerned);
      return key;
    };
    return { policies, tables: { egress: tableOf('egress'), ingress: tableOf('ingress') } };
  }

  /** Every other node that has pods or says that it is there. */
  #nodes(objects: ObjectSet, view: PodView): ReadonlyMap<string, number> {
    const withPods = remember(this.#podNodes, view, () => nodesOf(view.pods));
    const names = new Set([...withPods, ...objects.meshNodes.map(({ name }) => name)]);
    names.delete(this.#options.nodeName);
    const nodes = new Map([...names].sort().map((name) => [name, this.#numbers.node(name)]));
    this.#numbers.releaseNodes(new Set(nodes.values()));
    return nodes;
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
  authentication: ReadonlyMap<number, string>,
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
      tables: { ...decided.tables, authentication: authentication.get(identity) ?? '' },
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
