/** Which WireGuard can this node have? The kernel's own where there is one, else a process on a TUN device (docs/adr/0010). */
import { accessSync, constants, statSync } from 'node:fs';
import { SidestepError } from '../model/error.ts';

/** What TUN and TAP devices are made by. */
export const TUN = '/dev/net/tun';

export type TunnelKind = 'kernel' | 'user-space';

export interface TunnelSupport {
  readonly kernel: boolean;
  readonly userSpace: boolean;
  /** TUN and TAP devices; packets that wait for a proof need them with either kind. */
  readonly tun: boolean;
  /** Why there is no process on a TUN device; undefined: there can be. */
  readonly missing: string | undefined;
}

/** @param wireguard Kernel.features().wireguard. @param binary of wireguard-go */
export function tunnelSupport(wireguard: boolean, binary: string, tun: string = TUN): TunnelSupport {
  const tunThere = statSync(tun, { throwIfNoEntry: false })?.isCharacterDevice() ?? false;
  const missing = whyNot(binary, tun, tunThere);
  return { kernel: wireguard, userSpace: missing === undefined, tun: tunThere, missing };
}

function whyNot(binary: string, tun: string, tunThere: boolean): string | undefined {
  try {
    if (!statSync(binary).isFile()) return `${binary} is not a program`;
    accessSync(binary, constants.X_OK);
  } catch {
    return `${binary} is not there, or cannot be run`;
  }
  return tunThere ? undefined : `${tun} is not there (CONFIG_TUN)`;
}

/**
 * @param wanted `auto`: the kernel's own where there is one
 * @throws TUNNEL_UNAVAILABLE
 */
export function chooseTunnel(wanted: 'auto' | TunnelKind, support: TunnelSupport): TunnelKind {
  if (wanted !== 'user-space' && support.kernel) return 'kernel';
  if (wanted !== 'kernel' && support.userSpace) return 'user-space';
  const noKernel = wanted === 'user-space' ? [] : ['this kernel has no WireGuard (CONFIG_WIREGUARD)'];
  const noProcess = wanted === 'kernel' ? [] : [support.missing];
  throw new SidestepError('TUNNEL_UNAVAILABLE', [...noKernel, ...noProcess].join('; '));
}
