// Generated from proto/xds.yaml by scripts/generate-xds.ts; do not edit.

/** Message -> field -> `number[|oneof] [repeated |map ]type`; enum -> word -> number. See xds/message-table.ts. */
export const XDS_TABLE = {
  messages: {
    'envoy.config.accesslog.v3.AccessLog': { name: '1 string', filter: '2 envoy.config.accesslog.v3.AccessLogFilter', typed_config: '4|config_type google.protobuf.Any' },
    'envoy.config.accesslog.v3.AccessLogFilter': { extension_filter: '11|filter_specifier envoy.config.accesslog.v3.ExtensionFilter' },
    'envoy.config.accesslog.v3.ExtensionFilter': { name: '1 string', typed_config: '3|config_type google.protobuf.Any' },
    'envoy.config.cluster.v3.CircuitBreakers': { thresholds: '1 repeated envoy.config.cluster.v3.CircuitBreakers.Thresholds' },
    'envoy.config.cluster.v3.CircuitBreakers.Thresholds': { priority: '1 envoy.config.core.v3.RoutingPriority', max_connections: '2 google.protobuf.UInt32Value', max_pending_requests: '3 google.protobuf.UInt32Value', max_requests: '4 google.protobuf.UInt32Value', max_retries: '5 google.protobuf.UInt32Value' },
    'envoy.config.cluster.v3.Cluster': { name: '1 string', type: '2|cluster_discovery_type envoy.config.cluster.v3.Cluster.DiscoveryType', eds_cluster_config: '3 envoy.config.cluster.v3.Cluster.EdsClusterConfig', connect_timeout: '4 google.protobuf.Duration', lb_policy: '6 envoy.config.cluster.v3.Cluster.LbPolicy', load_assignment: '33 envoy.config.endpoint.v3.ClusterLoadAssignment', circuit_breakers: '10 envoy.config.cluster.v3.CircuitBreakers', typed_extension_protocol_options: '36 map google.protobuf.Any', cleanup_interval: '20 google.protobuf.Duration', upstream_bind_config: '21 envoy.config.core.v3.BindConfig', connection_pool_per_downstream_connection: '51 bool' },
    'envoy.config.cluster.v3.Cluster.EdsClusterConfig': { eds_config: '1 envoy.config.core.v3.ConfigSource', service_name: '2 string' },
    'envoy.config.core.v3.Address': { socket_address: '1|address envoy.config.core.v3.SocketAddress', pipe: '2|address envoy.config.core.v3.Pipe' },
    'envoy.config.core.v3.AggregatedConfigSource': { },
    'envoy.config.core.v3.AsyncDataSource': { local: '1|specifier envoy.config.core.v3.DataSource' },
    'envoy.config.core.v3.BindConfig': { source_address: '1 envoy.config.core.v3.SocketAddress', socket_options: '3 repeated envoy.config.core.v3.SocketOption' },
    'envoy.config.core.v3.ConfigSource': { ads: '3|config_source_specifier envoy.config.core.v3.AggregatedConfigSource', initial_fetch_timeout: '4 google.protobuf.Duration', resource_api_version: '6 envoy.config.core.v3.ApiVersion' },
    'envoy.config.core.v3.DataSource': { filename: '1|specifier string', inline_bytes: '2|specifier bytes', inline_string: '3|specifier string' },
    'envoy.config.core.v3.GrpcService': { envoy_grpc: '1|target_specifier envoy.config.core.v3.GrpcService.EnvoyGrpc', timeout: '3 google.protobuf.Duration' },
    'envoy.config.core.v3.GrpcService.EnvoyGrpc': { cluster_name: '1 string' },
    'envoy.config.core.v3.Http1ProtocolOptions': { accept_http_10: '2 bool', allow_custom_methods: '10 bool' },
    'envoy.config.core.v3.Http2ProtocolOptions': { max_concurrent_streams: '2 google.protobuf.UInt32Value', connection_keepalive: '15 envoy.config.core.v3.KeepaliveSettings' },
    'envoy.config.core.v3.HttpProtocolOptions': { idle_timeout: '1 google.protobuf.Duration', max_connection_duration: '3 google.protobuf.Duration', max_requests_per_connection: '6 google.protobuf.UInt32Value' },
    'envoy.config.core.v3.KeepaliveSettings': { interval: '1 google.protobuf.Duration', timeout: '2 google.protobuf.Duration', interval_jitter: '3 envoy.type.v3.Percent', connection_idle_interval: '4 google.protobuf.Duration' },
    'envoy.config.core.v3.Metadata': { filter_metadata: '1 map google.protobuf.Struct' },
    'envoy.config.core.v3.Node': { id: '1 string', cluster: '2 string' },
    'envoy.config.core.v3.Pipe': { path: '1 string', mode: '2 uint32' },
    'envoy.config.core.v3.SocketAddress': { protocol: '1 envoy.config.core.v3.SocketAddress.Protocol', address: '2 string', port_value: '3|port_specifier uint32' },
    'envoy.config.core.v3.SocketOption': { description: '1 string', level: '2 int64', name: '3 int64', int_value: '4|value int64', buf_value: '5|value bytes', state: '6 envoy.config.core.v3.SocketOption.SocketState' },
    'envoy.config.core.v3.SocketOptionsOverride': { socket_options: '1 repeated envoy.config.core.v3.SocketOption' },
    'envoy.config.core.v3.SubstitutionFormatString': { text_format_source: '5|format envoy.config.core.v3.DataSource' },
    'envoy.config.endpoint.v3.ClusterLoadAssignment': { cluster_name: '1 string', endpoints: '2 repeated envoy.config.endpoint.v3.LocalityLbEndpoints' },
    'envoy.config.endpoint.v3.Endpoint': { address: '1 envoy.config.core.v3.Address' },
    'envoy.config.endpoint.v3.LbEndpoint': { endpoint: '1|host_identifier envoy.config.endpoint.v3.Endpoint' },
    'envoy.config.endpoint.v3.LocalityLbEndpoints': { lb_endpoints: '2 repeated envoy.config.endpoint.v3.LbEndpoint' },
    'envoy.config.listener.v3.AdditionalAddress': { address: '1 envoy.config.core.v3.Address', socket_options: '2 envoy.config.core.v3.SocketOptionsOverride' },
    'envoy.config.listener.v3.Filter': { name: '1 string', typed_config: '4|config_type google.protobuf.Any' },
    'envoy.config.listener.v3.FilterChain': { filter_chain_match: '1 envoy.config.listener.v3.FilterChainMatch', filters: '3 repeated envoy.config.listener.v3.Filter', name: '7 string' },
    'envoy.config.listener.v3.FilterChainMatch': { transport_protocol: '9 string' },
    'envoy.config.listener.v3.Listener': { name: '1 string', address: '2 envoy.config.core.v3.Address', additional_addresses: '33 repeated envoy.config.listener.v3.AdditionalAddress', filter_chains: '3 repeated envoy.config.listener.v3.FilterChain', per_connection_buffer_limit_bytes: '5 google.protobuf.UInt32Value', listener_filters: '9 repeated envoy.config.listener.v3.ListenerFilter', listener_filters_timeout: '15 google.protobuf.Duration', continue_on_listener_filters_timeout: '17 bool', transparent: '10 google.protobuf.BoolValue', socket_options: '13 repeated envoy.config.core.v3.SocketOption', enable_reuse_port: '29 google.protobuf.BoolValue', access_log: '22 repeated envoy.config.accesslog.v3.AccessLog', tcp_backlog_size: '24 google.protobuf.UInt32Value', bind_to_port: '26 google.protobuf.BoolValue' },
    'envoy.config.listener.v3.ListenerFilter': { name: '1 string', typed_config: '3|config_type google.protobuf.Any' },
    'envoy.config.rbac.v3.Action': { name: '1 string', action: '2 envoy.config.rbac.v3.RBAC.Action' },
    'envoy.config.rbac.v3.RBAC': { action: '1 envoy.config.rbac.v3.RBAC.Action' },
    'envoy.config.route.v3.Route': { name: '14 string', match: '1 envoy.config.route.v3.RouteMatch', route: '2|action envoy.config.route.v3.RouteAction', typed_per_filter_config: '13 map google.protobuf.Any' },
    'envoy.config.route.v3.RouteAction': { cluster: '1|cluster_specifier string', timeout: '8 google.protobuf.Duration' },
    'envoy.config.route.v3.RouteConfiguration': { name: '1 string', virtual_hosts: '2 repeated envoy.config.route.v3.VirtualHost', ignore_port_in_host_matching: '14 bool', typed_per_filter_config: '16 map google.protobuf.Any' },
    'envoy.config.route.v3.RouteMatch': { prefix: '1|path_specifier string', path: '2|path_specifier string' },
    'envoy.config.route.v3.VirtualHost': { name: '1 string', domains: '2 repeated string', routes: '3 repeated envoy.config.route.v3.Route', typed_per_filter_config: '15 map google.protobuf.Any' },
    'envoy.data.accesslog.v3.AccessLogCommon': { downstream_remote_address: '2 envoy.config.core.v3.Address', downstream_local_address: '3 envoy.config.core.v3.Address', start_time: '5 google.protobuf.Timestamp', time_to_first_upstream_tx_byte: '7 google.protobuf.Duration', time_to_last_upstream_rx_byte: '10 google.protobuf.Duration', upstream_remote_address: '13 envoy.config.core.v3.Address', upstream_local_address: '14 envoy.config.core.v3.Address', upstream_cluster: '15 string', response_flags: '16 envoy.data.accesslog.v3.ResponseFlags', metadata: '17 envoy.config.core.v3.Metadata', upstream_transport_failure_reason: '18 string', route_name: '19 string', downstream_direct_remote_address: '20 envoy.config.core.v3.Address', filter_state_objects: '21 map google.protobuf.Any', duration: '23 google.protobuf.Duration', connection_termination_details: '25 string', stream_id: '26 string', downstream_wire_bytes_sent: '29 uint64', downstream_wire_bytes_received: '30 uint64', access_log_type: '33 envoy.data.accesslog.v3.AccessLogType' },
    'envoy.data.accesslog.v3.ConnectionProperties': { received_bytes: '1 uint64', sent_bytes: '2 uint64' },
    'envoy.data.accesslog.v3.HTTPAccessLogEntry': { common_properties: '1 envoy.data.accesslog.v3.AccessLogCommon', protocol_version: '2 envoy.data.accesslog.v3.HTTPAccessLogEntry.HTTPVersion', request: '3 envoy.data.accesslog.v3.HTTPRequestProperties', response: '4 envoy.data.accesslog.v3.HTTPResponseProperties' },
    'envoy.data.accesslog.v3.HTTPRequestProperties': { request_method: '1 envoy.config.core.v3.RequestMethod', scheme: '2 string', authority: '3 string', path: '5 string', user_agent: '6 string', original_path: '10 string', request_body_bytes: '12 uint64' },
    'envoy.data.accesslog.v3.HTTPResponseProperties': { response_code: '1 google.protobuf.UInt32Value', response_body_bytes: '3 uint64', response_code_details: '6 string' },
    'envoy.data.accesslog.v3.ResponseFlags': { failed_local_healthcheck: '1 bool', no_healthy_upstream: '2 bool', upstream_request_timeout: '3 bool', local_reset: '4 bool', upstream_remote_reset: '5 bool', upstream_connection_failure: '6 bool', upstream_connection_termination: '7 bool', upstream_overflow: '8 bool', no_route_found: '9 bool', delay_injected: '10 bool', fault_injected: '11 bool', rate_limited: '12 bool', unauthorized_details: '13 envoy.data.accesslog.v3.ResponseFlags.Unauthorized', rate_limit_service_error: '14 bool', downstream_connection_termination: '15 bool', upstream_retry_limit_exceeded: '16 bool', stream_idle_timeout: '17 bool', invalid_envoy_request_headers: '18 bool', downstream_protocol_error: '19 bool', upstream_max_stream_duration_reached: '20 bool', response_from_cache_filter: '21 bool', no_filter_config_found: '22 bool', duration_timeout: '23 bool', upstream_protocol_error: '24 bool', no_cluster_found: '25 bool', overload_manager: '26 bool', dns_resolution_failure: '27 bool', downstream_remote_reset: '28 bool' },
    'envoy.data.accesslog.v3.ResponseFlags.Unauthorized': { reason: '1 envoy.data.accesslog.v3.ResponseFlags.Unauthorized.Reason' },
    'envoy.data.accesslog.v3.TCPAccessLogEntry': { common_properties: '1 envoy.data.accesslog.v3.AccessLogCommon', connection_properties: '2 envoy.data.accesslog.v3.ConnectionProperties' },
    'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter': { expression: '1 string' },
    'envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig': { log_name: '1 string', grpc_service: '2 envoy.config.core.v3.GrpcService', transport_api_version: '6 envoy.config.core.v3.ApiVersion', buffer_flush_interval: '3 google.protobuf.Duration', buffer_size_bytes: '4 google.protobuf.UInt32Value', filter_state_objects_to_log: '5 repeated string' },
    'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig': { common_config: '1 envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig', additional_request_headers_to_log: '2 repeated string', additional_response_headers_to_log: '3 repeated string', additional_response_trailers_to_log: '4 repeated string' },
    'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig': { common_config: '1 envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig' },
    'envoy.extensions.dynamic_modules.v3.DynamicModuleConfig': { name: '1 string', do_not_close: '3 bool', load_globally: '4 bool', metrics_namespace: '5 string', module: '6 envoy.config.core.v3.AsyncDataSource', nack_on_cache_miss: '7 bool' },
    'envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue': { object_key: '1|key string', factory_key: '6 string', format_string: '2|value envoy.config.core.v3.SubstitutionFormatString', skip_if_empty: '5 bool' },
    'envoy.extensions.filters.http.lua.v3.Lua': { default_source_code: '3 envoy.config.core.v3.DataSource' },
    'envoy.extensions.filters.http.lua.v3.LuaPerRoute': { source_code: '3|override envoy.config.core.v3.DataSource' },
    'envoy.extensions.filters.http.rbac.v3.RBAC': { rules: '1 envoy.config.rbac.v3.RBAC', rules_stat_prefix: '6 string', matcher: '4 xds.type.matcher.v3.Matcher', shadow_matcher: '5 xds.type.matcher.v3.Matcher', shadow_rules_stat_prefix: '3 string' },
    'envoy.extensions.filters.http.rbac.v3.RBACPerRoute': { rbac: '2 envoy.extensions.filters.http.rbac.v3.RBAC' },
    'envoy.extensions.filters.http.router.v3.Router': { suppress_envoy_headers: '4 bool' },
    'envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter': { dynamic_module_config: '1 envoy.extensions.dynamic_modules.v3.DynamicModuleConfig', filter_name: '2 string', filter_config: '3 google.protobuf.Any' },
    'envoy.extensions.filters.listener.original_src.v3.OriginalSrc': { bind_port: '1 bool', mark: '2 uint32' },
    'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': { enable_ja3_fingerprinting: '1 google.protobuf.BoolValue' },
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager': { codec_type: '1 envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType', stat_prefix: '2 string', rds: '3|route_specifier envoy.extensions.filters.network.http_connection_manager.v3.Rds', http_filters: '5 repeated envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter', common_http_protocol_options: '35 envoy.config.core.v3.HttpProtocolOptions', http_protocol_options: '8 envoy.config.core.v3.Http1ProtocolOptions', server_header_transformation: '34 envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ServerHeaderTransformation', stream_idle_timeout: '24 google.protobuf.Duration', access_log: '13 repeated envoy.config.accesslog.v3.AccessLog', use_remote_address: '14 google.protobuf.BoolValue', skip_xff_append: '21 bool', generate_request_id: '15 google.protobuf.BoolValue', upgrade_configs: '23 repeated envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig', normalize_path: '30 google.protobuf.BoolValue', merge_slashes: '33 bool', path_with_escaped_slashes_action: '45 envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathWithEscapedSlashesAction', local_reply_config: '38 envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig', strip_matching_host_port: '39 bool', strip_any_host_port: '42|strip_port_mode bool' },
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig': { upgrade_type: '1 string' },
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter': { name: '1 string', typed_config: '4|config_type google.protobuf.Any', is_optional: '6 bool', disabled: '7 bool' },
    'envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig': { mappers: '1 repeated envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper' },
    'envoy.extensions.filters.network.http_connection_manager.v3.Rds': { config_source: '1 envoy.config.core.v3.ConfigSource', route_config_name: '2 string' },
    'envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper': { filter: '1 envoy.config.accesslog.v3.AccessLogFilter', status_code: '2 google.protobuf.UInt32Value', body: '3 envoy.config.core.v3.DataSource' },
    'envoy.extensions.filters.network.rbac.v3.RBAC': { matcher: '6 xds.type.matcher.v3.Matcher', shadow_matcher: '7 xds.type.matcher.v3.Matcher', shadow_rules_stat_prefix: '5 string', stat_prefix: '3 string' },
    'envoy.extensions.filters.network.set_filter_state.v3.Config': { on_new_connection: '1 repeated envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue' },
    'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy': { stat_prefix: '1 string', cluster: '2|cluster_specifier string' },
    'envoy.extensions.matching.common_inputs.network.v3.FilterStateInput': { key: '1 string' },
    'envoy.extensions.matching.common_inputs.network.v3.ServerNameInput': { },
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { common_http_protocol_options: '1 envoy.config.core.v3.HttpProtocolOptions', explicit_http_config: '3|upstream_protocol_options envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig', use_downstream_protocol_config: '4|upstream_protocol_options envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig' },
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig': { http_protocol_options: '1|protocol_config envoy.config.core.v3.Http1ProtocolOptions', http2_protocol_options: '2|protocol_config envoy.config.core.v3.Http2ProtocolOptions' },
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig': { http_protocol_options: '1 envoy.config.core.v3.Http1ProtocolOptions', http2_protocol_options: '2 envoy.config.core.v3.Http2ProtocolOptions' },
    'envoy.service.accesslog.v3.StreamAccessLogsMessage': { identifier: '1 envoy.service.accesslog.v3.StreamAccessLogsMessage.Identifier', http_logs: '2|log_entries envoy.service.accesslog.v3.StreamAccessLogsMessage.HTTPAccessLogEntries', tcp_logs: '3|log_entries envoy.service.accesslog.v3.StreamAccessLogsMessage.TCPAccessLogEntries' },
    'envoy.service.accesslog.v3.StreamAccessLogsMessage.HTTPAccessLogEntries': { log_entry: '1 repeated envoy.data.accesslog.v3.HTTPAccessLogEntry' },
    'envoy.service.accesslog.v3.StreamAccessLogsMessage.Identifier': { node: '1 envoy.config.core.v3.Node', log_name: '2 string' },
    'envoy.service.accesslog.v3.StreamAccessLogsMessage.TCPAccessLogEntries': { log_entry: '1 repeated envoy.data.accesslog.v3.TCPAccessLogEntry' },
    'envoy.service.accesslog.v3.StreamAccessLogsResponse': { },
    'envoy.type.matcher.v3.HttpRequestHeaderMatchInput': { header_name: '1 string' },
    'envoy.type.v3.Percent': { value: '1 double' },
    'google.protobuf.Any': { type_url: '1 string', value: '2 bytes' },
    'google.protobuf.BoolValue': { value: '1 bool' },
    'google.protobuf.Duration': { seconds: '1 int64', nanos: '2 int32' },
    'google.protobuf.ListValue': { values: '1 repeated google.protobuf.Value' },
    'google.protobuf.StringValue': { value: '1 string' },
    'google.protobuf.Struct': { fields: '1 map google.protobuf.Value' },
    'google.protobuf.Timestamp': { seconds: '1 int64', nanos: '2 int32' },
    'google.protobuf.UInt32Value': { value: '1 uint32' },
    'google.protobuf.Value': { null_value: '1|kind google.protobuf.NullValue', number_value: '2|kind double', string_value: '3|kind string', bool_value: '4|kind bool', struct_value: '5|kind google.protobuf.Struct', list_value: '6|kind google.protobuf.ListValue' },
    'xds.core.v3.TypedExtensionConfig': { name: '1 string', typed_config: '2 google.protobuf.Any' },
    'xds.type.matcher.v3.Matcher': { matcher_list: '1|matcher_type xds.type.matcher.v3.Matcher.MatcherList', matcher_tree: '2|matcher_type xds.type.matcher.v3.Matcher.MatcherTree', on_no_match: '3 xds.type.matcher.v3.Matcher.OnMatch' },
    'xds.type.matcher.v3.Matcher.MatcherList': { matchers: '1 repeated xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher' },
    'xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher': { predicate: '1 xds.type.matcher.v3.Matcher.MatcherList.Predicate', on_match: '2 xds.type.matcher.v3.Matcher.OnMatch' },
    'xds.type.matcher.v3.Matcher.MatcherList.Predicate': { single_predicate: '1|match_type xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate', or_matcher: '2|match_type xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList', and_matcher: '3|match_type xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList', not_matcher: '4|match_type xds.type.matcher.v3.Matcher.MatcherList.Predicate' },
    'xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList': { predicate: '1 repeated xds.type.matcher.v3.Matcher.MatcherList.Predicate' },
    'xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate': { input: '1 xds.core.v3.TypedExtensionConfig', value_match: '2|matcher xds.type.matcher.v3.StringMatcher' },
    'xds.type.matcher.v3.Matcher.MatcherTree': { input: '1 xds.core.v3.TypedExtensionConfig', exact_match_map: '2|tree_type xds.type.matcher.v3.Matcher.MatcherTree.MatchMap' },
    'xds.type.matcher.v3.Matcher.MatcherTree.MatchMap': { map: '1 map xds.type.matcher.v3.Matcher.OnMatch' },
    'xds.type.matcher.v3.Matcher.OnMatch': { matcher: '1|on_match xds.type.matcher.v3.Matcher', action: '2|on_match xds.core.v3.TypedExtensionConfig' },
    'xds.type.matcher.v3.RegexMatcher': { google_re2: '1|engine_type xds.type.matcher.v3.RegexMatcher.GoogleRE2', regex: '2 string' },
    'xds.type.matcher.v3.RegexMatcher.GoogleRE2': { },
    'xds.type.matcher.v3.StringMatcher': { exact: '1|match_pattern string', safe_regex: '5|match_pattern xds.type.matcher.v3.RegexMatcher' },
  },
  enums: {
    'envoy.config.cluster.v3.Cluster.DiscoveryType': { STATIC: 0, STRICT_DNS: 1, LOGICAL_DNS: 2, EDS: 3, ORIGINAL_DST: 4 },
    'envoy.config.cluster.v3.Cluster.LbPolicy': { ROUND_ROBIN: 0, LEAST_REQUEST: 1, RING_HASH: 2, RANDOM: 3, MAGLEV: 5, CLUSTER_PROVIDED: 6, LOAD_BALANCING_POLICY_CONFIG: 7 },
    'envoy.config.core.v3.ApiVersion': { AUTO: 0, V2: 1, V3: 2 },
    'envoy.config.core.v3.RequestMethod': { METHOD_UNSPECIFIED: 0, GET: 1, HEAD: 2, POST: 3, PUT: 4, DELETE: 5, CONNECT: 6, OPTIONS: 7, TRACE: 8, PATCH: 9 },
    'envoy.config.core.v3.RoutingPriority': { DEFAULT: 0, HIGH: 1 },
    'envoy.config.core.v3.SocketAddress.Protocol': { TCP: 0, UDP: 1 },
    'envoy.config.core.v3.SocketOption.SocketState': { STATE_PREBIND: 0, STATE_BOUND: 1, STATE_LISTENING: 2 },
    'envoy.config.rbac.v3.RBAC.Action': { ALLOW: 0, DENY: 1, LOG: 2 },
    'envoy.data.accesslog.v3.AccessLogType': { NotSet: 0, TcpUpstreamConnected: 1, TcpPeriodic: 2, TcpConnectionEnd: 3, DownstreamStart: 4, DownstreamPeriodic: 5, DownstreamEnd: 6, UpstreamPoolReady: 7, UpstreamPeriodic: 8, UpstreamEnd: 9, DownstreamTunnelSuccessfullyEstablished: 10, UdpTunnelUpstreamConnected: 11, UdpPeriodic: 12, UdpSessionEnd: 13 },
    'envoy.data.accesslog.v3.HTTPAccessLogEntry.HTTPVersion': { PROTOCOL_UNSPECIFIED: 0, HTTP10: 1, HTTP11: 2, HTTP2: 3, HTTP3: 4 },
    'envoy.data.accesslog.v3.ResponseFlags.Unauthorized.Reason': { REASON_UNSPECIFIED: 0, EXTERNAL_SERVICE: 1 },
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType': { AUTO: 0, HTTP1: 1, HTTP2: 2, HTTP3: 3 },
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathWithEscapedSlashesAction': { IMPLEMENTATION_SPECIFIC_DEFAULT: 0, KEEP_UNCHANGED: 1, REJECT_REQUEST: 2, UNESCAPE_AND_REDIRECT: 3, UNESCAPE_AND_FORWARD: 4 },
    'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ServerHeaderTransformation': { OVERWRITE: 0, APPEND_IF_ABSENT: 1, PASS_THROUGH: 2 },
    'google.protobuf.NullValue': { NULL_VALUE: 0 },
  },
} as const;

/** A word; a number where a newer peer has words that we do not. */
export interface XdsEnums {
  'envoy.config.cluster.v3.Cluster.DiscoveryType': 'STATIC' | 'STRICT_DNS' | 'LOGICAL_DNS' | 'EDS' | 'ORIGINAL_DST' | number;
  'envoy.config.cluster.v3.Cluster.LbPolicy': 'ROUND_ROBIN' | 'LEAST_REQUEST' | 'RING_HASH' | 'RANDOM' | 'MAGLEV' | 'CLUSTER_PROVIDED' | 'LOAD_BALANCING_POLICY_CONFIG' | number;
  'envoy.config.core.v3.ApiVersion': 'AUTO' | 'V2' | 'V3' | number;
  'envoy.config.core.v3.RequestMethod': 'METHOD_UNSPECIFIED' | 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'CONNECT' | 'OPTIONS' | 'TRACE' | 'PATCH' | number;
  'envoy.config.core.v3.RoutingPriority': 'DEFAULT' | 'HIGH' | number;
  'envoy.config.core.v3.SocketAddress.Protocol': 'TCP' | 'UDP' | number;
  'envoy.config.core.v3.SocketOption.SocketState': 'STATE_PREBIND' | 'STATE_BOUND' | 'STATE_LISTENING' | number;
  'envoy.config.rbac.v3.RBAC.Action': 'ALLOW' | 'DENY' | 'LOG' | number;
  'envoy.data.accesslog.v3.AccessLogType': 'NotSet' | 'TcpUpstreamConnected' | 'TcpPeriodic' | 'TcpConnectionEnd' | 'DownstreamStart' | 'DownstreamPeriodic' | 'DownstreamEnd' | 'UpstreamPoolReady' | 'UpstreamPeriodic' | 'UpstreamEnd' | 'DownstreamTunnelSuccessfullyEstablished' | 'UdpTunnelUpstreamConnected' | 'UdpPeriodic' | 'UdpSessionEnd' | number;
  'envoy.data.accesslog.v3.HTTPAccessLogEntry.HTTPVersion': 'PROTOCOL_UNSPECIFIED' | 'HTTP10' | 'HTTP11' | 'HTTP2' | 'HTTP3' | number;
  'envoy.data.accesslog.v3.ResponseFlags.Unauthorized.Reason': 'REASON_UNSPECIFIED' | 'EXTERNAL_SERVICE' | number;
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType': 'AUTO' | 'HTTP1' | 'HTTP2' | 'HTTP3' | number;
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathWithEscapedSlashesAction': 'IMPLEMENTATION_SPECIFIC_DEFAULT' | 'KEEP_UNCHANGED' | 'REJECT_REQUEST' | 'UNESCAPE_AND_REDIRECT' | 'UNESCAPE_AND_FORWARD' | number;
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ServerHeaderTransformation': 'OVERWRITE' | 'APPEND_IF_ABSENT' | 'PASS_THROUGH' | number;
  'google.protobuf.NullValue': 'NULL_VALUE' | number;
}

/** Field names are those of the protos and of their owners' documentation; 64-bit integers are numbers. */
export interface XdsMessages {
  'envoy.config.accesslog.v3.AccessLog': {
    readonly name?: string;
    readonly filter?: XdsMessages['envoy.config.accesslog.v3.AccessLogFilter'];
    readonly typed_config?: XdsAny;
  };
  'envoy.config.accesslog.v3.AccessLogFilter': {
    readonly extension_filter?: XdsMessages['envoy.config.accesslog.v3.ExtensionFilter'];
  };
  'envoy.config.accesslog.v3.ExtensionFilter': {
    readonly name?: string;
    readonly typed_config?: XdsAny;
  };
  'envoy.config.cluster.v3.CircuitBreakers': {
    readonly thresholds?: readonly XdsMessages['envoy.config.cluster.v3.CircuitBreakers.Thresholds'][];
  };
  'envoy.config.cluster.v3.CircuitBreakers.Thresholds': {
    readonly priority?: XdsEnums['envoy.config.core.v3.RoutingPriority'];
    readonly max_connections?: XdsMessages['google.protobuf.UInt32Value'];
    readonly max_pending_requests?: XdsMessages['google.protobuf.UInt32Value'];
    readonly max_requests?: XdsMessages['google.protobuf.UInt32Value'];
    readonly max_retries?: XdsMessages['google.protobuf.UInt32Value'];
  };
  'envoy.config.cluster.v3.Cluster': {
    readonly name?: string;
    readonly type?: XdsEnums['envoy.config.cluster.v3.Cluster.DiscoveryType'];
    readonly eds_cluster_config?: XdsMessages['envoy.config.cluster.v3.Cluster.EdsClusterConfig'];
    readonly connect_timeout?: XdsMessages['google.protobuf.Duration'];
    readonly lb_policy?: XdsEnums['envoy.config.cluster.v3.Cluster.LbPolicy'];
    readonly load_assignment?: XdsMessages['envoy.config.endpoint.v3.ClusterLoadAssignment'];
    readonly circuit_breakers?: XdsMessages['envoy.config.cluster.v3.CircuitBreakers'];
    readonly typed_extension_protocol_options?: Readonly<Record<string, XdsAny>>;
    readonly cleanup_interval?: XdsMessages['google.protobuf.Duration'];
    readonly upstream_bind_config?: XdsMessages['envoy.config.core.v3.BindConfig'];
    readonly connection_pool_per_downstream_connection?: boolean;
  };
  'envoy.config.cluster.v3.Cluster.EdsClusterConfig': {
    readonly eds_config?: XdsMessages['envoy.config.core.v3.ConfigSource'];
    readonly service_name?: string;
  };
  'envoy.config.core.v3.Address': {
    readonly socket_address?: XdsMessages['envoy.config.core.v3.SocketAddress'];
    readonly pipe?: XdsMessages['envoy.config.core.v3.Pipe'];
  };
  'envoy.config.core.v3.AggregatedConfigSource': {
  };
  'envoy.config.core.v3.AsyncDataSource': {
    readonly local?: XdsMessages['envoy.config.core.v3.DataSource'];
  };
  'envoy.config.core.v3.BindConfig': {
    readonly source_address?: XdsMessages['envoy.config.core.v3.SocketAddress'];
    readonly socket_options?: readonly XdsMessages['envoy.config.core.v3.SocketOption'][];
  };
  'envoy.config.core.v3.ConfigSource': {
    readonly ads?: XdsMessages['envoy.config.core.v3.AggregatedConfigSource'];
    readonly initial_fetch_timeout?: XdsMessages['google.protobuf.Duration'];
    readonly resource_api_version?: XdsEnums['envoy.config.core.v3.ApiVersion'];
  };
  'envoy.config.core.v3.DataSource': {
    readonly filename?: string;
    readonly inline_bytes?: Uint8Array;
    readonly inline_string?: string;
  };
  'envoy.config.core.v3.GrpcService': {
    readonly envoy_grpc?: XdsMessages['envoy.config.core.v3.GrpcService.EnvoyGrpc'];
    readonly timeout?: XdsMessages['google.protobuf.Duration'];
  };
  'envoy.config.core.v3.GrpcService.EnvoyGrpc': {
    readonly cluster_name?: string;
  };
  'envoy.config.core.v3.Http1ProtocolOptions': {
    readonly accept_http_10?: boolean;
    readonly allow_custom_methods?: boolean;
  };
  'envoy.config.core.v3.Http2ProtocolOptions': {
    readonly max_concurrent_streams?: XdsMessages['google.protobuf.UInt32Value'];
    readonly connection_keepalive?: XdsMessages['envoy.config.core.v3.KeepaliveSettings'];
  };
  'envoy.config.core.v3.HttpProtocolOptions': {
    readonly idle_timeout?: XdsMessages['google.protobuf.Duration'];
    readonly max_connection_duration?: XdsMessages['google.protobuf.Duration'];
    readonly max_requests_per_connection?: XdsMessages['google.protobuf.UInt32Value'];
  };
  'envoy.config.core.v3.KeepaliveSettings': {
    readonly interval?: XdsMessages['google.protobuf.Duration'];
    readonly timeout?: XdsMessages['google.protobuf.Duration'];
    readonly interval_jitter?: XdsMessages['envoy.type.v3.Percent'];
    readonly connection_idle_interval?: XdsMessages['google.protobuf.Duration'];
  };
  'envoy.config.core.v3.Metadata': {
    readonly filter_metadata?: Readonly<Record<string, XdsMessages['google.protobuf.Struct']>>;
  };
  'envoy.config.core.v3.Node': {
    readonly id?: string;
    readonly cluster?: string;
  };
  'envoy.config.core.v3.Pipe': {
    readonly path?: string;
    readonly mode?: number;
  };
  'envoy.config.core.v3.SocketAddress': {
    readonly protocol?: XdsEnums['envoy.config.core.v3.SocketAddress.Protocol'];
    readonly address?: string;
    readonly port_value?: number;
  };
  'envoy.config.core.v3.SocketOption': {
    readonly description?: string;
    readonly level?: number;
    readonly name?: number;
    readonly int_value?: number;
    readonly buf_value?: Uint8Array;
    readonly state?: XdsEnums['envoy.config.core.v3.SocketOption.SocketState'];
  };
  'envoy.config.core.v3.SocketOptionsOverride': {
    readonly socket_options?: readonly XdsMessages['envoy.config.core.v3.SocketOption'][];
  };
  'envoy.config.core.v3.SubstitutionFormatString': {
    readonly text_format_source?: XdsMessages['envoy.config.core.v3.DataSource'];
  };
  'envoy.config.endpoint.v3.ClusterLoadAssignment': {
    readonly cluster_name?: string;
    readonly endpoints?: readonly XdsMessages['envoy.config.endpoint.v3.LocalityLbEndpoints'][];
  };
  'envoy.config.endpoint.v3.Endpoint': {
    readonly address?: XdsMessages['envoy.config.core.v3.Address'];
  };
  'envoy.config.endpoint.v3.LbEndpoint': {
    readonly endpoint?: XdsMessages['envoy.config.endpoint.v3.Endpoint'];
  };
  'envoy.config.endpoint.v3.LocalityLbEndpoints': {
    readonly lb_endpoints?: readonly XdsMessages['envoy.config.endpoint.v3.LbEndpoint'][];
  };
  'envoy.config.listener.v3.AdditionalAddress': {
    readonly address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly socket_options?: XdsMessages['envoy.config.core.v3.SocketOptionsOverride'];
  };
  'envoy.config.listener.v3.Filter': {
    readonly name?: string;
    readonly typed_config?: XdsAny;
  };
  'envoy.config.listener.v3.FilterChain': {
    readonly filter_chain_match?: XdsMessages['envoy.config.listener.v3.FilterChainMatch'];
    readonly filters?: readonly XdsMessages['envoy.config.listener.v3.Filter'][];
    readonly name?: string;
  };
  'envoy.config.listener.v3.FilterChainMatch': {
    readonly transport_protocol?: string;
  };
  'envoy.config.listener.v3.Listener': {
    readonly name?: string;
    readonly address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly additional_addresses?: readonly XdsMessages['envoy.config.listener.v3.AdditionalAddress'][];
    readonly filter_chains?: readonly XdsMessages['envoy.config.listener.v3.FilterChain'][];
    readonly per_connection_buffer_limit_bytes?: XdsMessages['google.protobuf.UInt32Value'];
    readonly listener_filters?: readonly XdsMessages['envoy.config.listener.v3.ListenerFilter'][];
    readonly listener_filters_timeout?: XdsMessages['google.protobuf.Duration'];
    readonly continue_on_listener_filters_timeout?: boolean;
    readonly transparent?: XdsMessages['google.protobuf.BoolValue'];
    readonly socket_options?: readonly XdsMessages['envoy.config.core.v3.SocketOption'][];
    readonly enable_reuse_port?: XdsMessages['google.protobuf.BoolValue'];
    readonly access_log?: readonly XdsMessages['envoy.config.accesslog.v3.AccessLog'][];
    readonly tcp_backlog_size?: XdsMessages['google.protobuf.UInt32Value'];
    readonly bind_to_port?: XdsMessages['google.protobuf.BoolValue'];
  };
  'envoy.config.listener.v3.ListenerFilter': {
    readonly name?: string;
    readonly typed_config?: XdsAny;
  };
  'envoy.config.rbac.v3.Action': {
    readonly name?: string;
    readonly action?: XdsEnums['envoy.config.rbac.v3.RBAC.Action'];
  };
  'envoy.config.rbac.v3.RBAC': {
    readonly action?: XdsEnums['envoy.config.rbac.v3.RBAC.Action'];
  };
  'envoy.config.route.v3.Route': {
    readonly name?: string;
    readonly match?: XdsMessages['envoy.config.route.v3.RouteMatch'];
    readonly route?: XdsMessages['envoy.config.route.v3.RouteAction'];
    readonly typed_per_filter_config?: Readonly<Record<string, XdsAny>>;
  };
  'envoy.config.route.v3.RouteAction': {
    readonly cluster?: string;
    readonly timeout?: XdsMessages['google.protobuf.Duration'];
  };
  'envoy.config.route.v3.RouteConfiguration': {
    readonly name?: string;
    readonly virtual_hosts?: readonly XdsMessages['envoy.config.route.v3.VirtualHost'][];
    readonly ignore_port_in_host_matching?: boolean;
    readonly typed_per_filter_config?: Readonly<Record<string, XdsAny>>;
  };
  'envoy.config.route.v3.RouteMatch': {
    readonly prefix?: string;
    readonly path?: string;
  };
  'envoy.config.route.v3.VirtualHost': {
    readonly name?: string;
    readonly domains?: readonly string[];
    readonly routes?: readonly XdsMessages['envoy.config.route.v3.Route'][];
    readonly typed_per_filter_config?: Readonly<Record<string, XdsAny>>;
  };
  'envoy.data.accesslog.v3.AccessLogCommon': {
    readonly downstream_remote_address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly downstream_local_address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly start_time?: XdsMessages['google.protobuf.Timestamp'];
    readonly time_to_first_upstream_tx_byte?: XdsMessages['google.protobuf.Duration'];
    readonly time_to_last_upstream_rx_byte?: XdsMessages['google.protobuf.Duration'];
    readonly upstream_remote_address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly upstream_local_address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly upstream_cluster?: string;
    readonly response_flags?: XdsMessages['envoy.data.accesslog.v3.ResponseFlags'];
    readonly metadata?: XdsMessages['envoy.config.core.v3.Metadata'];
    readonly upstream_transport_failure_reason?: string;
    readonly route_name?: string;
    readonly downstream_direct_remote_address?: XdsMessages['envoy.config.core.v3.Address'];
    readonly filter_state_objects?: Readonly<Record<string, XdsAny>>;
    readonly duration?: XdsMessages['google.protobuf.Duration'];
    readonly connection_termination_details?: string;
    readonly stream_id?: string;
    readonly downstream_wire_bytes_sent?: number;
    readonly downstream_wire_bytes_received?: number;
    readonly access_log_type?: XdsEnums['envoy.data.accesslog.v3.AccessLogType'];
  };
  'envoy.data.accesslog.v3.ConnectionProperties': {
    readonly received_bytes?: number;
    readonly sent_bytes?: number;
  };
  'envoy.data.accesslog.v3.HTTPAccessLogEntry': {
    readonly common_properties?: XdsMessages['envoy.data.accesslog.v3.AccessLogCommon'];
    readonly protocol_version?: XdsEnums['envoy.data.accesslog.v3.HTTPAccessLogEntry.HTTPVersion'];
    readonly request?: XdsMessages['envoy.data.accesslog.v3.HTTPRequestProperties'];
    readonly response?: XdsMessages['envoy.data.accesslog.v3.HTTPResponseProperties'];
  };
  'envoy.data.accesslog.v3.HTTPRequestProperties': {
    readonly request_method?: XdsEnums['envoy.config.core.v3.RequestMethod'];
    readonly scheme?: string;
    readonly authority?: string;
    readonly path?: string;
    readonly user_agent?: string;
    readonly original_path?: string;
    readonly request_body_bytes?: number;
  };
  'envoy.data.accesslog.v3.HTTPResponseProperties': {
    readonly response_code?: XdsMessages['google.protobuf.UInt32Value'];
    readonly response_body_bytes?: number;
    readonly response_code_details?: string;
  };
  'envoy.data.accesslog.v3.ResponseFlags': {
    readonly failed_local_healthcheck?: boolean;
    readonly no_healthy_upstream?: boolean;
    readonly upstream_request_timeout?: boolean;
    readonly local_reset?: boolean;
    readonly upstream_remote_reset?: boolean;
    readonly upstream_connection_failure?: boolean;
    readonly upstream_connection_termination?: boolean;
    readonly upstream_overflow?: boolean;
    readonly no_route_found?: boolean;
    readonly delay_injected?: boolean;
    readonly fault_injected?: boolean;
    readonly rate_limited?: boolean;
    readonly unauthorized_details?: XdsMessages['envoy.data.accesslog.v3.ResponseFlags.Unauthorized'];
    readonly rate_limit_service_error?: boolean;
    readonly downstream_connection_termination?: boolean;
    readonly upstream_retry_limit_exceeded?: boolean;
    readonly stream_idle_timeout?: boolean;
    readonly invalid_envoy_request_headers?: boolean;
    readonly downstream_protocol_error?: boolean;
    readonly upstream_max_stream_duration_reached?: boolean;
    readonly response_from_cache_filter?: boolean;
    readonly no_filter_config_found?: boolean;
    readonly duration_timeout?: boolean;
    readonly upstream_protocol_error?: boolean;
    readonly no_cluster_found?: boolean;
    readonly overload_manager?: boolean;
    readonly dns_resolution_failure?: boolean;
    readonly downstream_remote_reset?: boolean;
  };
  'envoy.data.accesslog.v3.ResponseFlags.Unauthorized': {
    readonly reason?: XdsEnums['envoy.data.accesslog.v3.ResponseFlags.Unauthorized.Reason'];
  };
  'envoy.data.accesslog.v3.TCPAccessLogEntry': {
    readonly common_properties?: XdsMessages['envoy.data.accesslog.v3.AccessLogCommon'];
    readonly connection_properties?: XdsMessages['envoy.data.accesslog.v3.ConnectionProperties'];
  };
  'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter': {
    readonly expression?: string;
  };
  'envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig': {
    readonly log_name?: string;
    readonly grpc_service?: XdsMessages['envoy.config.core.v3.GrpcService'];
    readonly transport_api_version?: XdsEnums['envoy.config.core.v3.ApiVersion'];
    readonly buffer_flush_interval?: XdsMessages['google.protobuf.Duration'];
    readonly buffer_size_bytes?: XdsMessages['google.protobuf.UInt32Value'];
    readonly filter_state_objects_to_log?: readonly string[];
  };
  'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig': {
    readonly common_config?: XdsMessages['envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig'];
    readonly additional_request_headers_to_log?: readonly string[];
    readonly additional_response_headers_to_log?: readonly string[];
    readonly additional_response_trailers_to_log?: readonly string[];
  };
  'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig': {
    readonly common_config?: XdsMessages['envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig'];
  };
  'envoy.extensions.dynamic_modules.v3.DynamicModuleConfig': {
    readonly name?: string;
    readonly do_not_close?: boolean;
    readonly load_globally?: boolean;
    readonly metrics_namespace?: string;
    readonly module?: XdsMessages['envoy.config.core.v3.AsyncDataSource'];
    readonly nack_on_cache_miss?: boolean;
  };
  'envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue': {
    readonly object_key?: string;
    readonly factory_key?: string;
    readonly format_string?: XdsMessages['envoy.config.core.v3.SubstitutionFormatString'];
    readonly skip_if_empty?: boolean;
  };
  'envoy.extensions.filters.http.lua.v3.Lua': {
    readonly default_source_code?: XdsMessages['envoy.config.core.v3.DataSource'];
  };
  'envoy.extensions.filters.http.lua.v3.LuaPerRoute': {
    readonly source_code?: XdsMessages['envoy.config.core.v3.DataSource'];
  };
  'envoy.extensions.filters.http.rbac.v3.RBAC': {
    readonly rules?: XdsMessages['envoy.config.rbac.v3.RBAC'];
    readonly rules_stat_prefix?: string;
    readonly matcher?: XdsMessages['xds.type.matcher.v3.Matcher'];
    readonly shadow_matcher?: XdsMessages['xds.type.matcher.v3.Matcher'];
    readonly shadow_rules_stat_prefix?: string;
  };
  'envoy.extensions.filters.http.rbac.v3.RBACPerRoute': {
    readonly rbac?: XdsMessages['envoy.extensions.filters.http.rbac.v3.RBAC'];
  };
  'envoy.extensions.filters.http.router.v3.Router': {
    readonly suppress_envoy_headers?: boolean;
  };
  'envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter': {
    readonly dynamic_module_config?: XdsMessages['envoy.extensions.dynamic_modules.v3.DynamicModuleConfig'];
    readonly filter_name?: string;
    readonly filter_config?: XdsAny;
  };
  'envoy.extensions.filters.listener.original_src.v3.OriginalSrc': {
    readonly bind_port?: boolean;
    readonly mark?: number;
  };
  'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': {
    readonly enable_ja3_fingerprinting?: XdsMessages['google.protobuf.BoolValue'];
  };
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager': {
    readonly codec_type?: XdsEnums['envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType'];
    readonly stat_prefix?: string;
    readonly rds?: XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.Rds'];
    readonly http_filters?: readonly XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter'][];
    readonly common_http_protocol_options?: XdsMessages['envoy.config.core.v3.HttpProtocolOptions'];
    readonly http_protocol_options?: XdsMessages['envoy.config.core.v3.Http1ProtocolOptions'];
    readonly server_header_transformation?: XdsEnums['envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ServerHeaderTransformation'];
    readonly stream_idle_timeout?: XdsMessages['google.protobuf.Duration'];
    readonly access_log?: readonly XdsMessages['envoy.config.accesslog.v3.AccessLog'][];
    readonly use_remote_address?: XdsMessages['google.protobuf.BoolValue'];
    readonly skip_xff_append?: boolean;
    readonly generate_request_id?: XdsMessages['google.protobuf.BoolValue'];
    readonly upgrade_configs?: readonly XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig'][];
    readonly normalize_path?: XdsMessages['google.protobuf.BoolValue'];
    readonly merge_slashes?: boolean;
    readonly path_with_escaped_slashes_action?: XdsEnums['envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathWithEscapedSlashesAction'];
    readonly local_reply_config?: XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig'];
    readonly strip_matching_host_port?: boolean;
    readonly strip_any_host_port?: boolean;
  };
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig': {
    readonly upgrade_type?: string;
  };
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter': {
    readonly name?: string;
    readonly typed_config?: XdsAny;
    readonly is_optional?: boolean;
    readonly disabled?: boolean;
  };
  'envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig': {
    readonly mappers?: readonly XdsMessages['envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper'][];
  };
  'envoy.extensions.filters.network.http_connection_manager.v3.Rds': {
    readonly config_source?: XdsMessages['envoy.config.core.v3.ConfigSource'];
    readonly route_config_name?: string;
  };
  'envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper': {
    readonly filter?: XdsMessages['envoy.config.accesslog.v3.AccessLogFilter'];
    readonly status_code?: XdsMessages['google.protobuf.UInt32Value'];
    readonly body?: XdsMessages['envoy.config.core.v3.DataSource'];
  };
  'envoy.extensions.filters.network.rbac.v3.RBAC': {
    readonly matcher?: XdsMessages['xds.type.matcher.v3.Matcher'];
    readonly shadow_matcher?: XdsMessages['xds.type.matcher.v3.Matcher'];
    readonly shadow_rules_stat_prefix?: string;
    readonly stat_prefix?: string;
  };
  'envoy.extensions.filters.network.set_filter_state.v3.Config': {
    readonly on_new_connection?: readonly XdsMessages['envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue'][];
  };
  'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy': {
    readonly stat_prefix?: string;
    readonly cluster?: string;
  };
  'envoy.extensions.matching.common_inputs.network.v3.FilterStateInput': {
    readonly key?: string;
  };
  'envoy.extensions.matching.common_inputs.network.v3.ServerNameInput': {
  };
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    readonly common_http_protocol_options?: XdsMessages['envoy.config.core.v3.HttpProtocolOptions'];
    readonly explicit_http_config?: XdsMessages['envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig'];
    readonly use_downstream_protocol_config?: XdsMessages['envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig'];
  };
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig': {
    readonly http_protocol_options?: XdsMessages['envoy.config.core.v3.Http1ProtocolOptions'];
    readonly http2_protocol_options?: XdsMessages['envoy.config.core.v3.Http2ProtocolOptions'];
  };
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig': {
    readonly http_protocol_options?: XdsMessages['envoy.config.core.v3.Http1ProtocolOptions'];
    readonly http2_protocol_options?: XdsMessages['envoy.config.core.v3.Http2ProtocolOptions'];
  };
  'envoy.service.accesslog.v3.StreamAccessLogsMessage': {
    readonly identifier?: XdsMessages['envoy.service.accesslog.v3.StreamAccessLogsMessage.Identifier'];
    readonly http_logs?: XdsMessages['envoy.service.accesslog.v3.StreamAccessLogsMessage.HTTPAccessLogEntries'];
    readonly tcp_logs?: XdsMessages['envoy.service.accesslog.v3.StreamAccessLogsMessage.TCPAccessLogEntries'];
  };
  'envoy.service.accesslog.v3.StreamAccessLogsMessage.HTTPAccessLogEntries': {
    readonly log_entry?: readonly XdsMessages['envoy.data.accesslog.v3.HTTPAccessLogEntry'][];
  };
  'envoy.service.accesslog.v3.StreamAccessLogsMessage.Identifier': {
    readonly node?: XdsMessages['envoy.config.core.v3.Node'];
    readonly log_name?: string;
  };
  'envoy.service.accesslog.v3.StreamAccessLogsMessage.TCPAccessLogEntries': {
    readonly log_entry?: readonly XdsMessages['envoy.data.accesslog.v3.TCPAccessLogEntry'][];
  };
  'envoy.service.accesslog.v3.StreamAccessLogsResponse': {
  };
  'envoy.type.matcher.v3.HttpRequestHeaderMatchInput': {
    readonly header_name?: string;
  };
  'envoy.type.v3.Percent': {
    readonly value?: number;
  };
  'google.protobuf.Any': {
    readonly type_url?: string;
    readonly value?: Uint8Array;
  };
  'google.protobuf.BoolValue': {
    readonly value?: boolean;
  };
  'google.protobuf.Duration': {
    readonly seconds?: number;
    readonly nanos?: number;
  };
  'google.protobuf.ListValue': {
    readonly values?: readonly XdsMessages['google.protobuf.Value'][];
  };
  'google.protobuf.StringValue': {
    readonly value?: string;
  };
  'google.protobuf.Struct': {
    readonly fields?: Readonly<Record<string, XdsMessages['google.protobuf.Value']>>;
  };
  'google.protobuf.Timestamp': {
    readonly seconds?: number;
    readonly nanos?: number;
  };
  'google.protobuf.UInt32Value': {
    readonly value?: number;
  };
  'google.protobuf.Value': {
    readonly null_value?: XdsEnums['google.protobuf.NullValue'];
    readonly number_value?: number;
    readonly string_value?: string;
    readonly bool_value?: boolean;
    readonly struct_value?: XdsMessages['google.protobuf.Struct'];
    readonly list_value?: XdsMessages['google.protobuf.ListValue'];
  };
  'xds.core.v3.TypedExtensionConfig': {
    readonly name?: string;
    readonly typed_config?: XdsAny;
  };
  'xds.type.matcher.v3.Matcher': {
    readonly matcher_list?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherList'];
    readonly matcher_tree?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherTree'];
    readonly on_no_match?: XdsMessages['xds.type.matcher.v3.Matcher.OnMatch'];
  };
  'xds.type.matcher.v3.Matcher.MatcherList': {
    readonly matchers?: readonly XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher'][];
  };
  'xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher': {
    readonly predicate?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate'];
    readonly on_match?: XdsMessages['xds.type.matcher.v3.Matcher.OnMatch'];
  };
  'xds.type.matcher.v3.Matcher.MatcherList.Predicate': {
    readonly single_predicate?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate'];
    readonly or_matcher?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList'];
    readonly and_matcher?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList'];
    readonly not_matcher?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate'];
  };
  'xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList': {
    readonly predicate?: readonly XdsMessages['xds.type.matcher.v3.Matcher.MatcherList.Predicate'][];
  };
  'xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate': {
    readonly input?: XdsMessages['xds.core.v3.TypedExtensionConfig'];
    readonly value_match?: XdsMessages['xds.type.matcher.v3.StringMatcher'];
  };
  'xds.type.matcher.v3.Matcher.MatcherTree': {
    readonly input?: XdsMessages['xds.core.v3.TypedExtensionConfig'];
    readonly exact_match_map?: XdsMessages['xds.type.matcher.v3.Matcher.MatcherTree.MatchMap'];
  };
  'xds.type.matcher.v3.Matcher.MatcherTree.MatchMap': {
    readonly map?: Readonly<Record<string, XdsMessages['xds.type.matcher.v3.Matcher.OnMatch']>>;
  };
  'xds.type.matcher.v3.Matcher.OnMatch': {
    readonly matcher?: XdsMessages['xds.type.matcher.v3.Matcher'];
    readonly action?: XdsMessages['xds.core.v3.TypedExtensionConfig'];
  };
  'xds.type.matcher.v3.RegexMatcher': {
    readonly google_re2?: XdsMessages['xds.type.matcher.v3.RegexMatcher.GoogleRE2'];
    readonly regex?: string;
  };
  'xds.type.matcher.v3.RegexMatcher.GoogleRE2': {
  };
  'xds.type.matcher.v3.StringMatcher': {
    readonly exact?: string;
    readonly safe_regex?: XdsMessages['xds.type.matcher.v3.RegexMatcher'];
  };
}

/** The messages that stand on their own or in an Any. */
export type XdsRoot =
  | 'envoy.config.listener.v3.Listener'
  | 'envoy.config.route.v3.RouteConfiguration'
  | 'envoy.config.cluster.v3.Cluster'
  | 'envoy.config.endpoint.v3.ClusterLoadAssignment'
  | 'envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter'
  | 'envoy.extensions.filters.listener.original_src.v3.OriginalSrc'
  | 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'
  | 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
  | 'envoy.extensions.filters.network.rbac.v3.RBAC'
  | 'envoy.extensions.filters.network.set_filter_state.v3.Config'
  | 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
  | 'envoy.extensions.filters.http.rbac.v3.RBAC'
  | 'envoy.extensions.filters.http.rbac.v3.RBACPerRoute'
  | 'envoy.extensions.filters.http.router.v3.Router'
  | 'envoy.extensions.filters.http.lua.v3.Lua'
  | 'envoy.extensions.filters.http.lua.v3.LuaPerRoute'
  | 'envoy.extensions.matching.common_inputs.network.v3.FilterStateInput'
  | 'envoy.extensions.matching.common_inputs.network.v3.ServerNameInput'
  | 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput'
  | 'envoy.config.rbac.v3.Action'
  | 'envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig'
  | 'envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig'
  | 'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter'
  | 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
  | 'google.protobuf.StringValue'
  | 'envoy.service.accesslog.v3.StreamAccessLogsMessage'
  | 'envoy.service.accesslog.v3.StreamAccessLogsResponse';

export type XdsAny =
  | { readonly '@type'?: never; readonly type_url: string; readonly value: Uint8Array }
  | { [K in XdsRoot]: { readonly '@type': K } & XdsMessages[K] }[XdsRoot];
