/** Chooses the kind of tunnel and puts its parts together. */
import { join } from 'node:path';
import type { Clock } from '../model/clock.ts';
import type { ProcessCgroup } from '../process/cgroup.ts';
import { KERNEL_KIND, KernelEngine } from './kernel.ts';
import { loadKeys, replaceKeys } from './keys.ts';
import { tunnelName } from './names.ts';
import { TUNNEL_PORT } from './numbers.ts';
import type { TunnelEngine, TunnelKernel, TunnelLog } from './ports.ts';
import { chooseTunnel, type TunnelKind, tunnelSupport } from './probe.ts';
import { TunnelRoutes } from './routes.ts';
import { thisMachine } from './settings.ts';
import type { TunnelStatus } from './status.ts';
import { SupervisedTunnel } from './supervised.ts';
import { USER_SPACE_KIND, UserSpaceEngine } from './user-space.ts';

export interface TunnelOptions {
  readonly instance: string;
  readonly stateDir: string;
  readonly runDir: string;
  /** What is wanted; a tunnel of an earlier agent is taken over all the same, of whatever kind, as another would lose packets. */
  readonly kind: 'auto' | TunnelKind;
  /** Of wireguard-go. */
  readonly binary: string;
  /** UDP; default TUNNEL_PORT. */
  readonly port?: number;
  /** Of the device; default: that of the way to the peers, less what the tunnel adds. */
  readonly mtu?: number;
  readonly changed?: (status: TunnelStatus) => void;
}

export interface TunnelParts {
  readonly kernel: TunnelKernel;
  /** Kernel.features().wireguard. */
  readonly wireguard: boolean;
  /** For the process: processCgroup(instance, 'tunnel'). undefined: no cgroup2 here. */
  readonly cgroup: ProcessCgroup | undefined;
  readonly clock: Clock;
  readonly log: TunnelLog;
}

/**
 * Nothing is made yet: `ensure` does.
 * @throws TUNNEL_UNAVAILABLE, TUNNEL_KEY_UNSAFE, STATE_UNUSABLE
 */
export function openTunnel(parts: TunnelParts, options: TunnelOptions): SupervisedTunnel {
  const { kernel, clock, log } = parts;
  const { instance, stateDir, port = TUNNEL_PORT, mtu, changed } = options;
  const name = tunnelName(instance);
  const keyFolder = join(stateDir, 'tunnel');
  return new SupervisedTunnel(
    {
      kernel,
      engine: engineFor(kindOf(parts, options, name), parts, options, name),
      routes: new TunnelRoutes(kernel, instance, name),
      keys: loadKeys(keyFolder),
      storeKeys: (keys) => replaceKeys(keyFolder, keys),
      machine: thisMachine,
      clock,
      log,
    },
    { name, port, ...(mtu === undefined ? {} : { mtu }), ...(changed ? { changed } : {}) },
  );
}

function kindOf({ kernel, wireguard }: TunnelParts, { kind, binary }: TunnelOptions, name: string): TunnelKind {
  const there = kernel.interfaces().find((each) => each.name === name)?.kind;
  if (there === KERNEL_KIND) return 'kernel';
  if (there === USER_SPACE_KIND) return 'user-space';
  return chooseTunnel(kind, tunnelSupport(wireguard, binary));
}

function engineFor(kind: TunnelKind, parts: TunnelParts, options: TunnelOptions, name: string): TunnelEngine {
  const { kernel, cgroup, log } = parts;
  if (kind === 'kernel') return new KernelEngine(kernel, name);
  return new UserSpaceEngine(kernel, { name, binary: options.binary, runDir: options.runDir, cgroup }, log);
}
