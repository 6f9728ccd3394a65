/** One configuration object: defaults, then a file, then the environment, then flags. Every value knows where it is from. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { availableParallelism, hostname } from 'node:os';
import { parse } from 'yaml';
import * as z from 'zod/mini';
import { isTrustDomain } from '../auth/spiffe-id.ts';
import { parsePrefix } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';

/** A number within bounds; flags and variables are text. */
const count = (least: number, most: number) =>
  z.pipe(
    z.coerce.number(`must be a number, ${least} to ${most}`),
    z
      .int(`must be a whole number, ${least} to ${most}`)
      .check(z.gte(least, `must be at least ${least}`), z.lte(most, `must be at most ${most}`)),
  );
const choice = <const T extends readonly [string, ...string[]]>(words: T) =>
  z.enum(words, `must be one of ${words.join(', ')}`);
const path = z.string().check(z.startsWith('/', 'must be an absolute path'));
const name = z.string().check(z.minLength(1, 'must not be empty'));
const powerOfTwo = count(4096, 1 << 30).check(z.refine((n) => (n & (n - 1)) === 0, 'must be a power of two'));
const prefix = z.string().check(
  z.refine((text) => {
    try {
      parsePrefix(text);
      return true;
    } catch {
      return false;
    }
  }, 'must be a prefix such as 10.0.0.0/16'),
);

const address = z.string().check(z.refine((text) => isIP(text) !== 0, 'must be an IPv4 or IPv6 address'));
const IPSEC_REFUSED =
  "ipsec is not offered: its keys cannot be bound to what was proven as WireGuard's can (docs/concepts/authentication.md); use auth, on or strict";

/** Option -> shape, default, meaning. The flag is --kebab-case, the variable SIDESTEP_UPPER_CASE, the file's key camelCase. */
export const OPTIONS = {
  source: { shape: name, default: undefined, text: 'folder of manifests to watch' },
  node: {
    shape: name,
    default: hostname(),
    text: "name of this node, as in spec.nodeName (default: the host's name)",
  },
  instance: {
    shape: z.string().check(z.regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'must be a-z, 0-9 and -, at most 32')),
    default: 'default',
    text: 'name of this agent; several may run on one machine',
  },
  stateDir: {
    shape: path,
    default: undefined,
    text: 'folder for numbers that survive restarts (default /var/lib/sidestep/INSTANCE)',
  },
  runDir: {
    shape: path,
    default: undefined,
    text: 'folder for sockets (default /run/sidestep/INSTANCE)',
  },
  bpffs: { shape: path, default: '/sys/fs/bpf', text: 'bpf file system for pins' },
  podCidrs: {
    shape: z.pipe(
      z.transform((v: unknown) => (typeof v === 'string' ? v.split(',').filter((s) => s !== '') : v)),
      z.array(prefix, 'must be prefixes'),
    ),
    default: [],
    text: 'ranges of pod addresses: one in them that nobody told us of is "unmanaged", never "world"',
  },
  metricsAddress: {
    shape: z.string().check(z.regex(/^(\[[0-9a-f:]+\]|[^:[\]]+):\d+$/, 'must be HOST:PORT')),
    default: undefined,
    text: 'also serve /metrics, /healthz and /readyz here',
  },
  envoy: {
    shape: path,
    default: undefined,
    text: 'the Envoy binary (default: the one that make deps installed); started only while an HTTP rule needs it',
  },
  envoyModule: {
    shape: path,
    default: undefined,
    text: 'the identity module that Envoy loads (default: the one of this installation)',
  },
  envoyPort: {
    shape: count(1, 65534),
    default: 15001,
    text: "port of Envoy's listeners on loopback, with the next one; nobody connects to them directly",
  },
  envoyConcurrency: {
    shape: count(1, 256),
    default: Math.min(2, availableParallelism()),
    text: 'worker threads of Envoy',
  },
  envoyIdleSeconds: {
    shape: count(0, 86400),
    default: 30,
    text: 'Envoy ends when no HTTP rule has needed it for so long',
  },
  envoyStrict: {
    shape: choice(['true', 'false']),
    default: 'false',
    text: 'refuse configuration with fields that this Envoy does not know, instead of leaving them out',
  },
  encryption: {
    shape: z.pipe(
      z.string().check(z.refine((word) => word !== 'ipsec', IPSEC_REFUSED)),
      choice(['off', 'auth', 'on', 'strict']),
    ),
    default: 'auth',
    text: 'between nodes: off, auth (what a policy wants authenticated), on (all pod traffic), strict (nothing else leaves)',
  },
  trustDomain: {
    shape: z.string().check(z.refine(isTrustDomain, 'must be a SPIFFE trust domain: a-z, 0-9, dots and dashes')),
    default: 'cluster.local',
    text: 'trust domain of the identities that certificates name',
  },
  svidSource: {
    shape: choice(['embedded', 'files', 'spire']),
    default: 'embedded',
    text: "where workloads' certificates come from",
  },
  ca: {
    shape: choice(['auto', 'true', 'false']),
    default: 'auto',
    text: 'hold the key of the embedded CA (auto: when this node is the only one and has no join token)',
  },
  caPort: { shape: count(1, 65535), default: 4251, text: 'TCP port of the embedded CA' },
  joinTokenFile: {
    shape: path,
    default: undefined,
    text: 'token from `sidestep ca token NODE`, with which this node gets its first certificate',
  },
  svidDir: { shape: path, default: undefined, text: 'folder of certificates, for --svid-source files' },
  spireWorkloadSocket: {
    shape: path,
    default: '/run/spire/sockets/agent.sock',
    text: "SPIRE's Workload API, for --svid-source spire",
  },
  spireAdminSocket: {
    shape: path,
    default: '/run/spire/sockets/admin.sock',
    text: "SPIRE's Delegated Identity API, for --svid-source spire",
  },
  nodeAddresses: {
    shape: z.pipe(
      z.transform((v: unknown) => (typeof v === 'string' ? v.split(',').filter((s) => s !== '') : v)),
      z.array(address, 'must be addresses'),
    ),
    default: [],
    text: 'where other nodes reach this one, in order of preference (default: its own addresses)',
  },
  sessionPort: { shape: count(1, 65535), default: 4250, text: 'TCP port of sessions between agents' },
  tunnelPort: { shape: count(1, 65535), default: 51871, text: 'UDP port of the tunnel between nodes' },
  tunnelMtu: { shape: count(1280, 65535), default: undefined, text: "the tunnel's MTU (default: the link's, less 80)" },
  tunnelKeyAgeSeconds: {
    shape: count(0, 10 * 365 * 86_400),
    default: 30 * 86_400,
    text: "the tunnel's key of this node is replaced after this, without loss (0: only by `sidestep tunnel rotate`)",
  },
  wireguard: {
    shape: path,
    default: undefined,
    text: 'the user-space WireGuard, where the kernel has none (default: the one that make deps installed)',
  },
  enforcement: {
    shape: choice(['default', 'always', 'never']),
    default: 'default',
    text: 'default: what policies select is closed but for what they admit; always: everything is; never: nothing is refused',
  },
  policyAuditMode: {
    shape: choice(['true', 'false']),
    default: 'false',
    text: 'audit every policy: what it would refuse passes, with the verdict AUDIT',
  },
  enrol: {
    shape: choice(['all', 'labelled']),
    default: 'all',
    text: 'workloads that policy is enforced for; labelled: of namespaces with the label sidestep.dev/enrolled: "true"',
  },
  logLevel: {
    shape: choice(['trace', 'debug', 'info', 'warn', 'error']),
    default: 'info',
    text: 'least level that is logged',
  },
  logFormat: { shape: choice(['auto', 'json', 'pretty']), default: 'auto', text: 'auto: pretty on a terminal' },
  flowHistory: { shape: count(16, 10_000_000), default: 65535, text: 'flow records kept in memory' },
  flowHistoryBytes: { shape: count(1 << 16, 2 ** 40), default: 64 << 20, text: 'bytes they may take' },
  flows: {
    shape: count(1024, 1 << 26),
    default: 524288,
    text: 'entries of the flow table; at least 2048 times the CPUs',
  },
  policyEntries: { shape: count(256, 1 << 24), default: 131072, text: 'entries of all policy tables together' },
  ipcache: { shape: count(256, 1 << 24), default: 131072, text: 'addresses with an identity' },
  prefixes: {
    shape: count(16, 1 << 24),
    default: 65536,
    text: 'ranges of addresses with an identity: pod ranges, and those that policies name',
  },
  attach: {
    shape: choice(['auto', 'tcx', 'clsact']),
    default: 'auto',
    text: 'how programs sit on a veth; auto: tcx links where the kernel has them (6.6), else clsact filters',
  },
  endpoints: { shape: count(16, 65536), default: 4096, text: 'workloads on this node' },
  flowQuota: { shape: count(16, 1 << 24), default: 65536, text: 'unanswered flows one workload may hold open' },
  ringBytes: { shape: powerOfTwo, default: 4 << 20, text: 'bytes of the event ring' },
} as const satisfies Record<string, { shape: z.ZodMiniType; default: unknown; text: string }>;

export type OptionName = keyof typeof OPTIONS;
export const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];

type Values = { readonly [name in OptionName]: z.infer<(typeof OPTIONS)[name]['shape']> };
/** What is always there in the end. */
type Optional = 'metricsAddress' | 'envoy' | 'envoyModule' | 'joinTokenFile' | 'svidDir' | 'tunnelMtu' | 'wireguard';
export type Config = Omit<Values, Optional> & { readonly [name in Optional]: Values[name] | undefined };
export type ConfigOrigins = Readonly<Record<OptionName, string>>;

export interface LoadedConfig {
  readonly config: Config;
  /** "default", "file PATH", "environment" or "flag". */
  readonly origins: ConfigOrigins;
}

export const flagOf = (name: OptionName): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
export const variableOf = (name: OptionName): string =>
  `SIDESTEP_${name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`;

/**
 * @param flags as the command line gave them, by option name
 * @throws CONFIG_INVALID with the option and where its value is from
 */
export function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  environment: NodeJS.ProcessEnv,
  file: string | undefined,
): LoadedConfig {
  const fromFile = file === undefined ? {} : readFile(file);
  const values: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  for (const name of OPTION_NAMES) {
    const candidates: readonly (readonly [unknown, string])[] = [
      [flags[name], 'flag'],
      [environment[variableOf(name)], 'environment'],
      [fromFile[name], `file ${file}`],
      [OPTIONS[name].default, 'default'],
    ];
    const [value, origin] = candidates.find(([candidate]) => candidate !== undefined) ?? [undefined, 'default'];
    origins[name] = origin;
    values[name] = value === undefined ? undefined : check(name, value, origin);
  }
  values['stateDir'] ??= `/var/lib/sidestep/${values['instance']}`;
  values['runDir'] ??= `/run/sidestep/${values['instance']}`;
  if (values['source'] === undefined)
    throw new SidestepError('CONFIG_INVALID', 'source: no folder of manifests given', {
      hint: 'Add --source DIR, or set SIDESTEP_SOURCE.',
    });
  return { config: values as unknown as Config, origins: origins as ConfigOrigins };
}

function check(name: OptionName, value: unknown, origin: string): unknown {
  const result = (OPTIONS[name].shape as z.ZodMiniType).safeParse(value);
  if (result.success) return result.data;
  const why = result.error.issues.map((issue) => issue.message).join('; ');
  throw new SidestepError('CONFIG_INVALID', `${name} (${origin}): ${JSON.stringify(value)}: ${why}`, { path: name });
}

function readFile(file: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = parse(readFileSync(file, 'utf8')) ?? {};
  } catch (cause) {
    throw new SidestepError(
      'CONFIG_INVALID',
      `${file} cannot be read: ${cause instanceof Error ? cause.message : cause}`,
      { cause, path: file },
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new SidestepError('CONFIG_INVALID', `${file} must hold a mapping`, { path: file });
  const unknown = Object.keys(value).find((key) => !(OPTION_NAMES as string[]).includes(key));
  if (unknown !== undefined)
    throw new SidestepError('CONFIG_INVALID', `${file}: there is no option ${unknown}`, { path: unknown });
  return value as Readonly<Record<string, unknown>>;
}
