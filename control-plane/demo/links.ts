/** The ids of an instance's pinned links, asked of the kernel itself and not of the agent. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Kernel } from '../datapath/kernel.ts';

/** @param folder where the instance pins its links @returns name of the pin -> id of the link */
export function readLinks(kernel: Pick<Kernel, 'openLink'>, folder: string): ReadonlyMap<string, number> {
  const links = new Map<string, number>();
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const link = kernel.openLink(join(folder, name));
    links.set(name, link.id);
    link.close();
  }
  return links;
}
