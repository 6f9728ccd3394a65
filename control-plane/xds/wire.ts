/**
 * The delta discovery messages as bytes (envoy.service.discovery.v3). Three messages are all that a server needs, and a
 * resource must go out as the very bytes that were made once; so they are read and written here, field by field.
 */
import protobuf from 'protobufjs/minimal.js';

const { Reader, Writer } = protobuf;

/** The number of a field and how it is encoded, as one number in front of it. */
const delimited = (field: number): number => (field << 3) | 2;

export interface ClientNode {
  readonly id: string;
  readonly cluster: string;
}

export interface DeltaRequest {
  /** Only sure to be there in a stream's first request. */
  readonly node: ClientNode | undefined;
  readonly typeUrl: string;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** What the client brings along from an earlier stream: name -> version. */
  readonly initialVersions: ReadonlyMap<string, string>;
  /** Empty when the request answers no response. */
  readonly nonce: string;
  /** Why the client refused the response, if it did. */
  readonly error: { readonly code: number; readonly message: string } | undefined;
}

export function decodeDeltaRequest(bytes: Uint8Array): DeltaRequest {
  const reader = Reader.create(bytes);
  const request = {
    node: undefined as ClientNode | undefined,
    typeUrl: '',
    subscribe: [] as string[],
    unsubscribe: [] as string[],
    initialVersions: new Map<string, string>(),
    nonce: '',
    error: undefined as DeltaRequest['error'],
  };
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === delimited(1)) {
      const [id, cluster] = readStrings(reader, 1, 2);
      request.node = { id, cluster };
    } else if (tag === delimited(2)) request.typeUrl = reader.string();
    else if (tag === delimited(3)) request.subscribe.push(reader.string());
    else if (tag === delimited(4)) request.unsubscribe.push(reader.string());
    else if (tag === delimited(5)) request.initialVersions.set(...readStrings(reader, 1, 2));
    else if (tag === delimited(6)) request.nonce = reader.string();
    else if (tag === delimited(7)) request.error = readStatus(reader);
    else reader.skipType(tag & 7);
  }
  return request;
}

/** Two string fields of the message that comes next. */
function readStrings(reader: protobuf.Reader, first: number, second: number): [string, string] {
  const end = reader.uint32() + reader.pos;
  const found: [string, string] = ['', ''];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag === delimited(first)) found[0] = reader.string();
    else if (tag === delimited(second)) found[1] = reader.string();
    else reader.skipType(tag & 7);
  }
  return found;
}

function readStatus(reader: protobuf.Reader): { code: number; message: string } {
  const end = reader.uint32() + reader.pos;
  const status = { code: 0, message: '' };
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag === 8) status.code = reader.int32();
    else if (tag === delimited(2)) status.message = reader.string();
    else reader.skipType(tag & 7);
  }
  return status;
}

export interface EncodedResource {
  /** The field `resources` of a response with this one resource in it. */
  readonly wire: Uint8Array;
  /** The part of it that the caller gave. */
  readonly bytes: Uint8Array;
}

export function encodeResource(typeUrl: string, name: string, version: string, bytes: Uint8Array): EncodedResource {
  const writer = Writer.create();
  writer.uint32(delimited(2)).fork();
  writer.uint32(delimited(3)).string(name);
  writer.uint32(delimited(1)).string(version);
  writer.uint32(delimited(2)).fork();
  writer.uint32(delimited(1)).string(typeUrl);
  writer.uint32(delimited(2)).bytes(bytes);
  const wire = writer.ldelim().ldelim().finish();
  // They come last, so nothing is kept twice.
  return { wire, bytes: wire.subarray(wire.length - bytes.length) };
}

export interface DeltaResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  /** For people who read dumps; the protocol makes nothing of it. */
  readonly systemVersion: string;
  readonly removed: readonly string[];
  readonly resources: readonly EncodedResource[];
}

/** Fields of a message may come in any order, so the resources are copied behind the rest, not encoded again. */
export function encodeDeltaResponse({ typeUrl, nonce, systemVersion, removed, resources }: DeltaResponse): Buffer {
  const writer = Writer.create();
  writer.uint32(delimited(1)).string(systemVersion);
  writer.uint32(delimited(4)).string(typeUrl);
  writer.uint32(delimited(5)).string(nonce);
  for (const name of removed) writer.uint32(delimited(6)).string(name);
  return Buffer.concat([writer.finish(), ...resources.map(({ wire }) => wire)]);
}
