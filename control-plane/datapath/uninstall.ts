/** Takes an instance out of the kernel: hooks first, then tables. The node is as before. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Kernel } from './kernel.ts';
import { linkPin, type Pins, parseLinkPin } from './pins.ts';

export interface Uninstalled {
  readonly links: number;
  readonly maps: number;
}

export function uninstallDatapath(kernel: Kernel, pins: Pins): Uninstalled {
  let links = 0;
  if (existsSync(pins.links))
    for (const name of readdirSync(pins.links)) {
      const parsed = parseLinkPin(name);
      if (parsed === undefined) continue;
      const path = linkPin(pins, parsed.ifindex, parsed.point);
      const link = kernel.openLink(path);
      if (link.ifindex !== 0) link.detach();
      link.close();
      rmSync(path);
      links++;
    }
  links += detachFilters(kernel, pins);
  const maps = existsSync(pins.maps) ? readdirSync(pins.maps) : [];
  for (const map of maps) rmSync(join(pins.maps, map));
  for (const folder of [pins.links, pins.maps, pins.root, dirname(pins.root)]) removeEmpty(folder);
  return { links, maps: maps.length };
}

/** clsact filters have no pin; the endpoints table says where they are. */
function detachFilters(kernel: Kernel, pins: Pins): number {
  const path = join(pins.maps, 'endpoints');
  if (!existsSync(path)) return 0;
  const endpoints = kernel.openMap(path);
  const existing = new Set(kernel.interfaces().map((i) => i.ifindex));
  const { keys, count } = endpoints.dump();
  const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
  let detached = 0;
  for (let i = 0; i < count; i++) {
    const ifindex = view.getUint32(i * 4, true);
    if (!existing.has(ifindex)) continue;
    for (const point of ['ingress', 'egress'] as const) {
      if (kernel.clsactProgram(ifindex, point) === 0) continue;
      kernel.detachClsact(ifindex, point);
      detached++;
    }
  }
  endpoints.close();
  return detached;
}

/** Other instances may live in the parent folder. */
function removeEmpty(folder: string): void {
  if (existsSync(folder) && readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
}
