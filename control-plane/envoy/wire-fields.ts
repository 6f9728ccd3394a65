/**
 * Goes through the fields of a protobuf message and of those in it, in place: nothing is allocated but what is asked for.
 *   for (let field = wire.next(); field !== 0; field = wire.next()) each must be read or skipped
 *   const outer = wire.enter(); … wire.leave(outer) around the same for a message in a field
 */

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
/** A varint has at most ten bytes. */
const LONGEST = 2 ** 70;

export class Fields {
  readonly #bytes: Buffer;
  #at = 0;
  /** Of the message that is read now. */
  #end: number;
  #type = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#end = bytes.length;
  }

  /** @returns the number of the next field, 0 at the end. @throws RangeError */
  next(): number {
    if (this.#at === this.#end) return 0;
    const tag = this.#varint();
    this.#type = tag & 7;
    return tag >>> 3 || cutOff();
  }

  /** A varint, exact to 2^53. */
  number(): number {
    return this.#type === VARINT ? this.#varint() : cutOff();
  }

  text(): string {
    const end = this.#lengthEnd();
    const text = this.#bytes.toString('utf8', this.#at, end);
    this.#at = end;
    return text;
  }

  /** Reads a text. @returns whether it is this one, which is cheaper than to make it */
  isText(expected: Uint8Array): boolean {
    const end = this.#lengthEnd();
    let same = end - this.#at === expected.length;
    for (let i = 0; same && i < expected.length; i++) same = this.#bytes[this.#at + i] === expected[i];
    this.#at = end;
    return same;
  }

  /** @returns what {@link leave} takes */
  enter(): number {
    const outer = this.#end;
    this.#end = this.#lengthEnd();
    return outer;
  }

  leave(outer: number): void {
    this.#end = outer;
  }

  skip(): void {
    if (this.#type === VARINT) this.#varint();
    else if (this.#type === BYTES) this.#at = this.#lengthEnd();
    else if (this.#type === FIXED64) this.#forward(8);
    else if (this.#type === FIXED32) this.#forward(4);
    else cutOff();
  }

  #lengthEnd(): number {
    if (this.#type !== BYTES) cutOff();
    const length = this.#varint();
    const end = this.#at + length;
    return end <= this.#end ? end : cutOff();
  }

  #forward(bytes: number): void {
    this.#at += bytes;
    if (this.#at > this.#end) cutOff();
  }

  #varint(): number {
    let value = 0;
    for (let factor = 1; this.#at < this.#end && factor < LONGEST; factor *= 128) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    return cutOff();
  }
}

function cutOff(): never {
  throw new RangeError('the message is cut off or is none');
}
