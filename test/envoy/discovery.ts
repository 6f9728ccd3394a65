/** What a real Envoy is told in tests, and by whom. */
import { join } from 'node:path';
import protobuf from 'protobufjs/minimal.js';
import { httpEvent } from '../../control-plane/envoy/access-log.ts';
import { logEntries } from '../../control-plane/envoy/access-log-wire.ts';
import { XDS_TABLE, type XdsMessages } from '../../control-plane/generated/xds.ts';
import type { HttpEvent } from '../../control-plane/model/http-event.ts';
import { encodeTraffic, TRAFFIC_TYPES, type TrafficResources } from '../../control-plane/traffic/resources.ts';
import { Codec } from '../../control-plane/xds/codec.ts';
import { clientStreamService, GrpcServer } from '../../control-plane/xds/grpc-server.ts';
import { ResourceCache } from '../../control-plane/xds/resource-cache.ts';
import { type Ack, DeltaAdsServer, type Nack } from '../../control-plane/xds/server.ts';
import { typeUrlOf } from '../../control-plane/xds/types.ts';

export type Listener = XdsMessages['envoy.config.listener.v3.Listener'];
export type LogEntry = XdsMessages['envoy.data.accesslog.v3.HTTPAccessLogEntry'];

const DEADLINE_MS = 10_000;
const codec = new Codec<XdsMessages>(XDS_TABLE);

/** An agent's half of the conversation. */
export class Discovery {
  readonly cache = new ResourceCache();
  readonly ads = new DeltaAdsServer(this.cache);
  readonly acks: Ack[] = [];
  readonly nacks: Nack[] = [];
  readonly logged: LogEntry[] = [];
  /** The same as the agent reads it. */
  readonly events: HttpEvent[] = [];
  readonly #grpc: GrpcServer;

  constructor(folder: string) {
    this.#grpc = new GrpcServer({ path: join(folder, 'xds.sock') });
    this.#grpc.register(this.ads.service);
    this.#grpc.register(
      clientStreamService('/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs', () => ({
        message: (bytes) => {
          const { http_logs } = codec.decode('envoy.service.accesslog.v3.StreamAccessLogsMessage', bytes);
          this.logged.push(...(http_logs?.log_entry ?? []));
          for (const entry of logEntries(bytes)) if ('request' in entry) this.events.push(httpEvent(entry));
        },
        closed: () => undefined,
      })),
    );
    this.ads.events.on('ack', (ack) => this.acks.push(ack));
    this.ads.events.on('nack', (nack) => this.nacks.push(nack));
  }

  listen(): Promise<void> {
    return this.#grpc.listen();
  }

  set(resources: TrafficResources): number {
    for (const [typeUrl, contents] of encodeTraffic(codec, resources)) this.cache.set(typeUrl, contents);
    return this.cache.revision;
  }

  acknowledged(revision = this.cache.revision) {
    return this.ads.acknowledged(revision, { types: TRAFFIC_TYPES, deadlineMs: DEADLINE_MS });
  }

  close(): void {
    this.ads.close();
    this.#grpc.close();
  }
}

const TLS_INSPECTOR = 'envoy.filters.listener.tls_inspector';

/** Sets what the module would, for every connection: this Envoy knows it, the npm protos do not. */
function filterState(values: Readonly<Record<string, string>>): NonNullable<Listener['listener_filters']>[number] {
  const writer = protobuf.Writer.create();
  for (const [key, value] of Object.entries(values)) {
    // Config.on_accept = FilterStateValue { object_key, factory_key, format_string.text_format_source.inline_string }
    writer.uint32(10).fork().uint32(10).string(key);
    if (!key.startsWith('envoy.')) writer.uint32(50).string('envoy.string');
    writer.uint32(18).fork().uint32(42).fork().uint32(26).string(value).ldelim().ldelim().ldelim();
  }
  return {
    name: 'test.filter_state',
    typed_config: {
      type_url: typeUrlOf('envoy.extensions.filters.listener.set_filter_state.v3.Config'),
      value: writer.finish(),
    },
  };
}

export interface Known {
  readonly egress: number;
  readonly ingress: number;
  /** Of the source. */
  readonly identity: number;
  /** Where every request goes. */
  readonly backendPort: number;
}

/** One on 127.0.0.1 that does what the translated ones do, but knows of every connection what the module would say. */
export function knownListener(name: string, port: number, translated: TrafficResources, known: Known): Listener {
  return {
    name,
    filter_chains: translated.listeners[0]?.filter_chains ?? [],
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    listener_filters: [
      filterState({
        'sidestep.egress': String(known.egress),
        'sidestep.ingress': String(known.ingress),
        'sidestep.source_identity': String(known.identity),
        'envoy.network.transport_socket.original_dst_address': `127.0.0.1:${known.backendPort}`,
      }),
      ...(translated.listeners[0]?.listener_filters ?? []).filter(({ name: each }) => each === TLS_INSPECTOR),
    ],
  };
}

/** Without privilege a listener cannot be transparent nor mark packets; all else stays as translated. */
export function possible(listener: Listener): Listener {
  if (process.getuid?.() === 0) return listener;
  const { transparent: _, additional_addresses: _marked, ...rest } = listener;
  return { ...rest, listener_filters: (listener.listener_filters ?? []).slice(0, 1) };
}
