/**
 * The messages of proto/session/session.proto: bytes <-> small objects. What comes in is from another machine: every text,
 * list and number has a bound, and what is out of bounds is refused whole.
 */
import * as z from 'zod/mini';
import { SidestepError } from '../../model/error.ts';
import { Codec } from '../../xds/codec.ts';
import type { MessageTable } from '../../xds/message-table.ts';

export const SESSION_TABLE = {
  messages: {
    'sidestep.session.Frame': {
      hello: '1|message sidestep.session.Hello',
      bye: '2|message sidestep.session.Bye',
      ping: '3|message sidestep.session.Ping',
      key: '4|message sidestep.session.Key',
      prove: '5|message sidestep.session.Prove',
      want: '6|message sidestep.session.Want',
      accepted: '7|message sidestep.session.Accepted',
      refused: '8|message sidestep.session.Refused',
      withdraw: '9|message sidestep.session.Withdraw',
      rotate: '10|message sidestep.session.Rotate',
    },
    'sidestep.session.Hello': {
      version: '1 uint32',
      oldest: '2 uint32',
      node: '3 string',
      boot: '4 bytes',
      ordinal: '5 uint32',
      key: '6 bytes',
      port: '7 uint32',
      epoch: '8 uint32',
    },
    'sidestep.session.Bye': { code: '1 string' },
    'sidestep.session.Ping': {},
    'sidestep.session.Key': { step: '1 sidestep.session.Key.Step', epoch: '2 uint32' },
    'sidestep.session.Rotate': { step: '1 sidestep.session.Rotate.Step', key: '2 bytes' },
    'sidestep.session.Prove': { session: '1 bytes', proofs: '2 repeated sidestep.session.Proof' },
    'sidestep.session.Proof': {
      identity: '1 string',
      serial: '2 string',
      chain: '3 repeated bytes',
      expires: '4 uint64',
      signature: '5 bytes',
    },
    'sidestep.session.Want': { identities: '1 repeated string' },
    'sidestep.session.Accepted': { proofs: '1 repeated sidestep.session.Answer' },
    'sidestep.session.Answer': { identity: '1 string', serial: '2 string' },
    'sidestep.session.Refused': { proofs: '1 repeated sidestep.session.Refusal' },
    'sidestep.session.Refusal': { identity: '1 string', serial: '2 string', code: '3 string' },
    'sidestep.session.Withdraw': { identities: '1 repeated sidestep.session.Gone' },
    'sidestep.session.Gone': { identity: '1 string', code: '2 string' },
  },
  enums: {
    'sidestep.session.Key.Step': { NONE: 0, PREPARE: 1, PREPARED: 2, COMMIT: 3, COMMITTED: 4 },
    'sidestep.session.Rotate.Step': { NONE: 0, NEXT: 1, KNOWN: 2, BUSY: 3, DROPPED: 4, SWITCHED: 5 },
  },
} as const satisfies MessageTable;

/** SPIFFE-ID §2.3: at most 2,048 bytes. */
const MAX_ID = 2048;
/** Certificates in a chain, bytes of each. */
export const MAX_CHAIN = 8;
export const MAX_CERTIFICATE = 8192;
/** As many of the shortest as a frame could hold at all. */
export const MAX_LIST = 4096;

const bytes = (least: number, most: number) =>
  z.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length >= least && value.length <= most);
const text = (least: number, most: number) => z.string().check(z.minLength(least), z.maxLength(most));
/** proto3 leaves zero away. */
const number = (most: number) => z._default(z.int().check(z.minimum(0), z.maximum(most)), 0);
const list = <T extends z.ZodMiniType>(each: T) => z._default(z.array(each).check(z.maxLength(MAX_LIST)), []);

const UINT32 = 2 ** 32 - 1;
const identity = text(1, MAX_ID);
export const SERIAL = /^[0-9A-F]{1,64}$/;
const serial = z.string().check(z.regex(SERIAL));
const code = z.string().check(z.regex(/^[A-Z][A-Z0-9_]{0,63}$/));

const SHAPES = {
  hello: z.object({
    version: number(UINT32),
    oldest: number(UINT32),
    node: text(1, 255),
    boot: bytes(16, 16),
    ordinal: number(UINT32),
    key: bytes(32, 32),
    port: z.int().check(z.minimum(1), z.maximum(65_535)),
    epoch: number(UINT32),
  }),
  bye: z.object({ code }),
  ping: z.object({}),
  key: z.object({
    step: z.enum(['PREPARE', 'PREPARED', 'COMMIT', 'COMMITTED']),
    epoch: z.int().check(z.minimum(1), z.maximum(UINT32)),
  }),
  rotate: z.object({ step: z.enum(['NEXT', 'KNOWN', 'BUSY', 'DROPPED', 'SWITCHED']), key: bytes(32, 32) }),
  prove: z.object({
    session: bytes(32, 32),
    proofs: list(
      z.object({
        identity,
        serial,
        chain: z.array(bytes(1, MAX_CERTIFICATE)).check(z.minLength(1), z.maxLength(MAX_CHAIN)),
        expires: number(Number.MAX_SAFE_INTEGER),
        signature: bytes(1, 1024),
      }),
    ),
  }),
  want: z.object({ identities: list(identity) }),
  accepted: z.object({ proofs: list(z.object({ identity, serial })) }),
  refused: z.object({ proofs: list(z.object({ identity, serial, code })) }),
  withdraw: z.object({ identities: list(z.object({ identity, code })) }),
};

type Shapes = { readonly [Kind in keyof typeof SHAPES]: Kind extends 'ping' ? object : z.infer<(typeof SHAPES)[Kind]> };
export type MessageKind = keyof Shapes;
/** By its kind: `{kind: 'bye', code: …}`. */
export type Message = { [Kind in MessageKind]: { readonly kind: Kind } & Readonly<Shapes[Kind]> }[MessageKind];
export type MessageOf<Kind extends MessageKind> = Extract<Message, { kind: Kind }>;
export type Hello = Shapes['hello'];
export type WireProof = Shapes['prove']['proofs'][number];
export type Answer = Shapes['accepted']['proofs'][number];
export type Refusal = Shapes['refused']['proofs'][number];
export type Gone = Shapes['withdraw']['identities'][number];

const FRAME = 'sidestep.session.Frame';
const codec = new Codec<{ [FRAME]: Readonly<Record<string, unknown>> }>(SESSION_TABLE);

export function encodeMessage({ kind, ...fields }: Message): Uint8Array {
  return codec.encode(FRAME, { [kind]: fields });
}

/** @throws AUTH_FRAME_INVALID for bytes that are no message, and for one that is out of bounds */
export function decodeMessage(bytes: Uint8Array): Message {
  const [kind, fields] = openFrame(bytes);
  const parsed = SHAPES[kind].safeParse(fields);
  if (!parsed.success) throw invalid(`${kind}: ${z.prettifyError(parsed.error).split('\n').join(' ')}`);
  return { kind, ...parsed.data } as Message;
}

function openFrame(bytes: Uint8Array): [MessageKind, unknown] {
  let frame: Readonly<Record<string, unknown>>;
  try {
    frame = codec.decode(FRAME, bytes);
  } catch (cause) {
    throw invalid('the bytes are not protobuf', cause);
  }
  const [first, ...others] = Object.entries(frame);
  if (first === undefined || others.length > 0) throw invalid(`${others.length + (first ? 1 : 0)} messages in a frame`);
  return [first[0] as MessageKind, first[1]];
}

function invalid(what: string, cause?: unknown): SidestepError {
  return new SidestepError('AUTH_FRAME_INVALID', what, { cause });
}
