/** What to start: binary and module looked at, the configuration written. */
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type BootstrapOptions, bootstrap, commandLine } from './bootstrap.ts';
import type { EnvoyPaths } from './paths.ts';
import type { EnvoyLauncher, EnvoyPlan } from './ports.ts';
import { type EnvoyRequirements, type ProbedEnvoy, probeEnvoy } from './probe.ts';

/** Looks again only at files that changed: a lost Envoy is replaced without running the binary twice. */
export function planner(
  requirements: EnvoyRequirements,
  paths: EnvoyPaths,
  options: BootstrapOptions,
  launcher: Pick<EnvoyLauncher, 'version'>,
): () => Promise<EnvoyPlan> {
  const { binary, module } = requirements;
  let probed: { readonly seen: string; readonly envoy: ProbedEnvoy } | undefined;
  return async () => {
    const seen = `${stampOf(binary)} ${stampOf(module)}`;
    if (probed?.seen !== seen) probed = { seen, envoy: await probeEnvoy(requirements, launcher) };
    const { version, moduleHash } = probed.envoy;
    const text = `${JSON.stringify(bootstrap(paths), undefined, 2)}\n`;
    const args = commandLine(paths, options);
    write(paths.bootstrap, text);
    const configuration = createHash('sha256').update(text).update(args.join('\0')).digest('hex');
    return {
      identity: { binary, version, module: `${module} ${moduleHash}`, configuration },
      command: { binary, arguments: args },
    };
  };
}

function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : [stat.dev, stat.ino, stat.size, stat.mtimeMs, stat.mode].join(':');
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const unfinished = `${path}.new`;
  writeFileSync(unfinished, text, { mode: 0o644 });
  renameSync(unfinished, path);
}
