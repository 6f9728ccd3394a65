/** Where Envoy's files are. Envoy, an unprivileged user, may write only into a folder of its own below the run folder. */
import { join } from 'node:path';

export interface EnvoyPaths {
  /** Owned by Envoy's user. */
  readonly folder: string;
  readonly admin: string;
  readonly log: string;
  readonly bootstrap: string;
  readonly record: string;
  /** The agent's discovery and access log service. */
  readonly discovery: string;
}

export function envoyPaths(runDir: string): EnvoyPaths {
  const folder = join(runDir, 'envoy');
  return {
    folder,
    admin: join(folder, 'admin.sock'),
    log: join(folder, 'envoy.log'),
    bootstrap: join(runDir, 'envoy.json'),
    record: join(runDir, 'envoy.pid'),
    discovery: join(runDir, 'xds.sock'),
  };
}
