/**
 * StreamAccessLogsMessage on the wire -> the part of it that we read, in the message's own names.
 * By hand: an entry has some hundred fields, and one comes with every request; what is not read here is skipped, not decoded.
 */
import { Fields } from './wire-fields.ts';

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
  /** Why Envoy ended it. */
  readonly connection_termination_details?: string;
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

const STRING_VALUE = Buffer.from('type.googleapis.com/google.protobuf.StringValue');

/** A connection that was passed on unread, or refused. */
export interface TcpLogEntry {
  readonly common_properties: CommonProperties;
}

/** What a message tells of, one at a time: none is held while the next is read. @throws RangeError when it is cut off */
export function* logEntries(bytes: Uint8Array): Generator<HttpLogEntry | TcpLogEntry> {
  const wire = new Fields(bytes);
  for (let field = wire.next(); field !== 0; field = wire.next()) {
    // 1 identifier, 2 http_logs, 3 tcp_logs
    if (field !== 2 && field !== 3) {
      wire.skip();
      continue;
    }
    const outer = wire.enter();
    for (let log = wire.next(); log !== 0; log = wire.next())
      if (log === 1) yield field === 2 ? entry(wire) : tcpEntry(wire);
      else wire.skip();
    wire.leave(outer);
  }
}

function entry(wire: Fields): HttpLogEntry {
  const outer = wire.enter();
  let properties: CommonProperties | undefined;
  let version = 0;
  let asked: HttpRequest | undefined;
  let answered: HttpResponse | undefined;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) properties = common(wire);
    else if (field === 2) version = wire.number();
    else if (field === 3) asked = request(wire);
    else if (field === 4) answered = response(wire);
    else wire.skip();
  wire.leave(outer);
  return {
    common_properties: properties ?? { metadata: new Map(), filter_state_objects: new Map() },
    protocol_version: version,
    request: asked ?? { request_method: 0, scheme: '', authority: '', path: '', request_headers: new Map() },
    response: answered ?? { response_code: 0, response_code_details: '' },
  };
}

function tcpEntry(wire: Fields): TcpLogEntry {
  const outer = wire.enter();
  let properties: CommonProperties | undefined;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) properties = common(wire);
    else wire.skip();
  wire.leave(outer);
  return { common_properties: properties ?? { metadata: new Map(), filter_state_objects: new Map() } };
}

function common(wire: Fields): CommonProperties {
  const outer = wire.enter();
  const filterState = new Map<string, string>();
  let texts: CommonProperties['metadata'] | undefined;
  let [remote, local]: (SocketAddress | undefined)[] = [];
  let [start, duration]: (Instant | undefined)[] = [];
  let termination = '';
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 20) remote = address(wire);
    else if (field === 3) local = address(wire);
    else if (field === 5) start = instant(wire);
    else if (field === 17) texts = metadata(wire);
    else if (field === 21) pair(wire, anyText, filterState);
    else if (field === 23) duration = instant(wire);
    else if (field === 25) termination = wire.text();
    else wire.skip();
  wire.leave(outer);
  return {
    ...(remote ? { downstream_direct_remote_address: remote } : {}),
    ...(local ? { downstream_local_address: local } : {}),
    ...(start ? { start_time: start } : {}),
    ...(duration ? { duration } : {}),
    ...(termination === '' ? {} : { connection_termination_details: termination }),
    metadata: texts ?? new Map(),
    filter_state_objects: filterState,
  };
}

function request(wire: Fields): HttpRequest {
  const outer = wire.enter();
  const headers = new Map<string, string>();
  let method = 0;
  let [scheme, authority, path] = ['', '', ''];
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) method = wire.number();
    else if (field === 2) scheme = wire.text();
    else if (field === 3) authority = wire.text();
    else if (field === 5) path = wire.text();
    else if (field === 13) pair(wire, textOf, headers);
    else wire.skip();
  wire.leave(outer);
  return { request_method: method, scheme, authority, path, request_headers: headers };
}

function response(wire: Fields): HttpResponse {
  const outer = wire.enter();
  let code = 0;
  let details = '';
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) code = wrappedNumber(wire);
    else if (field === 6) details = wire.text();
    else wire.skip();
  wire.leave(outer);
  return { response_code: code, response_code_details: details };
}

/** google.protobuf.UInt32Value */
function wrappedNumber(wire: Fields): number {
  const outer = wire.enter();
  let value = 0;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) value = wire.number();
    else wire.skip();
  wire.leave(outer);
  return value;
}

/** config.core.v3.Address; undefined for a pipe. */
function address(wire: Fields): SocketAddress | undefined {
  const outer = wire.enter();
  let found: SocketAddress | undefined;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) found = socketAddress(wire);
    else wire.skip();
  wire.leave(outer);
  return found;
}

function socketAddress(wire: Fields): SocketAddress | undefined {
  const outer = wire.enter();
  let text = '';
  let port = 0;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 2) text = wire.text();
    else if (field === 3) port = wire.number();
    else wire.skip();
  wire.leave(outer);
  return text === '' ? undefined : { address: text, port_value: port };
}

function instant(wire: Fields): Instant {
  const outer = wire.enter();
  let [seconds, nanos] = [0, 0];
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) seconds = wire.number();
    else if (field === 2) nanos = wire.number();
    else wire.skip();
  wire.leave(outer);
  return { seconds, nanos };
}

/** config.core.v3.Metadata */
function metadata(wire: Fields): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const outer = wire.enter();
  const found = new Map<string, Map<string, string>>();
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) pair(wire, struct, found);
    else wire.skip();
  wire.leave(outer);
  return found;
}

/** google.protobuf.Struct */
function struct(wire: Fields): Map<string, string> {
  const outer = wire.enter();
  const found = new Map<string, string>();
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) pair(wire, valueText, found);
    else wire.skip();
  wire.leave(outer);
  return found;
}

/** google.protobuf.Value, when it is a text */
function valueText(wire: Fields): string | undefined {
  return onlyText(wire, 3);
}

/** google.protobuf.Any around a StringValue: what the identity module's filter state is logged as. */
function anyText(wire: Fields): string | undefined {
  const outer = wire.enter();
  let ours = false;
  let text: string | undefined;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) ours = wire.isText(STRING_VALUE);
    else if (field === 2 && ours) text = onlyText(wire, 1) ?? '';
    else wire.skip();
  wire.leave(outer);
  return text;
}

/** @returns the one field of a message that matters */
function onlyText(wire: Fields, wanted: number): string | undefined {
  const outer = wire.enter();
  let text: string | undefined;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === wanted) text = wire.text();
    else wire.skip();
  wire.leave(outer);
  return text;
}

function textOf(wire: Fields): string {
  return wire.text();
}

/** One entry of a map field. */
function pair<T>(wire: Fields, readValue: (wire: Fields) => T | undefined, into: Map<string, T>): void {
  const outer = wire.enter();
  let key = '';
  let value: T | undefined;
  for (let field = wire.next(); field !== 0; field = wire.next())
    if (field === 1) key = wire.text();
    else if (field === 2) value = readValue(wire);
    else wire.skip();
  wire.leave(outer);
  if (value !== undefined) into.set(key, value);
}
