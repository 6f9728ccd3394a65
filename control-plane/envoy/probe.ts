/** Can this Envoy be used? Its version, and whether our module fits it, before the first start rather than by a refused listener. */
import { createHash } from 'node:crypto';
import { readFileSync, type Stats, statSync } from 'node:fs';
import { SidestepError } from '../model/error.ts';
import { type DynamicSymbols, readDynamicSymbols } from './elf.ts';
import type { EnvoyLauncher } from './ports.ts';

export interface EnvoyRequirements {
  /** Absolute paths. */
  readonly binary: string;
  readonly module: string;
  /** Exactly this one; undefined: any that is not too old. */
  readonly version: string | undefined;
  /** Who must be able to read both. */
  readonly uid: number;
}

export interface ProbedEnvoy {
  readonly version: string;
  /** Hash of the module's content. */
  readonly moduleHash: string;
}

/** The first whose modules may be as ours is. */
const OLDEST = [1, 40] as const;
const CALLBACK = 'envoy_dynamic_module_callback_';
const HOOK = 'envoy_dynamic_module_on_';
/** What the module lives by; what else it asks for is read from it. */
const NEEDED = ['get_socket_fd', 'restore_local_address', 'set_filter_state'].map(
  (name) => `${CALLBACK}listener_filter_${name}`,
);
/** What Envoy looks for in it. */
const HOOKS = ['program_init', 'listener_filter_config_new', 'listener_filter_new', 'listener_filter_on_accept'].map(
  (name) => `${HOOK}${name}`,
);

/** @throws ENVOY_MISSING, ENVOY_VERSION, ENVOY_MODULE_MISSING, ENVOY_MODULE_MISMATCH */
export async function probeEnvoy(
  { binary, module, version, uid }: EnvoyRequirements,
  launcher: Pick<EnvoyLauncher, 'version'>,
): Promise<ProbedEnvoy> {
  requireAccess('ENVOY_MISSING', binary, uid, 0o111);
  requireAccess('ENVOY_MODULE_MISSING', module, uid, 0o444);
  const found = parseVersion(binary, await launcher.version(binary));
  if (version !== undefined && found !== version)
    throw new SidestepError('ENVOY_VERSION', `${binary} is ${found}, wanted is ${version}`, { path: binary });
  const [major = 0, minor = 0] = found.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    throw new SidestepError('ENVOY_VERSION', `${binary} is ${found}, older than ${OLDEST.join('.')}`, { path: binary });
  requireFit(module, symbolsOf('ENVOY_MODULE_MISMATCH', module), symbolsOf('ENVOY_VERSION', binary));
  return { version: found, moduleHash: createHash('sha256').update(readFileSync(module)).digest('hex') };
}

/** `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL` */
export function parseVersion(binary: string, text: string): string {
  const version = /version:\s*[0-9a-f]+\/(\d+\.\d+\.\d+[^/\s]*)\//.exec(text)?.[1];
  if (version === undefined)
    throw new SidestepError('ENVOY_MISSING', `${binary} --version does not answer as Envoy does: ${firstLine(text)}`, {
      path: binary,
    });
  return version;
}

function firstLine(text: string): string {
  return JSON.stringify(text.trim().split('\n')[0]?.slice(0, 200) ?? '');
}

function symbolsOf(code: 'ENVOY_MODULE_MISMATCH' | 'ENVOY_VERSION', path: string): DynamicSymbols {
  try {
    return readDynamicSymbols(path);
  } catch (cause) {
    throw new SidestepError(code, `${path}: ${cause instanceof Error ? cause.message : cause}`, { cause, path });
  }
}

function requireFit(path: string, module: DynamicSymbols, envoy: DynamicSymbols): void {
  const mismatch = (what: string): SidestepError =>
    new SidestepError('ENVOY_MODULE_MISMATCH', `${path}: ${what}`, { path });
  if (module.machine !== envoy.machine) throw mismatch('it is for another processor than Envoy');
  const hook = HOOKS.find((name) => !module.defined.has(name));
  if (hook !== undefined) throw mismatch(`it is no listener filter of Envoy, ${hook} is missing`);
  const asked = [...module.undefined].filter((name) => name.startsWith(CALLBACK));
  const lacking = [...new Set([...NEEDED, ...asked])].filter((name) => !envoy.defined.has(name));
  if (lacking.length > 0) throw mismatch(`this Envoy does not offer ${lacking.join(', ')}`);
}

/** Whether a user who is nobody special may use the file. */
function requireAccess(code: 'ENVOY_MISSING' | 'ENVOY_MODULE_MISSING', path: string, uid: number, bits: number): void {
  const error = (why: string): SidestepError => new SidestepError(code, `${path} ${why}`, { path });
  let stat: Stats;
  try {
    stat = statSync(path);
  } catch {
    throw error('is not there');
  }
  if (!stat.isFile()) throw error('is not a file');
  if (uid === 0) return;
  const may = (at: Stats, wanted: number): boolean => (at.mode & (at.uid === uid ? 0o700 : 0o007) & wanted) !== 0;
  // Both are opened by us and handed over: the folders above them do not matter.
  if (!may(stat, bits)) throw error(`may not be used by user ${uid}`);
}
