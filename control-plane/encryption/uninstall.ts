/**
 * Takes the tunnel of an instance away. After the hooks that mark packets: while they stand, their packets are refused once the
 * device has gone, and would go out in the clear once the rule has.
 */
import { rmSync } from 'node:fs';
import { type ProcessCgroup, removeCgroup } from '../process/cgroup.ts';
import { KERNEL_KIND, KernelEngine } from './kernel.ts';
import { tunnelName } from './names.ts';
import type { TunnelKernel } from './ports.ts';
import { TunnelRoutes } from './routes.ts';
import { UserSpaceEngine } from './user-space.ts';
import { tunnelFiles } from './wireguard-process.ts';

export interface TunnelRemains {
  readonly kernel: TunnelKernel;
  readonly instance: string;
  readonly runDir: string;
  readonly cgroup: ProcessCgroup | undefined;
}

const SILENT = { info: () => undefined, warn: () => undefined };

/** The key stays: it is in the state folder. @returns whether there was anything. @throws TUNNEL_FAILED when a process does not end */
export async function removeTunnel({ kernel, instance, runDir, cgroup }: TunnelRemains): Promise<boolean> {
  const name = tunnelName(instance);
  const routes = new TunnelRoutes(kernel, instance, name);
  const device = kernel.interfaces().find((each) => each.name === name);
  if (device) routes.shut(device.ifindex);
  if (device?.kind === KERNEL_KIND) await new KernelEngine(kernel, name).stop();
  await new UserSpaceEngine(kernel, { name, binary: '', runDir, cgroup }, SILENT).stop();
  const found = routes.remove();
  for (const path of Object.values(tunnelFiles(runDir))) rmSync(path, { force: true });
  if (cgroup) removeCgroup(cgroup);
  return found || device !== undefined;
}
