/** The messages against proto/session/session.proto: names, numbers and types, and a protobuf peer reads the same. */
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { SAMPLES } from './message-samples.ts';
import { decodeMessage, encodeMessage, type Message, SESSION_TABLE } from './messages.ts';

const root = new protobuf.Root();
root.resolvePath = (_, target) => join(import.meta.dirname, '../../../proto', target);
root.loadSync('session/session.proto', { keepCase: true }).resolveAll();
const FRAME = root.lookupType('sidestep.session.Frame');

function nameOf(type: protobuf.ReflectionObject): string {
  return type.fullName.slice(1);
}

function textOf(field: protobuf.Field): string {
  const oneof = field.partOf === null ? '' : `|${field.partOf.name}`;
  const type = field.resolvedType === null ? field.type : nameOf(field.resolvedType);
  return `${field.id}${oneof} ${field.repeated ? 'repeated ' : ''}${type}`;
}

test('the table is the schema', () => {
  const messages: Record<string, Record<string, string>> = {};
  const enums: Record<string, Record<string, number>> = {};
  const visit = (type: protobuf.Type): void => {
    messages[nameOf(type)] = Object.fromEntries(type.fieldsArray.map((field) => [field.name, textOf(field)]));
    for (const { resolvedType } of type.fieldsArray)
      if (resolvedType instanceof protobuf.Type) visit(resolvedType);
      else if (resolvedType instanceof protobuf.Enum) enums[nameOf(resolvedType)] = resolvedType.values;
  };
  visit(FRAME);
  expect(SESSION_TABLE).toEqual({ messages, enums });
});

/** Bytes as arrays, so that it does not matter which kind of bytes they are. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

describe.each(SAMPLES.map((message) => [message.kind, message] as const))('%s', (kind, message) => {
  test('comes out as it went in', () => {
    expect(plain(decodeMessage(encodeMessage(message)))).toEqual(plain(message));
  });

  test('is read and written alike by a protobuf peer', () => {
    const { kind: _, ...fields } = message;
    const read = FRAME.toObject(FRAME.decode(encodeMessage(message)), {
      enums: String,
      longs: Number,
      arrays: true,
      defaults: true,
    });
    expect(plain(read)).toMatchObject({ [kind]: plain(fields) as object });
    const written = FRAME.encode(FRAME.fromObject({ [kind]: fields })).finish();
    expect(plain(decodeMessage(written))).toEqual(plain(message));
  });
});

test('what a newer agent adds is skipped', () => {
  const written = FRAME.encode(FRAME.fromObject({ bye: { code: 'AUTH_LIMIT' } })).finish();
  // Field 100 of Bye, a text.
  const longer = Uint8Array.from([...written, 0xa2, 0x06, 1, 0x41]);
  longer[1] = (longer[1] ?? 0) + 4;
  expect(decodeMessage(longer)).toEqual({ kind: 'bye', code: 'AUTH_LIMIT' });
});

const tooMany = Array.from({ length: 4097 }, () => 'x');
test.each<readonly [string, Message | Uint8Array]>([
  ['nothing', new Uint8Array()],
  ['no message that is known', Uint8Array.from([0xa2, 0x06, 0])],
  ['two messages', Uint8Array.from([0x12, 3, 0x0a, 1, 0x41, 0x1a, 0])],
  ['a group that never ends', new Uint8Array(60_000).fill(0x0b)],
  ['a key step that does not exist', Uint8Array.from([0x22, 4, 0x08, 9, 0x10, 1])],
  ['a code that is a sentence', { kind: 'bye', code: 'go away' }],
  ['an empty name', { ...(SAMPLES[0] as Extract<Message, { kind: 'hello' }>), node: '' }],
  ['a short key', { ...(SAMPLES[0] as Extract<Message, { kind: 'hello' }>), key: new Uint8Array(31) }],
  ['port 0', { ...(SAMPLES[0] as Extract<Message, { kind: 'hello' }>), port: 0 }],
  ['port 65,536', { ...(SAMPLES[0] as Extract<Message, { kind: 'hello' }>), port: 65_536 }],
  ['epoch 0', { kind: 'key', step: 'PREPARE', epoch: 0 }],
  ['a long identity', { kind: 'want', identities: ['x'.repeat(2049)] }],
  ['too many of them', { kind: 'want', identities: tooMany }],
  ['a serial number that is none', { kind: 'accepted', proofs: [{ identity: 'x', serial: 'xyz' }] }],
])('%s is refused', (_, message) => {
  const bytes = message instanceof Uint8Array ? message : encodeMessage(message);
  expect(() => decodeMessage(bytes)).toThrow(expect.objectContaining({ code: 'AUTH_FRAME_INVALID' }));
});

test('a proof without certificates, with too many, or with a large one is refused', () => {
  const one = new Uint8Array(10);
  for (const chain of [[], Array.from({ length: 9 }, () => one), [new Uint8Array(8193)]]) {
    const proof = { identity: 'x', serial: '01', chain, expires: 1, signature: one };
    const bytes = encodeMessage({ kind: 'prove', session: new Uint8Array(32), proofs: [proof] });
    expect(() => decodeMessage(bytes)).toThrow(expect.objectContaining({ code: 'AUTH_FRAME_INVALID' }));
  }
});
