/** Where does Envoy take connections, and what does it do with them? Static: policy comes with the routes. */
import type { XdsMessages } from '../generated/xds.ts';
import type { Direction } from '../model/policy.ts';
import { ACCESS_LOG, AGENT_CLUSTER, DIRECTIONS, FILTER_STATE, ROUTE_CONFIGURATION, rbacFilter } from './names.ts';
import { denyAll } from './rbac.ts';

type Listener = XdsMessages['envoy.config.listener.v3.Listener'];
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

export function listeners(options: ListenerOptions): Listener[] {
  return [listener('sidestep-v4', '127.0.0.1', options), listener('sidestep-v6', '::1', options)];
}

/**
 * On loopback only; the kernel hands it connections to other addresses. Those that connection tracking has not seen, and
 * those that came through the tunnel, are handed to sockets of their own, whose mark what they accept inherits, the SYN-ACK
 * included.
 */
function listener(name: string, address: string, { modulePath, port, marks }: ListenerOptions): Listener {
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
      // The backend sees the client's own address.
      {
        name: 'envoy.filters.listener.original_src',
        typed_config: { '@type': 'envoy.extensions.filters.listener.original_src.v3.OriginalSrc' },
      },
    ],
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              ...connectionManager(),
            },
          },
        ],
      },
    ],
  };
}

function connectionManager(): ConnectionManager {
  return {
    codec_type: 'AUTO',
    stat_prefix: 'sidestep',
    rds: { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: ROUTE_CONFIGURATION },
    http_filters: [...DIRECTIONS.map(rbac), router()],
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
    filter: {
      extension_filter: {
        name: 'envoy.access_loggers.extension_filters.cel',
        typed_config: {
          '@type': 'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter',
          expression: "response.code_details.startsWith('rbac_access_denied_matched_policy[')",
        },
      },
    },
    body: { inline_string: 'Access denied\r\n' },
  };
}

function accessLog(): AccessLog {
  return {
    name: 'envoy.access_loggers.http_grpc',
    typed_config: {
      '@type': 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig',
      common_config: {
        log_name: ACCESS_LOG,
        grpc_service: { envoy_grpc: { cluster_name: AGENT_CLUSTER } },
        transport_api_version: 'V3',
        buffer_flush_interval: { nanos: FLUSH_NANOS },
        buffer_size_bytes: { value: LOG_BUFFER_BYTES },
        filter_state_objects_to_log: FILTER_STATE,
      },
      // A method that has no number (PURGE, PROPFIND) is told in no other way.
      additional_request_headers_to_log: [':method'],
    },
  };
}
