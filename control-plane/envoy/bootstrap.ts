/** What Envoy is told at its start: where the agent is. Everything else comes from there. */
import type { EnvoyPaths } from './paths.ts';

export interface BootstrapOptions {
  /** Worker threads. */
  readonly concurrency: number;
  /** Connections whose listener went have so long to end. */
  readonly drainSeconds: number;
  /** Refuse configuration with fields that this Envoy does not know, instead of leaving them out. */
  readonly rejectUnknownFields: boolean;
}

export const AGENT_CLUSTER = 'sidestep-agent';

const ads = { resource_api_version: 'V3', ads: {} } as const;

export function bootstrap(paths: EnvoyPaths): object {
  return {
    node: { id: 'sidestep', cluster: 'sidestep' },
    admin: { address: { pipe: { path: paths.admin, mode: 0o600 } } },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        set_node_on_first_message_only: true,
        grpc_services: [
          {
            envoy_grpc: {
              cluster_name: AGENT_CLUSTER,
              // An agent that restarts is back in a second; Envoy's own choice is up to 30.
              retry_policy: { retry_back_off: { base_interval: '0.1s', max_interval: '1s' } },
            },
          },
        ],
      },
      lds_config: ads,
      cds_config: ads,
    },
    static_resources: { clusters: [agentCluster(paths)] },
    // File descriptors are the true limit; without one here Envoy warns at each start.
    overload_manager: {
      resource_monitors: [
        {
          name: 'envoy.resource_monitors.global_downstream_max_connections',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
            max_active_downstream_connections: 1_000_000,
          },
        },
      ],
    },
  };
}

function agentCluster(paths: EnvoyPaths): object {
  return {
    name: AGENT_CLUSTER,
    type: 'STATIC',
    connect_timeout: '1s',
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: {
          http2_protocol_options: { connection_keepalive: { interval: '10s', timeout: '10s' } },
        },
      },
    },
    load_assignment: {
      cluster_name: AGENT_CLUSTER,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: paths.discovery } } } }] }],
    },
  };
}

export function commandLine(paths: EnvoyPaths, options: BootstrapOptions): string[] {
  return [
    ...['-c', paths.bootstrap],
    ...['--concurrency', String(options.concurrency)],
    // Another Envoy, of another instance, is none of ours: no shared memory, no parent.
    '--disable-hot-restart',
    ...['-l', 'warn'],
    ...['--log-path', paths.log],
    ...['--log-format', '%Y-%m-%dT%T.%e %l %n %v'],
    ...['--drain-time-s', String(options.drainSeconds)],
    ...(options.rejectUnknownFields ? ['--reject-unknown-dynamic-fields'] : []),
  ];
}
