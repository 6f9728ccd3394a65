/**
 * Makes the kernel hold a Snapshot. The order within one change: tables, then addresses and identities, then endpoints
 * (one write flips a whole policy), then the hooks of new workloads; what is gone is taken away last. A pod on another node
 * whose identity changes is sent to through the tunnel meanwhile.
 */
import {
  type Endpoint,
  EndpointFlag,
  encodeAddressKey,
  encodeEndpoint,
  encodeEndpointAddress,
  encodeQuota,
  Layout,
  readEndpoint,
  readEndpointAddress,
} from '../generated/bpf.ts';
import { SidestepError } from '../model/error.ts';
import { DIRECTIONS, type Direction } from '../model/policy.ts';
import type { Snapshot, WorkloadSpec } from '../model/snapshot.ts';
import { type AttachKind, Attachments } from './attachments.ts';
import { namespaceId } from './bypass.ts';
import type { EndpointPolicy, EndpointStatus } from './endpoint-status.ts';
import { IdentityTables } from './identity-tables.ts';
import { InterfaceFinder, type WorkloadInterface } from './interfaces.ts';
import type { Kernel, KernelObject, NetworkInterface } from './kernel.ts';
import { MirroredMap, WriteCounter } from './mirror.ts';
import type { Pins } from './pins.ts';
import { PolicyTables } from './policy-tables.ts';

/** The only scope so far: one network per node. */
const SCOPE = 0;

const keyOfIfindex = (ifindex: number): Uint8Array => {
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, ifindex, true);
  return key;
};
const ifindexOf = (key: Uint8Array): number => new DataView(key.buffer, key.byteOffset).getUint32(0, true);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const name = (workload: WorkloadSpec): string => `${workload.namespace}/${workload.name}`;

export interface ApplyResult {
  /** Addresses whose owner or identity changed: flows about them must be forgotten. Hex. */
  readonly changedAddresses: ReadonlySet<string>;
  readonly writes: number;
}

export interface MapUse {
  readonly name: string;
  readonly entries: number;
  readonly maxEntries: number;
}

/** Texts that change when the tables do. */
type Beside = Readonly<Record<Direction, string>>;

interface Placed {
  readonly workload: WorkloadSpec;
  readonly at: WorkloadInterface;
}

export interface DatapathOptions {
  readonly attach: AttachKind;
  /** New flows that a workload may hold open unanswered. */
  readonly flowQuota: number;
  /** All traffic between pods on different nodes goes through the tunnel. */
  readonly encryptPods: boolean;
}

export class Datapath {
  readonly #kernel: Kernel;
  readonly #finder: InterfaceFinder;
  readonly #attachments: Attachments;
  readonly #writes = new WriteCounter();
  readonly #endpoints: MirroredMap;
  readonly #addresses: MirroredMap;
  readonly #ipcache: MirroredMap;
  readonly #prefixes: MirroredMap;
  readonly #policy: MirroredMap;
  readonly #quotas: MirroredMap;
  readonly #tables: PolicyTables;
  readonly #identities: IdentityTables;
  readonly #quotaTokens: number;
  /** Tables besides its own that an endpoint's live flows were judged by last, by ifindex. */
  readonly #beside = new Map<number, Beside>();
  #statuses: readonly EndpointStatus[] = [];
  /** Of this node, as long as nobody says that they changed; looked at with them: whose hooks are there, and who is before us. */
  #interfaces: readonly NetworkInterface[] | undefined;
  readonly #looked = new Map<number, readonly string[]>();
  #failures = new Map<string, unknown>();

  constructor(kernel: Kernel, object: KernelObject, pins: Pins, options: DatapathOptions) {
    this.#kernel = kernel;
    this.#finder = new InterfaceFinder(kernel);
    this.#quotaTokens = options.flowQuota;
    const mirror = (map: string): MirroredMap => new MirroredMap(object.map(map), this.#writes);
    this.#endpoints = mirror('endpoints');
    this.#addresses = mirror('endpoint_addresses');
    this.#ipcache = mirror('ipcache');
    this.#prefixes = mirror('ipcache_prefixes');
    this.#identities = new IdentityTables(this.#ipcache, this.#prefixes, options.encryptPods);
    this.#policy = mirror('policy');
    this.#quotas = mirror('quotas');
    this.#tables = new PolicyTables(this.#policy, object.map('policy_tables'), (count) => this.#writes.add(count));
    const programs = { fromWorkload: object.program('from_workload'), toWorkload: object.program('to_workload') };
    this.#attachments = new Attachments(kernel, pins, programs, options.attach, this.#endpoints.keys().map(ifindexOf));
  }

  get writes(): number {
    return this.#writes.total;
  }
  get endpoints(): readonly EndpointStatus[] {
    return this.#statuses;
  }
  get maps(): readonly MapUse[] {
    return [this.#endpoints, this.#addresses, this.#ipcache, this.#prefixes, this.#policy].map(
      ({ name, size, maxEntries }) => ({
        name,
        entries: size,
        maxEntries,
      }),
    );
  }
  /** Policy tables that could not be written, by key, with the error. */
  get failures(): ReadonlyMap<string, unknown> {
    return this.#failures;
  }

  /** Looks into every workload's namespace again at the next apply. */
  refreshInterfaces(): void {
    this.#finder.refresh();
    this.interfacesChanged();
  }

  /** The next apply asks the kernel for interfaces and hooks again, which costs some milliseconds. */
  interfacesChanged(): void {
    this.#interfaces = undefined;
    this.#looked.clear();
  }

  /**
   * Synchronous, so that no other change can come between. Never throws for one bad workload or a full table: its
   * endpoint says what is wrong and everything else goes on.
   */
  apply(snapshot: Snapshot): ApplyResult {
    const before = this.#writes.total;
    const { own, located } = this.#locateAll(snapshot);
    const placed = [...located.values()].filter((p): p is Placed => !(p instanceof SidestepError));

    const changed = new Set<string>();
    const errors = new Map<string, SidestepError>();
    // Tables that tell addresses apart which the kernel cannot tell apart are not in force: policy stays what it was.
    const crowded = this.#identities.problemOf(snapshot);
    if (crowded) errors.set('ipcache', crowded);
    this.#failures = crowded
      ? new Map([...snapshot.tables.keys()].map((key) => [key, crowded]))
      : this.#tables.install(snapshot.tables);
    /** Keys of tables whose live flows must be judged again though the tables are the same. */
    const stale = new Set<string>();
    let settle = (): void => undefined;
    if (crowded === undefined)
      this.#guard(errors, 'ipcache', () => {
        const identities = this.#identities.write(snapshot, own);
        settle = identities.settle;
        for (const address of identities.changed) changed.add(address);
        for (const key of identities.stale) stale.add(key);
      });
    this.#guard(errors, 'endpoint_addresses', () => this.#writeAddresses(placed, changed));
    for (const { workload, at } of placed)
      this.#guard(errors, name(workload), () => this.#writeEndpoint(workload, at, stale));
    this.#guard(errors, 'ipcache', settle);
    for (const key of stale) this.#tables.touch(key);
    this.#tables.forget(snapshot.tables);
    this.#removeStale(new Set(placed.map(({ at }) => at.ifindex)), own);
    this.#statuses = snapshot.workloads.map((workload) =>
      this.#status(workload, located.get(name(workload)), snapshot, errors),
    );
    return { changedAddresses: changed, writes: this.#writes.total - before };
  }

  /** Some milliseconds after apply: takes away policy tables that no program reads any more. */
  sweepTables(): void {
    this.#tables.sweep(this.#tablesInUse());
  }

  #guard(errors: Map<string, SidestepError>, what: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      errors.set(what, error);
    }
  }

  /** By what is known of interfaces; where that is not enough they are asked for anew. */
  #locateAll({ workloads }: Pick<Snapshot, 'workloads'>): {
    own: readonly NetworkInterface[];
    located: Map<string, Placed | SidestepError>;
  } {
    const known = this.#interfaces;
    const own = known ?? this.#kernel.interfaces();
    this.#interfaces = own;
    const located = new Map(workloads.map((workload) => [name(workload), this.#locate(workload, own)]));
    if (known === undefined || ![...located.values()].some((each) => each instanceof SidestepError))
      return { own, located };
    this.interfacesChanged();
    return this.#locateAll({ workloads });
  }

  #locate(workload: WorkloadSpec, own: readonly NetworkInterface[]): Placed | SidestepError {
    try {
      return { workload, at: this.#finder.find(workload, own) };
    } catch (error) {
      if (error instanceof SidestepError) return error;
      throw error;
    }
  }

  #writeAddresses(placed: readonly Placed[], changed: Set<string>): void {
    const wanted = placed.flatMap(({ workload, at }) =>
      workload.addresses.map((address) => {
        const key = encodeAddressKey({ scope: SCOPE, address });
        const known = this.#addresses.get(key);
        const previous = known && readEndpointAddress(new DataView(known.buffer, known.byteOffset));
        const generation =
          previous === undefined ? 1 : previous.ifindex === at.ifindex ? previous.generation : previous.generation + 1;
        return { key, value: encodeEndpointAddress({ ifindex: at.ifindex, generation }) };
      }),
    );
    for (const key of this.#addresses.replace(wanted)) changed.add(hex(key.subarray(4)));
  }

  #writeEndpoint(workload: WorkloadSpec, at: WorkloadInterface, stale: Set<string>): void {
    const key = keyOfIfindex(at.ifindex);
    const known = this.#known(key);
    if (this.#quotas.get(key) === undefined)
      this.#quotas.set(key, encodeQuota({ refilledNs: this.#kernel.monotonicNs(), tokens: BigInt(this.#quotaTokens) }));
    this.#endpoints.set(
      key,
      encodeEndpoint({
        id: known?.id ?? this.#freeId(),
        identity: workload.identity,
        egressTable: this.#tableOf(workload.tables.egress, known?.egressTable),
        ingressTable: this.#tableOf(workload.tables.ingress, known?.ingressTable),
        namespaceId: namespaceId(workload.namespace),
        masterIfindex: at.masterIfindex,
        mac: at.mac,
        flags: EndpointFlag.ENDPOINT_CHECK_MAC | (workload.learnsNames ? EndpointFlag.ENDPOINT_LEARNS_NAMES : 0),
        version: Layout.LAYOUT_VERSION,
        authenticationTable: this.#tableOf(workload.tables.authentication, known?.authenticationTable),
        auditEgressTable: this.#tableOf(workload.tables.auditEgress, known?.auditEgressTable),
        auditIngressTable: this.#tableOf(workload.tables.auditIngress, known?.auditIngressTable),
      }),
    );
    if (!this.#looked.has(at.ifindex)) {
      this.#attachments.attach(at.ifindex);
      this.#looked.set(at.ifindex, this.#attachments.foreignFirst(at.ifindex));
    }
    this.#judgeAgain(workload, at.ifindex, stale);
  }

  /**
   * Live flows look at the tables that are enforced, and only at their revision: what a peer asks for anew, or is audited anew,
   * reaches them through a new one.
   */
  #judgeAgain({ tables }: WorkloadSpec, ifindex: number, stale: Set<string>): void {
    const textOf = (...keys: string[]): string => keys.map((key) => `${key} ${this.#tables.revisionOf(key)}`).join(' ');
    const now = { egress: textOf(tables.authentication, tables.auditEgress), ingress: textOf(tables.auditIngress) };
    const before = this.#beside.get(ifindex);
    this.#beside.set(ifindex, now);
    for (const direction of DIRECTIONS)
      if (before !== undefined && before[direction] !== now[direction]) stale.add(tables[direction]);
  }

  /** One that could not be written leaves the last complete one in force; a new endpoint gets the closed table. */
  #tableOf(key: string, last: number | undefined): number {
    return this.#failures.has(key) ? this.#tables.idOf(key) || (last ?? 0) : this.#tables.idOf(key);
  }

  /** Ids of the tables that endpoints point to. */
  #tablesInUse(): ReadonlySet<number> {
    const endpoints = this.#endpoints.keys().flatMap((key) => this.#known(key) ?? []);
    return new Set(
      endpoints.flatMap((endpoint) => [
        endpoint.egressTable,
        endpoint.ingressTable,
        endpoint.authenticationTable,
        endpoint.auditEgressTable,
        endpoint.auditIngressTable,
      ]),
    );
  }

  #known(key: Uint8Array): Endpoint | undefined {
    const bytes = this.#endpoints.get(key);
    return bytes && readEndpoint(new DataView(bytes.buffer, bytes.byteOffset));
  }

  #freeId(): number {
    const used = new Set(this.#endpoints.keys().map((key) => this.#known(key)?.id));
    let id = 1;
    while (used.has(id)) id++;
    return id;
  }

  /** Hooks first: an interface with our programs and no endpoint refuses everything. */
  #removeStale(wanted: ReadonlySet<number>, own: readonly NetworkInterface[]): void {
    const existing = new Set(own.map((i) => i.ifindex));
    for (const ifindex of this.#attachments.ifindexes)
      if (!wanted.has(ifindex)) this.#attachments.detach(ifindex, existing.has(ifindex));
    const stale = this.#endpoints.keys().filter((key) => !wanted.has(ifindexOf(key)));
    this.#endpoints.deleteAll(stale);
    for (const ifindex of this.#beside.keys()) if (!wanted.has(ifindex)) this.#beside.delete(ifindex);
    this.#quotas.deleteAll(this.#quotas.keys().filter((key) => !wanted.has(ifindexOf(key))));
  }

  #status(
    workload: WorkloadSpec,
    located: Placed | SidestepError | undefined,
    snapshot: Snapshot,
    errors: ReadonlyMap<string, SidestepError>,
  ): EndpointStatus {
    const policy = (key: string): EndpointPolicy => ({
      enforcing: snapshot.tables.get(key)?.enforcing ?? true,
      revision: this.#tables.revisionOf(key),
    });
    const at = located instanceof SidestepError ? undefined : located?.at;
    const known = at && this.#known(keyOfIfindex(at.ifindex));
    const attached = at !== undefined && this.#attachments.has(at.ifindex);
    const trouble = located instanceof SidestepError ? located : this.#trouble(workload, at, errors);
    return {
      id: known?.id ?? 0,
      namespace: workload.namespace,
      pod: workload.name,
      identity: workload.identity,
      labels: workload.labels,
      addresses: workload.addresses,
      state: !attached ? 'waiting' : trouble ? 'degraded' : 'ready',
      code: trouble?.code,
      message: trouble?.message ?? '',
      hint: trouble?.hint ?? '',
      interface: attached ? { ifindex: at.ifindex, name: at.name, attach: this.#attachments.kind } : undefined,
      egress: policy(workload.tables.egress),
      ingress: policy(workload.tables.ingress),
    };
  }

  #trouble(
    workload: WorkloadSpec,
    at: WorkloadInterface | undefined,
    errors: ReadonlyMap<string, SidestepError>,
  ): SidestepError | undefined {
    const own = errors.get(name(workload)) ?? errors.get('endpoint_addresses') ?? errors.get('ipcache');
    if (own || at === undefined) return own;
    for (const key of Object.values(workload.tables)) {
      const failure = this.#failures.get(key);
      if (failure instanceof SidestepError) return failure;
    }
    const foreign = this.#looked.get(at.ifindex) ?? [];
    if (foreign.length > 0)
      return new SidestepError(
        'KERNEL_FEATURE_MISSING',
        `another program runs before ours on ${at.name} (${foreign.join(', ')})`,
        {
          hint: 'What it lets pass or redirects, Sidestep does not see. See `bpftool net` for its owner.',
        },
      );
    if (!this.#attachments.inForce(at.ifindex))
      return new SidestepError('KERNEL_CALL_FAILED', `our programs are not attached to ${at.name} any more`, {
        hint: 'Something detached them; restart the agent to attach again.',
      });
    return undefined;
  }
}
