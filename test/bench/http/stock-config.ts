/** Configurations of Envoy as others run it: nothing of ours in them, defaults wherever there are some. */
import { type Certificate, type Certificates, spiffeId } from './certificates.ts';

export interface Address {
  readonly address: string;
  readonly port: number;
}

export interface Hop {
  readonly listen: Address;
  readonly upstream: Address;
  /** Socket of the access log service that every request is told to; none: no log. */
  readonly log?: string;
}

const type = (name: string): { '@type': string } => ({ '@type': `type.googleapis.com/${name}` });
const TLS = 'envoy.extensions.transport_sockets.tls.v3';
const LOG_CLUSTER = 'log';

/** Takes plain requests and sends them on. */
export function plainHop(hop: Hop): object {
  return configuration(hop, {}, {});
}

/** The client's sidecar: plain from its workload, mTLS to the server's. */
export function clientSidecar(hop: Hop, { client, authority }: Certificates): object {
  return configuration(hop, {}, { transport_socket: tls('UpstreamTlsContext', client, authority, 'server') });
}

/** The server's sidecar: mTLS from the client's, plain to its workload. */
export function serverSidecar(hop: Hop, { server, authority }: Certificates): object {
  return configuration(hop, { transport_socket: tls('DownstreamTlsContext', server, authority, 'client') }, {});
}

function configuration(hop: Hop, downstream: object, upstream: object): object {
  return {
    static_resources: {
      listeners: [
        {
          name: 'http',
          address: socketAddress(hop.listen),
          filter_chains: [{ ...downstream, filters: [{ name: 'http', typed_config: connectionManager(hop.log) }] }],
        },
      ],
      clusters: [
        cluster('upstream', socketAddress(hop.upstream), upstream),
        ...(hop.log === undefined ? [] : [cluster(LOG_CLUSTER, { pipe: { path: hop.log } }, http2())]),
      ],
    },
  };
}

function connectionManager(log: string | undefined): object {
  const route = { match: { prefix: '/' }, route: { cluster: 'upstream', timeout: '0s' } };
  return {
    ...type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'http',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
    http_filters: [{ name: 'router', typed_config: type('envoy.extensions.filters.http.router.v3.Router') }],
    ...(log === undefined ? {} : { access_log: [accessLog()] }),
  };
}

/** Buffered as Sidestep's is (control-plane/traffic/listener.ts). */
function accessLog(): object {
  return {
    name: 'log',
    typed_config: {
      ...type('envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig'),
      common_config: {
        log_name: 'bench',
        transport_api_version: 'V3',
        grpc_service: { envoy_grpc: { cluster_name: LOG_CLUSTER } },
        buffer_flush_interval: '0.2s',
        buffer_size_bytes: 256 << 10,
      },
      additional_request_headers_to_log: [':method'],
    },
  };
}

function cluster(name: string, address: object, more: object): object {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '2s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
    ...more,
  };
}

function http2(): object {
  const options = {
    ...type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
    explicit_http_config: { http2_protocol_options: {} },
  };
  return { typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options } };
}

/** Each proves who it is, and asks who the other is. */
function tls(context: string, own: Certificate, authority: string, peer: string): object {
  return {
    name: 'tls',
    typed_config: {
      ...type(`${TLS}.${context}`),
      ...(context === 'DownstreamTlsContext' ? { require_client_certificate: true } : {}),
      common_tls_context: {
        alpn_protocols: ['http/1.1'],
        tls_certificates: [{ certificate_chain: { filename: own.chain }, private_key: { filename: own.key } }],
        validation_context: {
          trusted_ca: { filename: authority },
          match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: spiffeId(peer) } }],
        },
      },
    },
  };
}

function socketAddress({ address, port }: Address): object {
  return { socket_address: { address, port_value: port } };
}
