/** Where one instance keeps what must survive the agent. */
import { join } from 'node:path';

export interface Pins {
  /** Folder of the instance, removed by uninstall. */
  readonly root: string;
  readonly maps: string;
  readonly links: string;
}

/** @param bpffs mount point of a bpf file system, e.g. /sys/fs/bpf */
export function pinsOf(bpffs: string, instance: string): Pins {
  const root = join(bpffs, 'sidestep', instance);
  return { root, maps: join(root, 'maps'), links: join(root, 'links') };
}

export type AttachPointName = 'ingress' | 'egress';

export function linkPin(pins: Pins, ifindex: number, point: AttachPointName): string {
  return join(pins.links, `${ifindex}-${point}`);
}

/** @returns undefined for a name that is not a link's */
export function parseLinkPin(name: string): { ifindex: number; point: AttachPointName } | undefined {
  const match = /^(\d+)-(ingress|egress)$/.exec(name);
  return match ? { ifindex: Number(match[1]), point: match[2] as AttachPointName } : undefined;
}
