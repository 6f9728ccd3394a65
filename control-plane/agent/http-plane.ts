/**
 * Everything that HTTP rules need besides the kernel's tables, there only while there are such rules: the way to Envoy,
 * the discovery service, Envoy itself, its access log. Order: discovery, acknowledgement, then kernel; kernel first when a
 * rule goes.
 */

import type { Kernel, KernelObject } from '../datapath/kernel.ts';
import { MARK_TO_TUNNEL } from '../datapath/load.ts';
import { pinsOf } from '../datapath/pins.ts';
import { MARK_UNTRACKED, Steering } from '../datapath/steering.ts';
import { accessLogService } from '../envoy/access-log.ts';
import { AdminClient } from '../envoy/admin.ts';
import { installedEnvoy, installedModule } from '../envoy/installed.ts';
import { MODULE_IN_ENVOY, NOBODY, ProcessLauncher } from '../envoy/launcher.ts';
import { EnvoyManager } from '../envoy/manager.ts';
import { envoyPaths } from '../envoy/paths.ts';
import { planner } from '../envoy/plan.ts';
import { RecordFile } from '../envoy/record.ts';
import type { EnvoyView, RefusedConfiguration } from '../envoy/status.ts';
import { XDS_TABLE, type XdsMessages } from '../generated/xds.ts';
import { systemClock } from '../model/clock.ts';
import { SidestepError } from '../model/error.ts';
import type { HttpEvent } from '../model/http-event.ts';
import type { Ruleset } from '../model/snapshot.ts';
import type { TlsEvent } from '../model/tls-event.ts';
import { createCgroup, type ProcessCgroup, processCgroup } from '../process/cgroup.ts';
import type { ServedRuleset } from '../traffic/rbac.ts';
import { encodeTraffic, TRAFFIC_TYPES, translate } from '../traffic/resources.ts';
import { Codec } from '../xds/codec.ts';
import { GrpcServer, type Service } from '../xds/grpc-server.ts';
import { ResourceCache } from '../xds/resource-cache.ts';
import { DeltaAdsServer } from '../xds/server.ts';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';

/** So long the revision before stays in force while Envoy has not said yes. */
const DEADLINE_MS = 5000;
/** Words of refused configuration that are kept. */
const REFUSED_KEPT = 16;

export interface HttpPlaneOptions {
  readonly runDir: string;
  readonly envoy: string;
  readonly module: string;
  readonly port: number;
  readonly concurrency: number;
  readonly idleMs: number;
  readonly rejectUnknownFields: boolean;
}

export interface HttpPlaneParts {
  readonly kernel: Kernel;
  readonly steering: Steering;
  readonly cgroup: ProcessCgroup;
  readonly accessLog: Service;
  readonly log: Logger;
}

export class HttpPlane {
  readonly #options: HttpPlaneOptions;
  readonly #parts: HttpPlaneParts;
  readonly #codec = new Codec<XdsMessages>(XDS_TABLE);
  readonly #cache = new ResourceCache();
  readonly #ads = new DeltaAdsServer(this.#cache);
  readonly #server: GrpcServer;
  readonly #manager: EnvoyManager;
  /** Rulesets that are gone; connections that were told of them go on until they close, admitted by layer 4 alone. */
  readonly #retired = new Map<number, Ruleset>();
  #published: ReadonlyMap<number, Ruleset> = new Map();
  #revision = 0;
  #acknowledged = 0;
  /** The deadline for this revision is over: nothing waits for it any more. */
  #overdue = 0;
  #refused: RefusedConfiguration[] = [];
  #failure: SidestepError | undefined;

  constructor(options: HttpPlaneOptions, parts: HttpPlaneParts) {
    this.#options = options;
    this.#parts = parts;
    const paths = envoyPaths(options.runDir);
    this.#server = new GrpcServer({ path: paths.discovery, mode: 0o600, owner: { uid: NOBODY, gid: NOBODY } });
    this.#server.register(this.#ads.service);
    this.#server.register(parts.accessLog);
    this.#ads.events.on('nack', ({ typeUrl, names, message }) => {
      this.#refused = [{ at: new Date().toISOString(), type: typeUrl, names, message }, ...this.#refused].slice(
        0,
        REFUSED_KEPT,
      );
      parts.log.error({ type: typeUrl, names }, `Envoy refuses its configuration: ${message}`);
    });
    const launcher = new ProcessLauncher({
      spawn: (program, args, spawn) => parts.kernel.spawn(program, args, spawn),
      reap: ({ pid, startTime }) => parts.kernel.waitPid(pid, startTime),
      paths,
      cgroup: parts.cgroup,
      module: options.module,
    });
    const { envoy: binary, module, concurrency, rejectUnknownFields, idleMs } = options;
    const requirements = { binary, module, version: undefined, uid: NOBODY };
    const bootstrap = { concurrency, drainSeconds: 60, rejectUnknownFields };
    this.#manager = new EnvoyManager(
      {
        launcher,
        admin: new AdminClient(paths.admin),
        clock: systemClock,
        record: new RecordFile(paths.record),
        plan: planner(requirements, paths, bootstrap, launcher),
        log: parts.log,
      },
      {
        pauses: { idleMs },
        changed: ({ state }) => {
          if (state === 'stopped') this.#stopped();
        },
      },
    );
  }

  /** Serves, and takes over an Envoy that an earlier agent left. */
  async open(): Promise<void> {
    await this.#server.listen();
    await this.#manager.open();
  }

  /**
   * Before the kernel is told of these rulesets.
   * @returns what to wait for: Envoy's yes or the deadline; undefined when there is nothing to wait for
   */
  prepare(rulesets: ReadonlyMap<number, Ruleset>): Promise<void> | undefined {
    if (rulesets.size === 0 && this.#published.size === 0) return undefined;
    if (rulesets.size > 0) this.#enable();
    const revision = this.#publish(rulesets);
    if (rulesets.size === 0 || revision === this.#overdue) return undefined;
    if (this.#ads.progress(revision, TRAFFIC_TYPES).outcome !== 'pending') return undefined;
    return this.#ads.acknowledged(revision, { types: TRAFFIC_TYPES, deadlineMs: DEADLINE_MS }).then(({ outcome }) => {
      if (outcome !== 'pending') return;
      this.#overdue = revision;
      this.#parts.log.warn(
        { revision },
        'Envoy has not acknowledged its rules in time: new flows under them are refused',
      );
    });
  }

  /** The kernel holds these rulesets now. */
  applied(rulesets: ReadonlyMap<number, Ruleset>): void {
    if (rulesets.size === 0) this.#manager.want(false);
  }

  /** Puts back what something else took from the way to Envoy. */
  assert(): void {
    if (!this.#parts.steering.enabled) return;
    const mended = this.#parts.steering.assert();
    if (mended.length > 0) this.#parts.log.warn({ mended }, 'the way to Envoy was mended');
  }

  /** What `status` names as degraded. */
  get troubles(): readonly { readonly code: string; readonly message: string; readonly hint: string }[] {
    const { state, lastFailure } = this.#manager.status();
    const found = this.#failure ? [this.#failure.toJSON()] : [];
    if (state === 'failed' && lastFailure) found.push(lastFailure);
    for (const { name, message } of this.#ads.progress(this.#revision, TRAFFIC_TYPES).rejections)
      found.push(new SidestepError('ENVOY_REFUSED', `${name}: ${message}`).toJSON());
    return found;
  }

  view(): EnvoyView {
    const progress = this.#ads.progress(this.#revision, TRAFFIC_TYPES);
    if (progress.outcome === 'acknowledged') this.#acknowledged = this.#revision;
    return {
      ...this.#manager.status(),
      discovery: {
        rulesets: this.#published.size,
        revision: this.#revision,
        acknowledged: this.#acknowledged,
        refused: this.#refused,
      },
    };
  }

  /** Envoy keeps running; the next agent takes it over. */
  async close(): Promise<void> {
    await this.#manager.close();
    this.#ads.close();
    this.#server.close();
  }

  #enable(): void {
    try {
      createCgroup(this.#parts.cgroup);
      this.#parts.steering.enable();
      this.#failure = undefined;
      this.#manager.want(true);
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      // Flows under HTTP rules are refused meanwhile: nothing steers them past Envoy.
      this.#failure = error;
      this.#parts.log.error({ err: error, code: error.code }, 'flows cannot be brought to Envoy');
    }
  }

  #publish(rulesets: ReadonlyMap<number, Ruleset>): number {
    for (const [id, ruleset] of this.#published) if (!rulesets.has(id)) this.#retired.set(id, ruleset);
    for (const id of rulesets.keys()) this.#retired.delete(id);
    this.#published = rulesets;
    const all = new Map<number, ServedRuleset>(rulesets);
    for (const [id, ruleset] of this.#retired) all.set(id, { ...ruleset, rules: 'layer4' });
    const { port } = this.#options;
    const listening = { modulePath: MODULE_IN_ENVOY, port, marks: [MARK_UNTRACKED, MARK_TO_TUNNEL] };
    for (const [type, resources] of encodeTraffic(this.#codec, translate(all, listening)))
      this.#revision = this.#cache.set(type, resources);
    return this.#revision;
  }

  #stopped(): void {
    // The cgroup stays: the programs around Envoy are attached to it.
    this.#retired.clear();
  }
}

export interface HttpPlaneInputs {
  readonly config: Config;
  readonly kernel: Kernel;
  readonly object: KernelObject;
  readonly log: Logger;
  /** Told of every request. */
  readonly record: (event: HttpEvent) => void;
  readonly recordTls: (event: TlsEvent) => void;
}

/** @throws KERNEL_FEATURE_MISSING without a cgroup2 file system */
export async function openHttpPlane({
  config,
  kernel,
  object,
  log,
  record,
  recordTls,
}: HttpPlaneInputs): Promise<HttpPlane> {
  const { instance, runDir, stateDir, bpffs } = config;
  const cgroup = processCgroup(instance, 'envoy');
  const pins = pinsOf(bpffs, instance);
  const plane = new HttpPlane(
    {
      runDir,
      envoy: config.envoy ?? installedEnvoy(),
      module: config.envoyModule ?? installedModule(),
      port: config.envoyPort,
      concurrency: config.envoyConcurrency,
      idleMs: config.envoyIdleSeconds * 1000,
      rejectUnknownFields: config.envoyStrict === 'true',
    },
    {
      kernel,
      cgroup,
      steering: new Steering(kernel, object, pins, { instance, stateDir, cgroup: cgroup.path }),
      accessLog: accessLogService(record, recordTls),
      log,
    },
  );
  await plane.open();
  return plane;
}
