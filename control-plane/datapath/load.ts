/** Puts our programs and tables into the kernel, or takes over those of an earlier agent. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { encodeConfig, MAPS, type MapName, RODATA } from '../generated/bpf.ts';
import { SidestepError } from '../model/error.ts';
import type { Kernel, KernelObject } from './kernel.ts';
import type { Pins } from './pins.ts';

/** Idle times in nanoseconds are Cilium's defaults (ct-global-tcp 8000 s, any 60 s, syn 60 s, fin 10 s). */
const SECOND = 1_000_000_000n;
/** All of a workload's quota comes back in this many seconds, answered or not. */
const QUOTA_REFILL_SECONDS = 60n;

export interface DatapathSizes {
  readonly flows: number;
  readonly policyEntries: number;
  readonly ipcache: number;
  /** Ranges with an identity. */
  readonly prefixes: number;
  readonly endpoints: number;
  /** New flows a workload may hold open unanswered. */
  readonly flowQuota: number;
  /** Bytes, a power of two. */
  readonly ringBytes: number;
}

/** How flows reach Envoy; absent: an HTTP rule refuses what it selects. */
export interface SteeringConfig {
  /** A routing hint on steered packets, inside 0xf00. */
  readonly mark: number;
  /** The hint on what Envoy sends and connection tracking must not see. */
  readonly untracked?: number;
  readonly envoyPort: number;
}

/** Source ports of Envoy's upstream connections: from here to 65535, above Linux's default range (60999). */
export const LEG_PORT_FIRST = 61000;
const LOOPBACK_IFINDEX = 1;

/** Must be encrypted: a rule leads such packets into the tunnel and nowhere else. */
export const MARK_TO_TUNNEL = 0x500;
/** Waited for a proof and is on its way again. */
const MARK_RELEASED = 0x700;
/** DNS that the agent has looked at. */
const MARK_LOOKED_AT = 0x600;

/**
 * Holds nothing from one packet to the next and is laid out as each version likes it: pinned, an upgrade would be refused, because
 * the table that is there does not fit.
 */
const PRIVATE_MAPS: readonly MapName[] = ['scratch'];

export interface Loaded {
  readonly object: KernelObject;
  /** Tables of an earlier agent were found. */
  readonly adopted: boolean;
  /** Size options that could not be honoured because a table of another size is in use. */
  readonly sizeConflicts: readonly { readonly map: MapName; readonly wanted: number; readonly actual: number }[];
}

/** Where the compiled programs are: beside the bundle, or in a checkout's build folder. @throws ADDON_MISSING */
export function findObject(moduleFolder: string): string {
  for (const path of [
    join(moduleFolder, 'sidestep.bpf.o'),
    join(moduleFolder, '..', 'sidestep.bpf.o'),
    join(moduleFolder, '..', '..', 'bpf', 'build', 'sidestep.bpf.o'),
  ])
    if (existsSync(path)) return path;
  throw new SidestepError('ADDON_MISSING', 'sidestep.bpf.o is not built');
}

export function loadDatapath(
  kernel: Kernel,
  objectPath: string,
  pins: Pins | undefined,
  sizes: DatapathSizes,
  coarseClock: boolean,
  steering?: SteeringConfig,
): Loaded {
  const wanted: Partial<Record<MapName, number>> = {
    endpoints: sizes.endpoints,
    quotas: sizes.endpoints,
    endpoint_addresses: sizes.endpoints * 4,
    ipcache: sizes.ipcache,
    ipcache_prefixes: sizes.prefixes,
    policy: sizes.policyEntries,
    flows: sizes.flows,
    events: sizes.ringBytes,
  };
  const sizeConflicts: { map: MapName; wanted: number; actual: number }[] = [];
  let adopted = false;
  if (pins) {
    mkdirSync(pins.maps, { recursive: true });
    for (const name of Object.keys(MAPS) as MapName[]) {
      const path = join(pins.maps, name);
      // Earlier versions pinned it; their programs keep theirs until ours are in their place.
      if (PRIVATE_MAPS.includes(name)) rmSync(path, { force: true });
      if (!existsSync(path)) continue;
      adopted = true;
      const map = kernel.openMap(path);
      const size = wanted[name] ?? MAPS[name].maxEntries;
      if (map.maxEntries !== size) {
        sizeConflicts.push({ map: name, wanted: size, actual: map.maxEntries });
        wanted[name] = map.maxEntries;
      }
      map.close();
    }
  }
  const config = encodeConfig({
    scope: 0,
    coarseClock: coarseClock ? 1 : 0,
    quotaTokens: BigInt(sizes.flowQuota),
    quotaIntervalNs: (QUOTA_REFILL_SECONDS * SECOND) / BigInt(sizes.flowQuota),
    establishedNs: 8000n * SECOND,
    openingNs: 60n * SECOND,
    closingNs: 10n * SECOND,
    datagramNs: 60n * SECOND,
    fragmentNs: 30n * SECOND,
    markToEnvoy: steering?.mark ?? 0,
    loopbackIfindex: LOOPBACK_IFINDEX,
    envoyPort: steering?.envoyPort ?? 0,
    legPortFirst: LEG_PORT_FIRST,
    markToTunnel: MARK_TO_TUNNEL,
    markReleased: MARK_RELEASED,
    markUntracked: steering?.untracked ?? 0,
    markLookedAt: MARK_LOOKED_AT,
  });
  const object = kernel.loadObject(readFileSync(objectPath), {
    ...(pins ? { pinDirectory: pins.maps, privateMaps: PRIVATE_MAPS } : {}),
    rodata: [{ offset: RODATA.config.offset, data: config }],
    maxEntries: wanted,
  });
  return { object, adopted, sizeConflicts };
}
