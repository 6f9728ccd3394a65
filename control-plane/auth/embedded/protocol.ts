/**
 * What do a node and the authority say to each other? Inside TLS 1.3: frames of a length (4 bytes, big-endian) and JSON. The
 * client asks, the server answers, in turn.
 */
import { X509Certificate } from 'node:crypto';
import * as z from 'zod/mini';
import { SidestepError } from '../../model/error.ts';
import { ERRORS, type ErrorCode } from '../../model/error-codes.ts';
import type { Issued } from './link.ts';
import { MAX_REQUEST_BYTES } from './request.ts';

/** ALPN: the version of this protocol. */
export const ALPN = 'sidestep-ca/1';
export const DEFAULT_PORT = 4251;
/** A bundle of eight authorities has some 6,000 in base64. */
export const MAX_FRAME_BYTES = 32 << 10;
const HEADER_BYTES = 4;
const MAX_NAME = 253;
const MAX_CERTIFICATES = 16;

const name = z.string().check(z.minLength(1), z.maxLength(MAX_NAME));
const bytes = (most: number) =>
  z.pipe(
    z.string().check(z.maxLength(Math.ceil(most / 3) * 4), z.regex(/^[A-Za-z0-9+/]+={0,2}$/)),
    z.transform((text): Buffer => Buffer.from(text, 'base64')),
  );
const request = bytes(MAX_REQUEST_BYTES);
const Question = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('join'), node: name, request, proof: bytes(32) }),
  z.strictObject({ type: z.literal('node'), request }),
  z.strictObject({ type: z.literal('workload'), namespace: name, serviceAccount: name, request }),
]);
const certificates = z.array(bytes(16 << 10)).check(z.minLength(1), z.maxLength(MAX_CERTIFICATES));
const Answer = z.union([
  z.strictObject({ chain: certificates, authorities: certificates }),
  z.strictObject({ code: z.string(), message: z.string().check(z.maxLength(1000)) }),
]);

export type Question = z.infer<typeof Question>;

/** @throws CA_PROTOCOL */
export function decodeQuestion(frame: Buffer): Question {
  return decode(Question, frame);
}

export function encodeQuestion(question: Question): Buffer {
  return encode(
    Object.fromEntries(
      Object.entries(question).map(([key, value]) => [key, Buffer.isBuffer(value) ? value.toString('base64') : value]),
    ),
  );
}

export function encodeAnswer(answer: Issued | SidestepError): Buffer {
  if (answer instanceof SidestepError) return encode({ code: answer.code, message: answer.message.slice(0, 1000) });
  const base64 = (list: readonly X509Certificate[]) => list.map(({ raw }) => raw.toString('base64'));
  return encode({ chain: base64(answer.chain), authorities: base64(answer.authorities) });
}

/** @throws CA_PROTOCOL for what is no answer, else the error that it tells of */
export function decodeAnswer(frame: Buffer): Issued {
  const answer = decode(Answer, frame);
  if ('code' in answer) {
    if (!isCode(answer.code)) throw protocolError(`the authority answers ${JSON.stringify(answer.code)}`);
    throw new SidestepError(answer.code, `the authority says: ${answer.message}`);
  }
  try {
    const parsed = (list: readonly Buffer[]) => list.map((der) => new X509Certificate(der));
    return { chain: parsed(answer.chain), authorities: parsed(answer.authorities) };
  } catch (cause) {
    throw protocolError('the answer holds what is no certificate', cause);
  }
}

function isCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

function decode<T extends z.ZodMiniType>(shape: T, frame: Buffer): z.infer<T> {
  let json: unknown;
  try {
    json = JSON.parse(frame.toString('utf8'));
  } catch (cause) {
    throw protocolError('a frame is not JSON', cause);
  }
  const parsed = shape.safeParse(json);
  if (!parsed.success) throw protocolError('a frame has another form', parsed.error);
  return parsed.data;
}

function encode(message: object): Buffer {
  const body = Buffer.from(JSON.stringify(message));
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  frame.writeUInt32BE(body.length);
  body.copy(frame, HEADER_BYTES);
  return frame;
}

/** Puts frames together again; holds one unfinished frame at most. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the frames that are complete now. @throws CA_PROTOCOL for one that is too long */
  push(chunk: Buffer): readonly Buffer[] {
    const frames: Buffer[] = [];
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (rest.length >= HEADER_BYTES) {
      const length = rest.readUInt32BE();
      if (length > MAX_FRAME_BYTES) throw protocolError(`a frame of ${length} bytes`);
      if (rest.length < HEADER_BYTES + length) break;
      frames.push(rest.subarray(HEADER_BYTES, HEADER_BYTES + length));
      rest = rest.subarray(HEADER_BYTES + length);
    }
    this.#rest = rest;
    return frames;
  }
}

export function protocolError(what: string, cause?: unknown): SidestepError {
  return new SidestepError('CA_PROTOCOL', what, { cause });
}
