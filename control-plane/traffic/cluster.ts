/** Where does an admitted request go? Where its client sent it. */
import type { XdsMessages } from '../generated/xds.ts';
import { ORIGINAL_DESTINATION } from './names.ts';

/** Source ports of Envoy's own connections; nobody else on the node may use them. */
const FIRST_PORT = 61000;
const LAST_PORT = 65535;
/** The option's value: the last port in the upper half, the first in the lower. */
const PORT_RANGE = LAST_PORT * 2 ** 16 + FIRST_PORT;
/** SOL_IP, IP_LOCAL_PORT_RANGE; an IPv6 socket takes the option on the same level. */
const SOL_IP = 0;
const IP_LOCAL_PORT_RANGE = 51;
/** Envoy's own limit is 1024 for all connections of the node together; ours are elsewhere. */
const UNLIMITED = { value: 2 ** 32 - 1 } as const;
const IDLE_SECONDS = 300;

export function originalDestination(): XdsMessages['envoy.config.cluster.v3.Cluster'] {
  return {
    name: ORIGINAL_DESTINATION,
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: { seconds: 2 },
    upstream_bind_config: {
      socket_options: [{ level: SOL_IP, name: IP_LOCAL_PORT_RANGE, int_value: PORT_RANGE, state: 'STATE_PREBIND' }],
    },
    circuit_breakers: {
      thresholds: [
        {
          max_connections: UNLIMITED,
          max_pending_requests: UNLIMITED,
          max_requests: UNLIMITED,
          max_retries: UNLIMITED,
        },
      ],
    },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        common_http_protocol_options: { idle_timeout: { seconds: IDLE_SECONDS } },
        // A client that speaks HTTP/2 (gRPC) meets a server that does.
        use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} },
      },
    },
  };
}
