/** Where this installation has Envoy and the identity module. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const ENVOY_VERSION = '1.40.0';
const MODULE = 'libsidestep_identity.so';

/** The binary; it may not be there. */
export function installedEnvoy(): string {
  return installed('envoy', ['build', 'envoy', ENVOY_VERSION, 'envoy']);
}

/** The module; it may not be there. */
export function installedModule(): string {
  return installed(MODULE, ['native', MODULE]);
}

/** Beside the bundle or in the folder above its chunks; else where a checkout has it. */
function installed(name: string, inCheckout: readonly string[]): string {
  const here = import.meta.dirname;
  const places = [join(here, name), join(here, '..', name), join(here, '..', ...inCheckout)];
  return places.find((path) => existsSync(path)) ?? join(here, '..', '..', ...inCheckout);
}
