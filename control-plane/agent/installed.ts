/** Where this installation has the programs that it starts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Beside the bundle or in the folder above its chunks; else where a checkout has it. It may not be there. */
export function installed(name: string, inCheckout: readonly string[]): string {
  const here = import.meta.dirname;
  const places = [join(here, name), join(here, '..', name), join(here, '..', ...inCheckout)];
  return places.find((path) => existsSync(path)) ?? join(here, '..', '..', ...inCheckout);
}

export function installedWireGuard(): string {
  return installed('wireguard-go', ['build', 'wireguard-go']);
}
