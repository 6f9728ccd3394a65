/** Where does Envoy take connections, and what does it do with them? Static: policy comes with the routes. */
import type { XdsMessages } from '../generated/xds.ts';
import type { Direction } from '../model/policy.ts';
import { headerFilters } from './header-actions.ts';
import {
  ACCESS_LOG,
  AGENT_CLUSTER,
  DIRECTIONS,
  FILTER_STATE,
  ROUTE_CONFIGURATION,
  rbacFilter,
  TLS_CHAIN,
} from './names.ts';
import { denyAll, type ServedRuleset } from './rbac.ts';
import { tlsChain } from './tls.ts';

type Listener = XdsMessages['envoy.config.listener.v3.Listener'];
type FilterChain = XdsMessages['envoy.config.listener.v3.FilterChain'];
type ConnectionManager =
  XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'];
type HttpFilter = XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'];
type ResponseMapper = XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper'];
type AccessLog = XdsMessages['envoy.config.accesslog.v3.AccessLog'];

export interface ListenerOptions {
  /** The identity module, an absolute path. */
  readonly modulePath: string;
  /** And the next ones, one for each mark. */
  readonly port: number;
  /** On what Envoy answers, by the kind of connection: enum listener_kind in bpf/include/shared.h, from 1 on. */
  readonly marks: readonly number[];
}

const SOL_SOCKET = 1;
const SO_MARK = 36;

const YES = { value: true } as const;
const NO = { value: false } as const;
const NEVER = {} as const;
const FLUSH_NANOS = 200_000_000;
/** Entries beyond it are dropped while the agent does not read. */
const LOG_BUFFER_BYTES = 256 << 10;

export function listeners(options: ListenerOptions, rulesets: readonly ServedRuleset[]): Listener[] {
  const chains = [tlsChain(rulesets), httpChain(rulesets)];
  return [listener('sidestep-v4', '127.0.0.1', chains, options), listener('sidestep-v6', '::1', chains, options)];
}

/**
 * On loopback only; the kernel hands it connections to other addresses. Those that connection tracking has not seen, and
 * those that came through the tunnel, are handed to sockets of their own, whose mark what they accept inherits, the SYN-ACK
 * included.
 */
function listener(
  name: string,
  address: string,
  chains: readonly FilterChain[],
  { modulePath, port, marks }: ListenerOptions,
): Listener {
  return {
    name,
    address: { socket_address: { address, port_value: port } },
    additional_addresses: marks.map((mark, i) => ({
      address: { socket_address: { address, port_value: port + 1 + i } },
      socket_options: {
        socket_options: [{ level: SOL_SOCKET, name: SO_MARK, int_value: mark, state: 'STATE_PREBIND' }],
      },
    })),
    transparent: YES,
    listener_filters: [
      {
        name: 'sidestep.identity',
        typed_config: {
          '@type': 'envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter',
          dynamic_module_config: { module: { local: { filename: modulePath } }, do_not_close: true },
          filter_name: 'identity',
        },
      },
      // Whether it is TLS, and for which name: from what the client says first, which is left for who comes next.
      {
        name: 'envoy.filters.listener.tls_inspector',
        typed_config: { '@type': 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
      },
      // The backend sees the client's own address.
      {
        name: 'envoy.filters.listener.original_src',
        typed_config: { '@type': 'envoy.extensions.filters.listener.original_src.v3.OriginalSrc' },
      },
    ],
    access_log: [tlsAccessLog()],
    // Who says nothing at first is no TLS client, and is waited for by what waits for requests.
    continue_on_listener_filters_timeout: true,
    filter_chains: chains,
  };
}

function httpChain(rulesets: readonly ServedRuleset[]): FilterChain {
  return {
    name: 'http',
    filters: [
      {
        name: 'envoy.filters.network.http_connection_manager',
        typed_config: {
          '@type': 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
          ...connectionManager(rulesets),
        },
      },
    ],
  };
}

function connectionManager(rulesets: readonly ServedRuleset[]): ConnectionManager {
  return {
    codec_type: 'AUTO',
    stat_prefix: 'sidestep',
    rds: { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: ROUTE_CONFIGURATION },
    // An end that comes later sees what the one before it has changed.
    http_filters: [...DIRECTIONS.flatMap((end) => [rbac(end), ...headerFilters(end, rulesets)]), router()],
    access_log: [accessLog()],
    local_reply_config: { mappers: [refusal()] },
    // What rules are held against is what the backend gets.
    normalize_path: YES,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'REJECT_REQUEST',
    strip_matching_host_port: false,
    // Nothing is to show that there is somebody in between.
    server_header_transformation: 'PASS_THROUGH',
    use_remote_address: NO,
    skip_xff_append: true,
    generate_request_id: NO,
    stream_idle_timeout: NEVER,
    // As over HTTP/2: which methods there are is for the rules and the backend to say.
    http_protocol_options: { accept_http_10: true, allow_custom_methods: true },
    upgrade_configs: [{ upgrade_type: 'websocket' }],
  };
}

function rbac(direction: Direction): HttpFilter {
  return {
    name: rbacFilter(direction),
    typed_config: { '@type': 'envoy.extensions.filters.http.rbac.v3.RBAC', ...denyAll(direction) },
  };
}

function router(): HttpFilter {
  return {
    name: 'envoy.filters.http.router',
    typed_config: { '@type': 'envoy.extensions.filters.http.router.v3.Router', suppress_envoy_headers: true },
  };
}

/** Only what an RBAC filter refuses: another local reply keeps its own body. Their metadata is written too late for this. */
function refusal(): ResponseMapper {
  return {
    filter: expression("response.code_details.startsWith('rbac_access_denied_matched_policy[')"),
    body: { inline_string: 'Access denied\r\n' },
  };
}

function accessLog(): AccessLog {
  return {
    name: 'envoy.access_loggers.http_grpc',
    typed_config: {
      '@type': 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig',
      common_config: toAgent(),
      // A method that has no number (PURGE, PROPFIND) is told in no other way.
      additional_request_headers_to_log: [':method'],
    },
  };
}

/** Of each connection of the chain that passes TLS on, when it has ended: refused ones end at once. */
function tlsAccessLog(): AccessLog {
  return {
    name: 'envoy.access_loggers.tcp_grpc',
    filter: expression(`xds.filter_chain_name == '${TLS_CHAIN}'`),
    typed_config: {
      '@type': 'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig',
      common_config: toAgent(),
    },
  };
}

function toAgent(): XdsMessages['envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig'] {
  return {
    log_name: ACCESS_LOG,
    grpc_service: { envoy_grpc: { cluster_name: AGENT_CLUSTER } },
    transport_api_version: 'V3',
    buffer_flush_interval: { nanos: FLUSH_NANOS },
    buffer_size_bytes: { value: LOG_BUFFER_BYTES },
    filter_state_objects_to_log: FILTER_STATE,
  };
}

/** In the common expression language. */
function expression(text: string): XdsMessages['envoy.config.accesslog.v3.AccessLogFilter'] {
  return {
    extension_filter: {
      name: 'envoy.access_loggers.extension_filters.cel',
      typed_config: {
        '@type': 'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter',
        expression: text,
      },
    },
  };
}
