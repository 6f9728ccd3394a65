/**
 * Reads DER (X.690) as far as certificates need it: tags of one byte, lengths in their only form. What is encoded in any other
 * way is refused, not interpreted. A test holds it against a library, which would take four times as long.
 */
import { SidestepError } from '../model/error.ts';

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  /** [0] and [3] with a value inside; [6] in the place of a tag. */
  explicit0: 0xa0,
  explicit3: 0xa3,
  implicit6: 0x86,
} as const;

export interface Der {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content. */
  readonly raw: Uint8Array;
}

/** @returns the values that stand one behind the other. @throws SVID_MALFORMED */
export function readDer(bytes: Uint8Array): readonly Der[] {
  const values: Der[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    if ((tag & 0x1f) === 0x1f) throw notDer('a tag of several bytes');
    const [start, length] = readLength(bytes, at + 1);
    const end = start + length;
    if (end > bytes.length) throw notDer('a value is cut off');
    values.push({ tag, content: bytes.subarray(start, end), raw: bytes.subarray(at, end) });
    at = end;
  }
  return values;
}

/** @returns the only value. @throws SVID_MALFORMED */
export function single(bytes: Uint8Array): Der {
  const [value, ...more] = readDer(bytes);
  if (value === undefined || more.length > 0)
    throw notDer(`${more.length === 0 ? 'nothing' : 'several values'} where one belongs`);
  return value;
}

/** The values inside of one that has this tag. @throws SVID_MALFORMED */
export function inside(value: Der | undefined, tag: number): readonly Der[] {
  return readDer(contentOf(value, tag));
}

/** @throws SVID_MALFORMED when it is not there or has another tag */
export function contentOf(value: Der | undefined, tag: number): Uint8Array {
  if (value?.tag !== tag)
    throw notDer(`${value === undefined ? 'nothing' : `tag ${value.tag}`} where tag ${tag} belongs`);
  return value.content;
}

/** @throws SVID_MALFORMED */
export function readBoolean(value: Der | undefined): boolean {
  const content = contentOf(value, TAG.boolean);
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw notDer('a boolean that is neither');
  return content[0] === 0xff;
}

/** Of those that are small and not negative. @throws SVID_MALFORMED */
export function readInteger(value: Der | undefined): number {
  const content = contentOf(value, TAG.integer);
  const [first = 0x80] = content;
  if (content.length !== 1 || first >= 0x80) throw notDer('an integer that is not of one byte');
  return first;
}

/** The bit that is named first is bit 0 of the number. @throws SVID_MALFORMED */
export function readBits(value: Der | undefined): number {
  const [unused = 8, ...bytes] = contentOf(value, TAG.bitString);
  const count = bytes.length * 8 - unused;
  if (unused > 7 || bytes.length > 3 || count < 0) throw notDer('a bit string that is too long or has no such bits');
  let bits = 0;
  for (let i = 0; i < count; i++) if (((bytes[i >> 3] ?? 0) & (0x80 >> (i & 7))) !== 0) bits |= 1 << i;
  return bits;
}

/** With dots. @throws SVID_MALFORMED */
export function readOid(value: Der | undefined): string {
  const content = contentOf(value, TAG.oid);
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of content) {
    if (arc === 0 && byte === 0x80) throw notDer('an object identifier with a needless zero');
    arc = arc * 128 + (byte & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER / 128) throw notDer('an object identifier with too large a number');
    if ((byte & 0x80) !== 0) continue;
    arcs.push(arc);
    arc = 0;
  }
  const [first, ...rest] = arcs;
  if (first === undefined || ((content.at(-1) ?? 0) & 0x80) !== 0) throw notDer('an object identifier that is cut off');
  const root = Math.min(Math.floor(first / 40), 2);
  return [root, first - root * 40, ...rest].join('.');
}

/** @returns where the content starts, and its length */
function readLength(bytes: Uint8Array, at: number): readonly [number, number] {
  const first = bytes[at];
  if (first === undefined) throw notDer('a value is cut off');
  if (first < 0x80) return [at + 1, first];
  const count = first & 0x7f;
  // Nothing here has 64 KiB; 0 is the form without a length.
  if (count === 0 || count > 2) throw notDer(`a length of ${count} bytes`);
  let length = 0;
  for (let i = 1; i <= count; i++) length = length * 256 + (bytes[at + i] ?? 0);
  if (length < 0x80 || (count === 2 && length < 0x100)) throw notDer('a length that is longer than it must be');
  return [at + 1 + count, length];
}

function notDer(what: string): SidestepError {
  return new SidestepError('SVID_MALFORMED', `not DER: ${what}`);
}
