/** Settings of the tunnel's device in /proc/sys, which follows the network namespace. The device is ours: nothing to restore. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SidestepError } from '../model/error.ts';
import type { Machine } from './ports.ts';

const ROOT = '/proc/sys/net';

interface Setting {
  readonly path: string;
  readonly value: string;
}

function read(root: string, path: string): string | undefined {
  try {
    return readFileSync(join(root, path), 'utf8').trim();
  } catch {
    return undefined;
  }
}

function wanted(root: string, device: string): Setting[] {
  // The larger of `all` and the device's counts. The way back to a tunnelled source is by its mark, which this check of the
  // source does not know; whose source it may be WireGuard itself has checked. Loose (2) lets pass what comes in by a device
  // with an address: without one the kernel is as strict as with 1.
  const strict = read(root, 'ipv4/conf/all/rp_filter') === '1';
  return [
    { path: `ipv4/conf/${device}/rp_filter`, value: strict ? '2' : '0' },
    { path: `ipv6/conf/${device}/disable_ipv6`, value: '0' },
    // No link-local address, and so nothing that the stack would send by itself.
    { path: `ipv6/conf/${device}/addr_gen_mode`, value: '1' },
    { path: `ipv6/conf/${device}/accept_ra`, value: '0' },
  ];
}

/**
 * Before the device is up. What a kernel without IPv6 does not have is left out.
 * @returns paths that had to be written. @throws KERNEL_CALL_FAILED
 */
export function assertDeviceSettings(device: string, root: string = ROOT): string[] {
  const mended: string[] = [];
  for (const { path, value } of wanted(root, device)) {
    const current = read(root, path);
    if (current === undefined || current === value) continue;
    try {
      writeFileSync(join(root, path), value);
    } catch (cause) {
      throw new SidestepError('KERNEL_CALL_FAILED', `${join(root, path)} cannot be set to ${value}`, { cause });
    }
    mended.push(path);
  }
  return mended;
}

export const thisMachine: Machine = {
  settings: (device) => assertDeviceSettings(device),
  // The kernel has a folder for each device of the process's own network namespace.
  hasDevice: (device) => existsSync(join(ROOT, 'ipv4/conf', device)),
  random: Math.random,
};
