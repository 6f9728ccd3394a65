/** The codec and its table against Envoy's full message definitions, as the reference library reads them. */
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { XDS_TABLE, type XdsMessages } from '../../control-plane/generated/xds.ts';
import { Codec, CodecError } from '../../control-plane/xds/codec.ts';
import { decodeDeltaRequest, encodeDeltaResponse, encodeResource } from '../../control-plane/xds/wire.ts';
import { loadProtos } from '../../scripts/xds-protos.ts';

type Plain = Readonly<Record<string, unknown>>;

const codec = new Codec<Record<string, Plain>>(XDS_TABLE);
const typed = new Codec<XdsMessages>(XDS_TABLE);
const messages: Readonly<Record<string, Readonly<Record<string, string>>>> = XDS_TABLE.messages;
const enums: Readonly<Record<string, Readonly<Record<string, number>>>> = XDS_TABLE.enums;
const TOP = Object.keys(messages).filter((name) => !name.startsWith('google.') && !/\.[A-Z]\w*\.[A-Z]/.test(name));
const protos = loadProtos([...TOP, 'envoy.service.discovery.v3.DeltaDiscoveryRequest']);

/** Never a type's zero: with and without it are the same message, which the reference writes without. */
const isSome = (value: unknown): boolean => value !== 0;
const SCALARS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  bool: fc.constant(true),
  int32: fc.integer().filter(isSome),
  uint32: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  int64: fc.maxSafeInteger().filter(isSome),
  uint64: fc.maxSafeNat().filter(isSome),
  double: fc.double({ noNaN: true, min: 1e-9 }),
  string: fc.string({ unit: 'grapheme', minLength: 1 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
};
const KEYS = fc.constantFrom('a', 'sidestep.egress', '16', 'ü');
/** Nobody's type, so that neither side opens it. */
const ANY = fc.record({ type_url: fc.constant('x/y.Z'), value: SCALARS['bytes'] as fc.Arbitrary<unknown> });

/** Random messages by the table; a field that has a depth of its own ends somewhere. */
function arbitraryOf(name: string, depth: number): fc.Arbitrary<Plain> {
  if (name === 'google.protobuf.Any') return ANY;
  const oneofs = new Map<string, [string, fc.Arbitrary<unknown>][]>();
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [field, text] of Object.entries(messages[name] ?? {})) {
    const [head = '', ...rest] = text.split(' ');
    const type = rest.at(-1) ?? '';
    const words = Object.entries(enums[type] ?? {}).flatMap(([word, number]) => (number === 0 ? [] : [word]));
    // Whose only word is its zero.
    if (type in enums && words.length === 0) continue;
    const leaf = type in enums ? fc.constantFrom(...words) : SCALARS[type];
    if (leaf === undefined && depth === 0) continue;
    const one = leaf ?? arbitraryOf(type, depth - 1);
    const value =
      rest[0] === 'repeated'
        ? fc.array(one, { minLength: 1, maxLength: 2 })
        : rest[0] === 'map'
          ? fc.dictionary(KEYS, one, { minKeys: 1, maxKeys: 2, noNullPrototype: true })
          : one;
    const oneof = head.split('|')[1];
    if (oneof === undefined) fields[field] = value;
    else oneofs.set(oneof, [...(oneofs.get(oneof) ?? []), [field, value]]);
  }
  const choices = [...oneofs.values()].map((options) =>
    fc.option(fc.oneof(...options.map(([field, value]) => value.map((v) => ({ [field]: v })))), { nil: {} }),
  );
  return fc
    .tuple(fc.record(fields, { requiredKeys: [] }), ...choices)
    .map((parts) => Object.assign({}, ...parts) as Plain);
}

/** protobufjs names the fields of the well-known types in its own style. */
function renamed(value: unknown, rename: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => renamed(each, rename));
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [rename(key), renamed(each, rename)]));
}
const WORDS = ['null', 'number', 'string', 'bool', 'struct', 'list'];
const toReference = (key: string): string => (WORDS.some((w) => key === `${w}_value`) ? key.replace('_v', 'V') : key);
const toOurs = (key: string): string => (WORDS.some((w) => key === `${w}Value`) ? key.replace('V', '_v') : key);

const plain = (type: protobuf.Type, bytes: Uint8Array): unknown =>
  renamed(type.toObject(type.decode(bytes), { enums: String, longs: Number, bytes: Buffer }), toOurs);

test.each(TOP)('%s is read by the reference as it was written, and the other way round', (name) => {
  const type = protos.lookupType(name);
  fc.assert(
    fc.property(arbitraryOf(name, 4), (message) => {
      const bytes = codec.encode(name, message);
      expect(plain(type, bytes)).toEqual(message);
      const theirs = type.encode(type.fromObject(renamed(message, toReference) as Plain)).finish();
      expect(codec.decode(name, theirs)).toEqual(message);
    }),
    { numRuns: 20 },
  );
});

describe('the codec', () => {
  test('opens and closes an Any of a known type, however deep', () => {
    const action = { '@type': 'envoy.config.rbac.v3.Action', name: 'rule', action: 'DENY' } as const;
    const bytes = typed.encode('xds.core.v3.TypedExtensionConfig', { name: 'action', typed_config: action });
    expect(typed.decode('xds.core.v3.TypedExtensionConfig', bytes)).toEqual({ name: 'action', typed_config: action });
    const type = protos.lookupType('xds.core.v3.TypedExtensionConfig');
    const { typed_config } = plain(type, bytes) as { typed_config: { type_url: string; value: Uint8Array } };
    expect(typed_config.type_url).toBe('type.googleapis.com/envoy.config.rbac.v3.Action');
    expect(plain(protos.lookupType('envoy.config.rbac.v3.Action'), typed_config.value)).toEqual({
      name: 'rule',
      action: 'DENY',
    });
  });

  test('skips what a newer peer says and it does not know', () => {
    const full = protos.lookupType('envoy.data.accesslog.v3.AccessLogCommon');
    const bytes = full
      .encode({ sample_rate: 0.5, custom_tags: { a: 'b' }, upstream_cluster: 'c', access_log_type: 99 })
      .finish();
    expect(typed.decode('envoy.data.accesslog.v3.AccessLogCommon', bytes)).toEqual({
      upstream_cluster: 'c',
      access_log_type: 99,
    });
  });

  test('reads packed lists', () => {
    const table = { messages: { M: { n: '1 repeated uint32', b: '2 repeated bool' } }, enums: {} };
    const lists = new Codec<{ M: { n?: readonly number[]; b?: readonly boolean[] } }>(table);
    const root = protobuf.parse('syntax = "proto3"; message M { repeated uint32 n = 1; repeated bool b = 2; }').root;
    const message = { n: [0, 1, 300], b: [true, false] };
    expect(lists.decode('M', root.lookupType('M').encode(message).finish())).toEqual(message);
    expect(root.lookupType('M').decode(lists.encode('M', message))).toMatchObject(message);
  });

  test.each<readonly [string, Plain]>([
    ['envoy.config.listener.v3.Listener: envoy.config.listener.v3.Listener has no field nmae', { nmae: 'x' }],
    ['envoy.config.listener.v3.Listener.name: 1 is not string', { name: 1 }],
    [
      'envoy.config.listener.v3.Listener.address.socket_address.port_value: -1 is not uint32',
      {
        address: { socket_address: { port_value: -1 } },
      },
    ],
    [
      'envoy.config.listener.v3.Listener.socket_options.state: "LATER" is not envoy.config.core.v3.SocketOption',
      {
        socket_options: [{ state: 'LATER' }],
      },
    ],
    [
      'envoy.config.listener.v3.Listener.address: more than one of address is set',
      {
        address: { socket_address: {}, pipe: {} },
      },
    ],
    ['envoy.config.listener.v3.Listener.filter_chains: is not a list', { filter_chains: {} }],
    ['envoy.config.listener.v3.Listener.address: is not envoy.config.core.v3.Address', { address: null }],
    [
      'envoy.config.listener.v3.Listener.listener_filters.typed_config: there is no message x.Y in the table',
      {
        listener_filters: [{ typed_config: { '@type': 'x.Y' } }],
      },
    ],
  ])('says what is wrong and where: %s', (words, message) => {
    const write = (): Uint8Array => codec.encode('envoy.config.listener.v3.Listener', message);
    expect(write).toThrow(CodecError);
    expect(write).toThrow(words);
  });
});

describe('the discovery messages', () => {
  const REQUEST = protos.lookupType('envoy.service.discovery.v3.DeltaDiscoveryRequest');
  const RESPONSE = protos.lookupType('envoy.service.discovery.v3.DeltaDiscoveryResponse');
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 });

  test('a request is read as the reference writes it', () => {
    const request = fc.record({
      node: fc.record({ id: text, cluster: text, user_agent_name: text, client_features: fc.array(text) }),
      typeUrl: text,
      subscribe: fc.array(text),
      unsubscribe: fc.array(text),
      initialVersions: fc.dictionary(text, text, { noNullPrototype: true }),
      nonce: text,
      error: fc.option(fc.record({ code: fc.nat(16), message: text }), { nil: undefined }),
    });
    fc.assert(
      fc.property(request, ({ node, typeUrl, subscribe, unsubscribe, initialVersions, nonce, error }) => {
        const bytes = REQUEST.encode(
          REQUEST.fromObject({
            node,
            type_url: typeUrl,
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: initialVersions,
            response_nonce: nonce,
            error_detail: error && { ...error, details: [{ type_url: 'x', value: Buffer.of(1) }] },
          }),
        ).finish();
        expect(decodeDeltaRequest(bytes)).toEqual({
          node: { id: node.id, cluster: node.cluster },
          typeUrl,
          subscribe,
          unsubscribe,
          initialVersions: new Map(Object.entries(initialVersions)),
          nonce,
          error,
        });
      }),
    );
  });

  test('a response is read by the reference as it was written', () => {
    const resource = fc.record({ name: text, version: text, bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }) });
    fc.assert(
      fc.property(text, text, fc.array(text), fc.array(resource), (typeUrl, nonce, removed, resources) => {
        const encoded = resources.map(({ name, version, bytes }) => encodeResource(typeUrl, name, version, bytes));
        expect(encoded.map(({ bytes }) => Buffer.from(bytes))).toEqual(
          resources.map(({ bytes }) => Buffer.from(bytes)),
        );
        const bytes = encodeDeltaResponse({ typeUrl, nonce, systemVersion: '7', removed, resources: encoded });
        expect(RESPONSE.toObject(RESPONSE.decode(bytes), { bytes: Buffer, arrays: true })).toMatchObject({
          system_version_info: '7',
          type_url: typeUrl,
          nonce,
          removed_resources: removed,
          resources: resources.map(({ name, version, bytes: value }) => ({
            name,
            version,
            resource: { type_url: typeUrl, value: Buffer.from(value) },
          })),
        });
      }),
    );
  });
});
