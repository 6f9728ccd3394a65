/** A real Envoy with the identity module and nothing else of ours: a configuration that stands in a file, one rule, a log. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENVOY, fetchText, freePort, MODULE, until } from './real.ts';

/** The ruleset that the rule is for: GET is admitted. */
export const RULESET = 17;

/** What Envoy was told of a connection, as its access log has it. */
export interface Told {
  readonly status: number;
  readonly egress: string;
  readonly ingress: string;
  readonly source_identity: string;
  readonly destination_identity: string;
  readonly generation: string;
  readonly local: string;
  readonly rule: string;
}

const type = (name: string): { '@type': string } => ({ '@type': `type.googleapis.com/${name}` });
const KEYS = ['egress', 'ingress', 'source_identity', 'destination_identity', 'generation'] as const;

function rbac(): object {
  const methodIsGet = {
    single_predicate: {
      input: {
        name: 'method',
        typed_config: { ...type('envoy.type.matcher.v3.HttpRequestHeaderMatchInput'), header_name: ':method' },
      },
      value_match: { exact: 'GET' },
    },
  };
  const allow = {
    action: {
      name: 'allow',
      typed_config: { ...type('envoy.config.rbac.v3.Action'), name: 'get-only', action: 'ALLOW' },
    },
  };
  const ruleset = { matcher: { matcher_list: { matchers: [{ predicate: methodIsGet, on_match: allow }] } } };
  const input = {
    ...type('envoy.extensions.matching.common_inputs.network.v3.FilterStateInput'),
    key: 'sidestep.ingress',
  };
  return {
    ...type('envoy.extensions.filters.http.rbac.v3.RBAC'),
    matcher: {
      matcher_tree: {
        input: { name: 'ruleset', typed_config: input },
        exact_match_map: { map: { [RULESET]: ruleset } },
      },
    },
  };
}

function listener(host: string, port: number, log: string): object {
  const module = {
    module: { local: { filename: MODULE } },
    do_not_close: true,
  };
  const format = {
    status: '%RESPONSE_CODE%',
    ...Object.fromEntries(KEYS.map((key) => [key, `%FILTER_STATE(sidestep.${key}:PLAIN)%`])),
    local: '%DOWNSTREAM_LOCAL_ADDRESS%',
    rule: '%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%',
  };
  const accessLog = {
    ...type('envoy.extensions.access_loggers.file.v3.FileAccessLog'),
    path: log,
    log_format: { json_format: format },
  };
  const route = { match: { prefix: '/' }, route: { cluster: 'original-dst' } };
  const manager = {
    ...type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'test',
    access_log: [{ name: 'file', typed_config: accessLog }],
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
    http_filters: [
      { name: 'rbac', typed_config: rbac() },
      { name: 'router', typed_config: type('envoy.extensions.filters.http.router.v3.Router') },
    ],
  };
  const filter = {
    ...type('envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter'),
    dynamic_module_config: module,
    filter_name: 'identity',
  };
  return {
    name: host,
    address: { socket_address: { address: host, port_value: port } },
    listener_filters: [{ name: 'identity', typed_config: filter }],
    filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }],
  };
}

export class StaticEnvoy {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #log: string;

  private constructor(port: number, child: ChildProcess, log: string) {
    this.port = port;
    this.#child = child;
    this.#log = log;
  }

  /** @param cgroup folder of the cgroup that it runs in: ours, where none is named */
  static async start(folder: string, cgroup?: string): Promise<StaticEnvoy> {
    for (const file of [ENVOY, MODULE]) if (!existsSync(file)) throw new Error(`${file} is missing: run \`make deps\``);
    const port = await freePort();
    const log = join(folder, 'access.log');
    const admin = join(folder, 'admin.sock');
    const config = {
      admin: { address: { pipe: { path: admin } } },
      static_resources: {
        listeners: [listener('127.0.0.1', port, log), listener('::1', port, log)],
        clusters: [
          { name: 'original-dst', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED', connect_timeout: '2s' },
        ],
      },
    };
    const path = join(folder, 'envoy.json');
    writeFileSync(path, JSON.stringify(config));
    writeFileSync(log, '');
    const output = openSync(join(folder, 'envoy.log'), 'a');
    const words = [
      '-c',
      path,
      '--concurrency',
      '1',
      '--disable-hot-restart',
      '-l',
      'warn',
      '--file-flush-interval-msec',
      '20',
    ];
    const enter = cgroup === undefined ? '' : `echo $$ > '${join(cgroup, 'cgroup.procs')}' && `;
    const child = spawn('/bin/sh', ['-c', `${enter}exec "$@"`, 'sh', ENVOY, ...words], {
      stdio: ['ignore', output, output],
    });
    const envoy = new StaticEnvoy(port, child, log);
    const ready = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`Envoy ended: ${readFileSync(join(folder, 'envoy.log'), 'utf8')}`);
      const answer = await fetchText({ socketPath: admin, path: '/ready' }).catch(() => undefined);
      return answer?.status === 200;
    };
    try {
      await until('Envoy is ready', ready);
    } catch (error) {
      await envoy.stop();
      throw error;
    }
    return envoy;
  }

  /** One request on a connection of its own. @returns the answer's status and body, and what Envoy knew */
  async ask(host: string, method = 'GET'): Promise<{ readonly body: string; readonly told: Told }> {
    const before = this.#lines().length;
    const { body } = await fetchText({ host, port: this.port, method, path: '/', agent: false });
    await until('the request is logged', () => this.#lines().length > before);
    return { body, told: JSON.parse(this.#lines()[before] ?? '{}') as Told };
  }

  #lines(): readonly string[] {
    return readFileSync(this.#log, 'utf8').split('\n').slice(0, -1);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
