/**
 * StreamAccessLogsMessage on the wire -> the part of it that we read, in the message's own names.
 * By hand: an entry has some hundred fields, and one comes with every request; what is not read here is skipped, not decoded.
 */
import protobuf from 'protobufjs/minimal.js';

const { Reader } = protobuf;
type Wire = protobuf.Reader;

export interface AccessLogMessage {
  readonly http_logs?: { readonly log_entry: readonly HttpLogEntry[] };
}

export interface HttpLogEntry {
  readonly common_properties: CommonProperties;
  /** HTTPVersion: 1 is HTTP/1.0, 2 HTTP/1.1, 3 HTTP/2, 4 HTTP/3. */
  readonly protocol_version: number;
  readonly request: HttpRequest;
  readonly response: HttpResponse;
}

export interface CommonProperties {
  /** Of the connection. `downstream_remote_address` is what the client says in X-Forwarded-For. */
  readonly downstream_direct_remote_address?: SocketAddress;
  readonly downstream_local_address?: SocketAddress;
  readonly start_time?: Instant;
  readonly duration?: Instant;
  /** Namespace -> key -> value, the texts among them. */
  readonly metadata: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** The texts among them. */
  readonly filter_state_objects: ReadonlyMap<string, string>;
}

/** A Timestamp or a Duration. */
export interface Instant {
  readonly seconds: number;
  readonly nanos: number;
}

export interface SocketAddress {
  readonly address: string;
  readonly port_value: number;
}

export interface HttpRequest {
  /** RequestMethod: 0 is one that has no number. */
  readonly request_method: number;
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  /** Those that the logger was told to send. */
  readonly request_headers: ReadonlyMap<string, string>;
}

export interface HttpResponse {
  readonly response_code: number;
  readonly response_code_details: string;
}

type Writable<T> = { -readonly [key in keyof T]: T[key] };

/** @throws RangeError when it is cut off */
export function decodeAccessLog(bytes: Uint8Array): AccessLogMessage {
  const reader = Reader.create(bytes);
  const entries: HttpLogEntry[] = [];
  fields(reader, reader.len, (field) => {
    // 1 identifier, 3 tcp_logs
    if (field !== 2) return false;
    message(reader, (logs) => (logs === 1 ? take(() => entries.push(entry(reader))) : false));
    return true;
  });
  return entries.length > 0 ? { http_logs: { log_entry: entries } } : {};
}

/** Calls `read` with the number of each field up to `end`; what it does not read is skipped. */
function fields(reader: Wire, end: number, read: (field: number) => boolean): void {
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (!read(tag >>> 3)) reader.skipType(tag & 7);
  }
}

function message(reader: Wire, read: (field: number) => boolean): void {
  const length = reader.uint32();
  fields(reader, reader.pos + length, read);
}

function take(read: () => unknown): true {
  read();
  return true;
}

function entry(reader: Wire): HttpLogEntry {
  const found: Writable<HttpLogEntry> = {
    common_properties: { metadata: new Map(), filter_state_objects: new Map() },
    protocol_version: 0,
    request: { request_method: 0, scheme: '', authority: '', path: '', request_headers: new Map() },
    response: { response_code: 0, response_code_details: '' },
  };
  message(reader, (field) => {
    if (field === 1) found.common_properties = common(reader);
    else if (field === 2) found.protocol_version = reader.uint32();
    else if (field === 3) found.request = request(reader);
    else if (field === 4) found.response = response(reader);
    else return false;
    return true;
  });
  return found;
}

function common(reader: Wire): CommonProperties {
  const filterState = new Map<string, string>();
  const found: Writable<CommonProperties> = { metadata: new Map(), filter_state_objects: filterState };
  message(reader, (field) => {
    if (field === 20 || field === 3) {
      const socket = address(reader);
      if (socket) found[field === 20 ? 'downstream_direct_remote_address' : 'downstream_local_address'] = socket;
    } else if (field === 5) found.start_time = instant(reader);
    else if (field === 17) found.metadata = metadata(reader);
    else if (field === 21) pair(reader, () => anyText(reader), filterState);
    else if (field === 23) found.duration = instant(reader);
    else return false;
    return true;
  });
  return found;
}

function request(reader: Wire): HttpRequest {
  const headers = new Map<string, string>();
  const found: Writable<HttpRequest> = {
    request_method: 0,
    scheme: '',
    authority: '',
    path: '',
    request_headers: headers,
  };
  message(reader, (field) => {
    if (field === 1) found.request_method = reader.uint32();
    else if (field === 2) found.scheme = reader.string();
    else if (field === 3) found.authority = reader.string();
    else if (field === 5) found.path = reader.string();
    else if (field === 13) pair(reader, () => reader.string(), headers);
    else return false;
    return true;
  });
  return found;
}

function response(reader: Wire): HttpResponse {
  const found: Writable<HttpResponse> = { response_code: 0, response_code_details: '' };
  message(reader, (field) => {
    // UInt32Value
    if (field === 1) message(reader, (value) => value === 1 && take(() => (found.response_code = reader.uint32())));
    else if (field === 6) found.response_code_details = reader.string();
    else return false;
    return true;
  });
  return found;
}

/** config.core.v3.Address; undefined for a pipe. */
function address(reader: Wire): SocketAddress | undefined {
  const found: Writable<SocketAddress> = { address: '', port_value: 0 };
  message(reader, (field) => {
    if (field !== 1) return false;
    message(reader, (socket) => {
      if (socket === 2) found.address = reader.string();
      else if (socket === 3) found.port_value = reader.uint32();
      else return false;
      return true;
    });
    return true;
  });
  return found.address === '' ? undefined : found;
}

function instant(reader: Wire): Instant {
  const found: Writable<Instant> = { seconds: 0, nanos: 0 };
  message(reader, (field) => {
    if (field === 1) found.seconds = Number(reader.int64());
    else if (field === 2) found.nanos = reader.int32();
    else return false;
    return true;
  });
  return found;
}

/** config.core.v3.Metadata */
function metadata(reader: Wire): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const found = new Map<string, Map<string, string>>();
  message(reader, (field) => {
    if (field !== 1) return false;
    pair(reader, () => struct(reader), found);
    return true;
  });
  return found;
}

/** google.protobuf.Struct */
function struct(reader: Wire): Map<string, string> {
  const found = new Map<string, string>();
  message(reader, (field) => {
    if (field !== 1) return false;
    pair(reader, () => valueText(reader), found);
    return true;
  });
  return found;
}

/** google.protobuf.Value, when it is a text */
function valueText(reader: Wire): string | undefined {
  let text: string | undefined;
  message(reader, (field) => field === 3 && take(() => (text = reader.string())));
  return text;
}

/** google.protobuf.Any around a StringValue: what the identity module's filter state is logged as. */
function anyText(reader: Wire): string | undefined {
  let type = '';
  let value: Uint8Array = new Uint8Array();
  message(reader, (field) => {
    if (field === 1) type = reader.string();
    else if (field === 2) value = reader.bytes();
    else return false;
    return true;
  });
  if (!type.endsWith('/google.protobuf.StringValue')) return undefined;
  const inner = Reader.create(value);
  let text = '';
  fields(inner, inner.len, (field) => field === 1 && take(() => (text = inner.string())));
  return text;
}

/** One entry of a map field. */
function pair<T>(reader: Wire, readValue: () => T | undefined, into: Map<string, T>): void {
  let key = '';
  let value: T | undefined;
  message(reader, (field) => {
    if (field === 1) key = reader.string();
    else if (field === 2) value = readValue();
    else return false;
    return true;
  });
  if (value !== undefined) into.set(key, value);
}
