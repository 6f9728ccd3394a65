/** Objects -> Snapshot. */
import type { Numbers } from '../identity/numbers.ts';
import type { Prefix } from '../model/address.ts';
import type { Labels } from '../model/labels.ts';
import type { ObjectSet } from '../model/objects.ts';
import { DIRECTIONS, type Direction, formatPolicyRef, type Policy } from '../model/policy.ts';
import type { IdentityInfo, PolicySummary, Snapshot, WorkloadSpec } from '../model/snapshot.ts';
import { type CompiledTable, type IdentityPorts, TableMaker } from './compile-table.ts';
import { type Enrolment, isEnrolled } from './enrolment.ts';
import { IngressPorts } from './named-ports.ts';
import { notesOf } from './notes.ts';
import { type LearnedAddress, Outside, type OutsideView } from './outside.ts';
import { PeerAuthentication } from './peer-authentication.ts';
import { type KnownPod, Pods, type PodView } from './pods.ts';
import { PolicyIndex } from './policy-index.ts';
import { portIssues } from './port-issues.ts';
import { remember } from './remember.ts';
import { Resolver } from './resolve.ts';
import { SelectorCache } from './selector-cache.ts';
import { DEFAULT_ENFORCEMENT, type Enforcement, isAudited, type StagedPolicies, Stages } from './stages.ts';
import { TableCache } from './table-cache.ts';
import { conflictIssues, missingIssues } from './table-issues.ts';
import { type Stage, type TableSpec, TableSpecs } from './table-spec.ts';

export interface CompileOptions {
  readonly nodeName: string;
  /** Ranges that pods have addresses from, besides those of Node objects. */
  readonly podRanges: readonly Prefix[];
  /** false: this node has no Envoy, and what an HTTP rule would have to look into is denied. Default true. */
  readonly http?: boolean;
  /** Default: as policies ask, and they are enforced. */
  readonly enforcement?: Enforcement;
  /** Default all. */
  readonly enrol?: Enrolment;
}

type Tables = Omit<WorkloadSpec['tables'], 'authentication'>;

/** What policy says about every endpoint of one identity with the same named ports. */
interface Decided {
  readonly policies: readonly Policy[];
  readonly tables: Tables;
  readonly learnsNames: boolean;
}

/** A list of everything: pods, reserved ones, what is outside. */
interface Everybody {
  readonly identities: ReadonlyMap<number, Labels>;
  readonly infos: ReadonlyMap<number, IdentityInfo>;
}

const NOBODY: readonly LearnedAddress[] = [];

export class Compiler {
  readonly #numbers: Numbers;
  readonly #options: CompileOptions;
  readonly #pods: Pods;
  readonly #resolver = new Resolver();
  readonly #outside: Outside;
  readonly #selectors = new SelectorCache();
  readonly #stages: Stages;
  readonly #ingressPorts = new IngressPorts();
  readonly #specs = new TableSpecs();
  readonly #tables: TableCache<CompiledTable>;
  readonly #peers: PeerAuthentication;
  readonly #index = new PolicyIndex();
  readonly #everybody = new WeakMap<PodView['identities'], WeakMap<OutsideView['identities'], Everybody>>();
  readonly #asksNames = new WeakMap<Policy, boolean>();
  #ports: IdentityPorts = new Map();
  #revision = 0;

  constructor(numbers: Numbers, options: CompileOptions) {
    this.#numbers = numbers;
    this.#options = options;
    this.#pods = new Pods(numbers, options.nodeName, (namespace) => isEnrolled(options.enrol ?? 'all', namespace));
    this.#outside = new Outside(numbers, options);
    this.#stages = new Stages(options.enforcement ?? DEFAULT_ENFORCEMENT);
    this.#tables = new TableCache((spec) => {
      const maker = new TableMaker(spec, this.#selectors, this.#ports, {
        http: options.http ?? true,
        numberOf: (origin) => numbers.rule(origin),
        rulesetOf: (point) => numbers.ruleset(point),
      });
      return { made: maker.compiled, refresh: () => maker.refresh(this.#ports) };
    });
    this.#peers = new PeerAuthentication(numbers);
  }

  /**
   * New numbers are on disk when this returns.
   * @param learned addresses that DNS told pods of; the same object while nothing of it changes is the cheapest
   * @throws MAP_FULL when there are more label sets than identities, more ranges than local identities, more decision points
   * than ruleset ids or more nodes than node numbers; STATE_UNUSABLE when numbers cannot be kept
   */
  compile(objects: ObjectSet, learned: readonly LearnedAddress[] = NOBODY): Snapshot {
    const view = this.#pods.view(objects);
    const policies = this.#resolver.resolve(
      objects.policies.flatMap(({ policy }) => policy ?? []),
      objects,
    );
    const outside = this.#outside.view(policies, objects, learned);
    const { identities, infos } = this.#everybodyOf(view, outside);
    this.#selectors.update(identities);
    this.#index.update(policies);
    this.#ports = view.ports;
    this.#tables.begin();
    const byIdentity = new Map<string, Decided>();
    const decided = new Map(view.workloads.map((known) => [known, this.#decide(known, byIdentity)]));
    const made = this.#tables.end();
    const tables = new Map([...made].map(([key, { table }]) => [key, table]));
    const peers = this.#peers.compile({
      view,
      policies,
      specOf: ({ identity, labels, audited }, direction) => {
        const { enforced } = this.#stages.of(this.#index.selecting(labels), audited);
        return this.#spec(enforced, direction, 'enforced', view.ports.get(identity) ?? []);
      },
      tables,
    });
    for (const [key, table] of peers.tables) tables.set(key, table);
    this.#numbers.release(identities);
    this.#numbers.releaseLocal(identities);
    const nodes = this.#nodes(objects, view);
    const rulesets = new Map(
      [...made.values()].flatMap((each) => each.rulesets.map((ruleset) => [ruleset.id, ruleset])),
    );
    this.#numbers.releaseRulesets(rulesets);
    this.#numbers.save();
    const { problem } = this.#numbers;
    let lines: readonly PolicySummary[] | undefined;
    return {
      names: outside.names,
      revision: ++this.#revision,
      synced: true,
      workloads: [...decided].map(([known, each]) => workloadOf(known, each, peers.keys)),
      addresses: view.addresses,
      prefixes: outside.prefixes,
      tables,
      identities: infos,
      origins: this.#numbers.origins,
      notes: notesOf(policies),
      rulesets,
      nodes,
      needs: peers.needs,
      certified: peers.certified,
      // Only who looks at them pays for the lines of thousands of policies.
      get policies() {
        lines ??= summaries(objects, decided);
        return lines;
      },
      issues: [
        ...(problem ? [problem] : []),
        ...objects.issues,
        ...view.issues,
        ...conflictIssues(
          [...made.values()].flatMap(({ conflicts }) => conflicts),
          objects.policies,
        ),
        ...missingIssues(
          [...new Set([...decided.values()].flatMap((each) => each.policies))].flatMap((policy) =>
            this.#resolver.missingIn(policy),
          ),
          objects.policies,
        ),
        ...portIssues(
          [...decided].map(([{ pod }, { policies: selecting }]) => ({ ports: pod.namedPorts, policies: selecting })),
          view.ports,
          objects.policies,
        ),
      ],
    };
  }

  #decide({ identity, labels, audited, pod }: KnownPod, known: Map<string, Decided>): Decided {
    const policies = this.#index.selecting(labels);
    const { ports } = this.#ingressPorts.resolve(policies, pod.namedPorts);
    return remember(known, `${identity} ${ports}`, () => {
      const staged = this.#stages.of(policies, audited);
      const tableOf = (list: StagedPolicies, direction: Direction, stage: Stage): string => {
        const spec = this.#spec(list, direction, stage, pod.namedPorts);
        this.#tables.table(spec);
        return spec.key;
      };
      const auditOf = (direction: Direction): string =>
        staged.whole && isAudited(staged, direction) ? tableOf(staged.whole, direction, staged.whole.stage) : '';
      const [egress, ingress] = DIRECTIONS.map((direction) => tableOf(staged.enforced, direction, 'enforced'));
      const counting = (staged.whole ?? staged.enforced).policies;
      return {
        policies,
        tables: {
          egress: egress ?? '',
          ingress: ingress ?? '',
          auditEgress: auditOf('egress'),
          auditIngress: auditOf('ingress'),
        },
        learnsNames: counting.some((policy) => remember(this.#asksNames, policy, () => asksNames(policy))),
      };
    });
  }

  #spec(
    { policies, closed }: StagedPolicies,
    direction: Direction,
    stage: Stage,
    namedPorts: KnownPod['pod']['namedPorts'],
  ): TableSpec {
    if (direction === 'egress') return this.#specs.of(policies, { direction, stage, closed }, '');
    const numbered = this.#ingressPorts.resolve(policies, namedPorts);
    return this.#specs.of(numbered.policies, { direction, stage, closed }, numbered.ports);
  }

  /** The same object while neither part changes. */
  #everybodyOf({ identities, identityInfos }: PodView, outside: OutsideView): Everybody {
    const known = remember(this.#everybody, identities, () => new WeakMap<OutsideView['identities'], Everybody>());
    return remember(known, outside.identities, () => {
      const infos = [...outside.identities].map(([id, labels]): [number, IdentityInfo] => [
        id,
        { id, labels: [...labels.keys()].sort() },
      ]);
      return {
        identities: new Map([...identities, ...outside.identities]),
        infos: new Map([...identityInfos, ...infos]),
      };
    });
  }

  /** Every other node that has pods or says that it is there. */
  #nodes(objects: ObjectSet, view: PodView): ReadonlyMap<string, number> {
    const names = new Set([...view.nodes, ...objects.meshNodes.map(({ name }) => name)]);
    names.delete(this.#options.nodeName);
    const nodes = new Map([...names].sort().map((name) => [name, this.#numbers.node(name)]));
    this.#numbers.releaseNodes(new Set(nodes.values()));
    return nodes;
  }
}

function asksNames({ rules }: Policy): boolean {
  return rules.some(
    ({ direction, peers }) => direction === 'egress' && peers.kind === 'selected' && (peers.names?.length ?? 0) > 0,
  );
}

function workloadOf(
  { pod, identity, labelList, addresses }: KnownPod,
  { tables, learnsNames }: Decided,
  authentication: ReadonlyMap<number, string>,
): WorkloadSpec {
  const { namespace, name, uid, serviceAccount, netns } = pod;
  return {
    namespace,
    name,
    uid,
    labels: labelList,
    serviceAccount,
    netns,
    addresses,
    identity,
    tables: { ...tables, authentication: authentication.get(identity) ?? '' },
    learnsNames,
  };
}

/** One line per object, however many specs it has. */
function summaries(objects: ObjectSet, decided: ReadonlyMap<KnownPod, Decided>): PolicySummary[] {
  const selected = new Map<string, Set<string>>();
  for (const [{ pod }, { policies }] of decided)
    for (const { ref } of policies) {
      const names = selected.get(formatPolicyRef(ref)) ?? new Set();
      selected.set(formatPolicyRef(ref), names.add(`${pod.namespace}/${pod.name}`));
    }
  const found = new Map<string, PolicySummary>();
  for (const { ref, origin, state, issues, policy } of objects.policies) {
    const key = formatPolicyRef(ref);
    const selects = [...(selected.get(key) ?? [])].sort();
    if (!found.has(key)) found.set(key, { ref, origin, state, audit: policy?.audit === true, issues, selects });
  }
  return [...found.values()];
}
