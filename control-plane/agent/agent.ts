/** The composition root: the only place that constructs and wires. Source -> compiler -> datapath; ring -> flows -> server. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AttachKind } from '../datapath/attachments.ts';
import { namespaceId, readBypass } from '../datapath/bypass.ts';
import { readDrops, readForwarded, readStatistic, readStatistics } from '../datapath/counters.ts';
import { Datapath } from '../datapath/datapath.ts';
import { decodeEvents, EVENT_SIZE } from '../datapath/events.ts';
import { purgeAddresses, sweepExpired } from '../datapath/flow-sweep.ts';
import type { Kernel, KernelFeatures, KernelObject } from '../datapath/kernel.ts';
import { findObject, type Loaded, loadDatapath } from '../datapath/load.ts';
import { pinsOf } from '../datapath/pins.ts';
import { highestRule, highestRuleset } from '../datapath/policy-tables.ts';
import { Protection } from '../datapath/protection.ts';
import { MARK_TO_ENVOY, MARK_UNTRACKED } from '../datapath/steering.ts';

import { envoyPaths } from '../envoy/paths.ts';
import type { EnvoyView } from '../envoy/status.ts';
import { Numbers } from '../identity/numbers.ts';
import { formatAddress, parsePrefix } from '../model/address.ts';
import type { DnsEvent } from '../model/dns-event.ts';
import { SidestepError } from '../model/error.ts';
import type { KernelEvent } from '../model/event.ts';
import type { HttpEvent } from '../model/http-event.ts';
import type { ObjectSet } from '../model/objects.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { TlsEvent } from '../model/tls-event.ts';
import { dnsFlow } from '../observe/dns-flow.ts';
import { HttpRecord } from '../observe/http-flow.ts';
import { FlowStore } from '../observe/store.ts';
import { tlsFlow } from '../observe/tls-flow.ts';
import { toFlow } from '../observe/to-flow.ts';
import { Compiler } from '../policy/compile.ts';
import { processCgroup } from '../process/cgroup.ts';
import { FilesSource } from '../sources/files.ts';
import type { LoadedConfig } from './config.ts';
import { Directory } from './directory.ts';
import { requireFeatures } from './features.ts';
import type { HttpPlane } from './http-plane.ts';
import { installedWireGuard } from './installed.ts';
import type { Logger } from './log.ts';
import { AgentMetrics } from './metrics.ts';
import { type NameRow, NamingPlane } from './naming-plane.ts';
import type { SecurePlane, SecureView, TunnelView } from './secure-plane.ts';
import { AgentServer } from './server.ts';
import type { RotationView } from './tunnel-rotation.ts';
import type { AgentStatus, AgentView, Degradation, EndpointRow, IdentityRow, PolicyRow } from './view.ts';

/** After a flip, programs that read the old table id have long returned (docs/adr/0005). */
const RETIRE_MS = 100;
const SWEEP_MS = 5000;
/** A pod whose namespace or veth is missing is looked for again this often; link changes wake us sooner. */
const RETRY_MS = 1000;
/** Everything in the workloads' namespaces is looked at again. */
const REFRESH_MS = 30_000;

export interface AgentInputs {
  readonly loaded: LoadedConfig;
  readonly version: string;
  readonly log: Logger;
  readonly openKernel: () => Kernel;
}

export interface RunningAgent {
  /** The kernel keeps enforcing. */
  close(): Promise<void>;
}

/** @throws INSTANCE_BUSY, KERNEL_*, ADDON_MISSING, SOURCE_UNREADABLE, INPUT_INVALID */
export async function startAgent(inputs: AgentInputs): Promise<RunningAgent> {
  const { config } = inputs.loaded;
  if (process.getuid?.() !== 0)
    throw new SidestepError('KERNEL_PERMISSION', `the agent runs as uid ${process.getuid?.()}, not as root`);
  const kernel = inputs.openKernel();
  const features = kernel.features();
  requireFeatures(features, config.attach);
  const server = await AgentServer.open(config.runDir, config.instance, config.metricsAddress);
  try {
    return await Agent.start(inputs, kernel, features, server);
  } catch (error) {
    await server.close();
    throw error;
  }
}

class Agent implements AgentView, RunningAgent {
  readonly nodeName: string;
  readonly flows: FlowStore;
  readonly #inputs: AgentInputs;
  readonly #kernel: Kernel;
  readonly #attach: AttachKind;
  readonly #server: AgentServer;
  readonly #object: KernelObject;
  readonly #loaded: Loaded;
  readonly #datapath: Datapath;
  readonly #compiler: Compiler;
  readonly #source: FilesSource;
  readonly #directory: Directory;
  readonly #protection: Protection;
  readonly #metrics: AgentMetrics;
  readonly #startedAt = new Date().toISOString();
  readonly #closers: (() => void)[] = [];
  /** In force. */
  #snapshot: Snapshot | undefined;
  /** Compiled last; what it waits for is Envoy's yes to its HTTP rules. */
  #latest: Snapshot | undefined;
  #http: HttpPlane | undefined;
  #secure: SecurePlane | undefined;
  /** Why authentication and encryption could not be had when that was last tried. */
  #insecure: SidestepError | undefined;
  #securing: Promise<SecurePlane | undefined> | undefined;
  /** What `#latest` was compiled from. */
  #objects: ObjectSet | undefined;
  readonly #naming: NamingPlane;
  #learning: Promise<void> | undefined;
  #opening: Promise<HttpPlane> | undefined;
  #lastWrites = 0;
  #delivered = 0;
  #liveFlows = 0;
  #sweeping = false;
  #failure: Degradation | undefined;

  private constructor(inputs: AgentInputs, kernel: Kernel, features: KernelFeatures, server: AgentServer) {
    const { config } = inputs.loaded;
    this.#inputs = inputs;
    this.#kernel = kernel;
    this.#attach = config.attach === 'auto' ? (features.tcx ? 'tcx' : 'clsact') : config.attach;
    this.#server = server;
    this.nodeName = config.node;
    this.flows = new FlowStore({ maxFlows: config.flowHistory, maxBytes: config.flowHistoryBytes });
    this.#directory = new Directory(config.node, inputs.version);
    this.#metrics = new AgentMetrics(
      inputs.version,
      () => this.status(),
      () => this.#secure?.numbers,
    );
    if (kernel.mountBpffs(config.bpffs)) inputs.log.info({ path: config.bpffs }, 'bpf file system mounted');
    const pins = pinsOf(config.bpffs, config.instance);
    const steering = { mark: MARK_TO_ENVOY, untracked: MARK_UNTRACKED, envoyPort: config.envoyPort };
    this.#loaded = loadDatapath(kernel, findObject(import.meta.dirname), pins, config, features.coarseClock, steering);
    this.#object = this.#loaded.object;
    this.#datapath = new Datapath(kernel, this.#object, pins, {
      attach: this.#attach,
      flowQuota: config.flowQuota,
      encryptPods: config.encryption === 'on' || config.encryption === 'strict',
    });
    this.#protection = new Protection(this.#object, { total: 0, add: () => undefined }, () => this.#bootTime);
    this.#naming = new NamingPlane({
      config,
      kernel,
      object: this.#object,
      attach: this.#attach,
      log: inputs.log,
      changed: () => this.#namesChanged(),
      record: (event) => this.#recordDns(event),
    });
    const numbers = new Numbers(
      join(config.stateDir, 'numbers.json'),
      highestRule(this.#object) + 1,
      highestRuleset(this.#object) + 1,
    );
    this.#compiler = new Compiler(numbers, {
      nodeName: config.node,
      podRanges: config.podCidrs.map(parsePrefix),
      enforcement: { mode: config.enforcement, audit: config.policyAuditMode === 'true' },
      enrol: config.enrol,
    });
    this.#source = new FilesSource(config.source);
  }

  static async start(
    inputs: AgentInputs,
    kernel: Kernel,
    features: KernelFeatures,
    server: AgentServer,
  ): Promise<Agent> {
    const agent = new Agent(inputs, kernel, features, server);
    try {
      agent.#run();
    } catch (error) {
      agent.#stop();
      throw error;
    }
    return agent;
  }

  #run(): void {
    const { log } = this.#inputs;
    this.#openRing();
    this.#source.start((objects) => void this.#objectsChanged(objects));
    this.#closers.push(() => this.#source.close());
    this.#closers.push(() => this.#naming.close());
    const watch = this.#kernel.watchInterfaces(() => {
      this.#datapath.interfacesChanged();
      this.#applyAgain();
    });
    this.#closers.push(() => watch.close());
    this.#every(SWEEP_MS, () => {
      void this.#sweep();
      void this.#guarded('mend the way to Envoy', async () => this.#http?.assert());
    });
    if (existsSync(envoyPaths(this.#inputs.loaded.config.runDir).record))
      void this.#guarded('take Envoy over', () => this.#httpPlane());
    this.#every(RETRY_MS, () => {
      if (this.#datapath.endpoints.every((endpoint) => endpoint.state === 'ready')) return;
      this.#datapath.interfacesChanged();
      this.#applyAgain();
    });
    this.#every(REFRESH_MS, () => {
      this.#datapath.refreshInterfaces();
      this.#applyAgain();
    });
    this.#server.show(this);
    const { health, endpoints, policies } = this.status();
    log.info({ health, endpoints, policies, adopted: this.#loaded.adopted, attach: this.#attach }, 'agent is ready');
  }

  #every(ms: number, action: () => void): void {
    const timer = setInterval(action, ms);
    timer.unref();
    this.#closers.push(() => clearInterval(timer));
  }

  /** CLOCK_MONOTONIC 0 as milliseconds since the epoch; asked anew each time because clocks are set. */
  get #bootTime(): number {
    return Date.now() - Number(this.#kernel.monotonicNs()) / 1e6;
  }

  #openRing(): void {
    const ring = this.#kernel.openRing(
      this.#object.map('events'),
      { recordSize: EVENT_SIZE },
      (index, buffer, count) => {
        for (const event of decodeEvents(buffer, count, this.#bootTime)) this.#record(event);
        this.#delivered += count;
        // Not now: the loop must turn between two batches, whatever comes in.
        setImmediate(() => ring.credit(index));
      },
    );
    this.#closers.push(() => ring.close());
  }

  #record(event: KernelEvent): void {
    const flow = toFlow(event, this.#directory);
    this.flows.add(flow);
    this.#metrics.count(flow);
  }

  /** Names stand for other addresses. Resolves when the kernel knows them; when they are not taken, the log says why. */
  #namesChanged(): Promise<void> {
    // Answers that come together are compiled together.
    this.#learning ??= new Promise((resolve) => setImmediate(resolve)).then(() => {
      this.#learning = undefined;
      return this.#objects && this.#objectsChanged(this.#objects);
    });
    return this.#learning;
  }

  #recordDns(event: DnsEvent): void {
    const flow = dnsFlow(event, this.#directory);
    this.flows.add(flow);
    this.#metrics.count(flow);
  }

  async #objectsChanged(objects: ObjectSet): Promise<void> {
    const { log } = this.#inputs;
    try {
      const snapshot = this.#compiler.compile(objects, this.#naming.addresses);
      this.#logIssues(snapshot);
      this.#latest = snapshot;
      this.#objects = objects;
      this.#failure = undefined;
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      // The last snapshot stays in force.
      this.#failure = error.toJSON();
      log.error({ err: error, code: error.code }, 'the change was not taken');
      return;
    }
    await this.#take(this.#latest);
  }

  /** HTTP rules are in force when Envoy has them, and what was in force before stays so long. */
  async #take(snapshot: Snapshot): Promise<void> {
    const httpNeeded = snapshot.rulesets.size > 0 || this.#opening !== undefined;
    const prepared = httpNeeded ? this.#prepare(snapshot) : undefined;
    // The first one does not wait: flows under an HTTP rule are refused until Envoy is there, everything else is guarded.
    if (prepared === undefined || this.#snapshot === undefined) this.#enforce(snapshot);
    else {
      await prepared;
      if (this.#latest === snapshot) this.#enforce(snapshot);
    }
  }

  #enforce(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#applyAgain();
    this.#naming.update(snapshot);
    this.#http?.applied(snapshot.rulesets);
    void this.#guarded('authentication and encryption', () => this.#securePlane(snapshot));
  }

  /** Loaded when a policy first asks for authentication, or all pod traffic is to be encrypted. */
  async #securePlane(snapshot: Snapshot): Promise<void> {
    const { config } = this.#inputs.loaded;
    const objects = this.#objects;
    if (config.encryption === 'off' || objects === undefined) return;
    // A node that joins, or that others join by, does so ahead of the first policy.
    const joins = config.ca === 'true' || config.joinTokenFile !== undefined;
    const asked = snapshot.certified.length > 0 || snapshot.needs.length > 0;
    const needed = joins || asked || config.encryption !== 'auth';
    if (!needed && this.#securing === undefined) return;
    this.#securing ??= this.#openSecurePlane(objects, snapshot);
    this.#secure = await this.#securing;
    // Tried anew with the next change.
    if (this.#secure === undefined) this.#securing = undefined;
    else if (this.#snapshot === snapshot) await this.#secure.update(objects, snapshot);
  }

  async #openSecurePlane(objects: ObjectSet, snapshot: Snapshot): Promise<SecurePlane | undefined> {
    const { loaded, log } = this.#inputs;
    const { SecurePlane } = await import('./secure-plane.ts');
    const opened = await this.#guarded('open authentication and encryption', async () => {
      const opening = SecurePlane.open(
        {
          config: loaded.config,
          kernel: this.#kernel,
          object: this.#object,
          attach: this.#attach,
          protection: this.#protection,
          wireguard: loaded.config.wireguard ?? installedWireGuard(),
          log,
        },
        objects,
        snapshot,
      );
      this.#insecure = undefined;
      return opening.catch((error: unknown) => {
        if (error instanceof SidestepError) this.#insecure = error;
        throw error;
      });
    });
    if (opened) this.#directory.explain((source, destination) => opened.unproven(source, destination));
    return opened;
  }

  async #prepare(snapshot: Snapshot): Promise<void> {
    await this.#guarded('prepare HTTP rules', async () => {
      const http = await this.#httpPlane();
      if (this.#latest === snapshot) await http.prepare(snapshot.rulesets);
    });
  }

  /** Loaded when the first HTTP rule comes, or an Envoy of an earlier agent is there: most nodes never need it. */
  async #httpPlane(): Promise<HttpPlane> {
    this.#opening ??= import('./http-plane.ts').then(({ openHttpPlane }) =>
      openHttpPlane({
        config: this.#inputs.loaded.config,
        kernel: this.#kernel,
        object: this.#object,
        log: this.#inputs.log,
        record: (event) => this.#recordHttp(event),
        recordTls: (event) => this.#recordTls(event),
      }),
    );
    this.#http = await this.#opening;
    return this.#http;
  }

  #recordHttp(event: HttpEvent): void {
    const record = new HttpRecord(event, this.#directory);
    this.flows.addLatent(record);
    this.#metrics.countHttp(record);
  }

  #recordTls(event: TlsEvent): void {
    const flow = tlsFlow(event, this.#directory);
    this.flows.add(flow);
    this.#metrics.count(flow);
  }

  /** Only what is new; `status` shows them all. */
  #logIssues(snapshot: Snapshot): void {
    const known = new Set(this.#latest?.issues.map((issue) => issue.origin + issue.message));
    for (const { code, object, origin, message } of snapshot.issues)
      if (!known.has(origin + message)) this.#inputs.log.warn({ code, object, origin }, message);
  }

  #applyAgain(): void {
    const { log } = this.#inputs;
    const snapshot = this.#snapshot;
    if (snapshot === undefined) return;
    const before = new Map(this.#datapath.endpoints.map((e) => [`${e.namespace}/${e.pod}`, `${e.state} ${e.message}`]));
    const { changedAddresses, writes } = this.#datapath.apply(snapshot);
    this.#directory.update(snapshot, this.#datapath.endpoints);
    if (writes > 0) this.#lastWrites = writes;
    for (const { namespace, pod, state, code, message } of this.#datapath.endpoints)
      if (before.get(`${namespace}/${pod}`) !== `${state} ${message}`)
        log[state === 'ready' ? 'info' : 'warn'](
          { pod: `${namespace}/${pod}`, state, code },
          message || 'endpoint is enforced',
        );
    if (writes === 0) return;
    setTimeout(() => this.#datapath.sweepTables(), RETIRE_MS).unref();
    if (changedAddresses.size === 0) return;
    void this.#guarded('end connections', async () => this.#endConnections(changedAddresses));
    void this.#guarded('forget flows', () => purgeAddresses(this.#object.map('flows'), changedAddresses));
  }

  /** What Envoy holds with an address must not outlive its owner, also when an earlier agent started that Envoy. */
  #endConnections(addresses: ReadonlySet<string>): void {
    const { instance, runDir } = this.#inputs.loaded.config;
    if (this.#http === undefined && !existsSync(envoyPaths(runDir).record)) return;
    const { path } = processCgroup(instance, 'envoy');
    if (!existsSync(path)) return;
    const hex = (address: string): Uint8Array => Buffer.from(address, 'hex');
    this.#kernel.destroySockets([...addresses].map(hex), path);
  }

  async #sweep(): Promise<void> {
    if (this.#sweeping) return;
    this.#sweeping = true;
    const sweep = await this.#guarded('sweep flows', () =>
      sweepExpired(this.#object.map('flows'), this.#kernel.monotonicNs(), this.#bootTime, (event) =>
        this.#record(event),
      ),
    );
    if (sweep) this.#liveFlows = sweep.live;
    this.#sweeping = false;
  }

  async #guarded<T>(what: string, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      this.#inputs.log.error({ err: error }, `${what} failed`);
      return undefined;
    }
  }

  status(): AgentStatus {
    const { config, origins } = this.#inputs.loaded;
    const { version } = this.#inputs;
    const snapshot = this.#snapshot;
    const endpoints = { ready: 0, degraded: 0, waiting: 0 };
    for (const { state } of this.#datapath.endpoints) endpoints[state]++;
    const policies = { accepted: 0, 'last-good': 0, refused: 0 };
    for (const { state } of snapshot?.policies ?? []) policies[state]++;
    const degraded = this.#degradations();
    const bypass = this.#bypass();
    const troubled =
      degraded.length > 0 ||
      (snapshot?.issues.length ?? 0) > 0 ||
      endpoints.degraded + endpoints.waiting > 0 ||
      bypass.all ||
      bypass.namespaces.length > 0;
    const counters = this.#object.map('counters');
    return {
      version,
      instance: config.instance,
      node: config.node,
      pid: process.pid,
      startedAt: this.#startedAt,
      health: snapshot === undefined ? 'starting' : troubled ? 'degraded' : 'ready',
      synced: snapshot?.synced ?? false,
      adopted: this.#loaded.adopted,
      attach: this.#attach,
      revision: { snapshot: this.#latest?.revision ?? 0, kernel: snapshot?.revision ?? 0 },
      degraded,
      issues: snapshot?.issues ?? [],
      endpoints,
      policies,
      identities: snapshot?.identities.size ?? 0,
      bypass,
      writes: { total: this.#datapath.writes, lastChange: this.#lastWrites },
      flows: this.#accounting(),
      maps: this.#maps(),
      drops: readDrops(counters),
      forwarded: readForwarded(counters),
      statistics: readStatistics(this.#object.map('statistics')),
      names: this.#naming.view(),
      config: Object.fromEntries(
        Object.entries(config).map(([name, value]) => [
          name,
          { value: value ?? null, origin: origins[name as keyof typeof origins] },
        ]),
      ),
    };
  }

  #accounting(): AgentStatus['flows'] {
    const statistics = this.#object.map('statistics');
    return {
      made: readStatistic(statistics, 'STATISTIC_EVENTS_MADE'),
      lostInKernel: readStatistic(statistics, 'STATISTIC_EVENTS_LOST'),
      delivered: this.#delivered,
      ...this.flows.numbers,
    };
  }

  #maps(): AgentStatus['maps'] {
    const flows = { name: 'flows', entries: this.#liveFlows, maxEntries: this.#object.map('flows').maxEntries };
    return [...this.#datapath.maps, flows].map((map) => ({
      ...map,
      pressure: Math.round((map.entries / map.maxEntries) * 1000) / 1000,
    }));
  }

  #bypass(): AgentStatus['bypass'] {
    const on = readBypass(this.#object.map('bypass'));
    const known = new Set(this.#snapshot?.workloads.map((workload) => workload.namespace));
    const namespaces = [...known].filter((name) => on.has(namespaceId(name)));
    const unnamed = [...on]
      .filter((id) => id !== 0 && !namespaces.some((name) => namespaceId(name) === id))
      .map((id) => `#${id}`);
    return { all: on.has(0), namespaces: [...namespaces.sort(), ...unnamed] };
  }

  #degradations(): Degradation[] {
    const found: Degradation[] = this.#failure ? [this.#failure] : [];
    for (const { map, wanted, actual } of this.#loaded.sizeConflicts)
      found.push({
        code: 'KERNEL_LAYOUT_MISMATCH',
        message: `table ${map} keeps its ${actual} entries; ${wanted} are configured`,
        hint: 'Run `sidestep uninstall`, then start the agent, to change the size.',
      });
    for (const { name, pressure } of this.#maps())
      if (pressure > 0.9)
        found.push({
          code: 'MAP_FULL',
          message: `table ${name} is ${Math.round(pressure * 100)} % full`,
          hint: 'Raise its size option.',
        });
    for (const { state, namespace, pod, code, message, hint } of this.#datapath.endpoints)
      if (state !== 'ready' && code !== undefined)
        found.push({ code, message: `${namespace}/${pod}: ${message}`, hint });
    found.push(...(this.#http?.troubles ?? []));
    return found;
  }

  envoy(): EnvoyView | undefined {
    return this.#http?.view();
  }

  authentication(): SecureView | undefined {
    return this.#secure?.view();
  }

  async tunnel(): Promise<TunnelView> {
    const none = { encryption: this.#inputs.loaded.config.encryption, tunnel: undefined, peers: [] };
    return this.#secure?.tunnelView() ?? none;
  }

  async rotateTunnelKey(): Promise<RotationView> {
    return this.#secured().rotateTunnelKey();
  }

  createJoinToken(node: string, ttlMs: number): string {
    return this.#secured().createJoinToken(node, ttlMs);
  }

  /** @throws NOT_FOUND while nothing asks for it, or what has gone wrong */
  #secured(): SecurePlane {
    if (this.#secure) return this.#secure;
    if (this.#insecure) throw this.#insecure;
    throw new SidestepError('NOT_FOUND', 'authentication and encryption are not in use here', {
      hint: 'They are once a policy asks for authentication, with --encryption on or strict, and with --ca true.',
    });
  }

  endpoints(): readonly EndpointRow[] {
    return this.#datapath.endpoints.map((endpoint) => ({
      ...endpoint,
      addresses: endpoint.addresses.map(formatAddress),
    }));
  }

  identities(): readonly IdentityRow[] {
    return [...(this.#snapshot?.identities.values() ?? [])].sort((a, b) => a.id - b.id);
  }

  names(): readonly NameRow[] {
    return this.#naming.list();
  }

  policies(): readonly PolicyRow[] {
    return (this.#snapshot?.policies ?? []).map(({ ref, ...rest }) => ({ ...ref, ...rest }));
  }

  metrics(): Promise<string> {
    return this.#metrics.registry.metrics();
  }

  get metricsType(): string {
    return this.#metrics.registry.contentType;
  }

  #stop(): void {
    for (const close of this.#closers.reverse()) close();
  }

  async close(): Promise<void> {
    this.#stop();
    await (await this.#opening)?.close();
    await (await this.#securing)?.close();
    await this.#server.close();
    this.#inputs.log.info('agent stopped; the kernel keeps enforcing');
  }
}
