/** DNS over TCP: messages out of segments, each with its length in front (RFC 1035 §4.2.2, RFC 7766 §8). */

export interface Segment<T> {
  /** Of its first byte. */
  readonly sequence: number;
  readonly payload: Uint8Array;
  readonly item: T;
}

export interface Progress<T> {
  /** Whole now, in order. */
  readonly messages: readonly Uint8Array[];
  /** Segments that hold no byte of a message that is not whole; in order. */
  readonly complete: readonly T[];
  /** What was sent before and is now sent with other bytes, or is more than is looked at: no more of this connection. */
  readonly broken: boolean;
}

/** A client that asks this much over one connection is none: some 1,000 queries. */
const LONGEST = 65_536;
/** Waiting out of order. */
const MOST_SEGMENTS = 64;

/** One direction of a connection. Its first segment seen begins with a message. */
export class MessageStream<T> {
  readonly #first: number;
  /** All that was sent, to hold what is sent again against it. */
  #bytes = new Uint8Array(0);
  /** Of it, what is in whole messages. */
  #whole = 0;
  #waiting: Segment<T>[] = [];

  constructor(firstSequence: number) {
    this.#first = firstSequence;
  }

  take(segment: Segment<T>): Progress<T> {
    if (this.#waiting.length >= MOST_SEGMENTS) return BROKEN;
    this.#waiting.push(segment);
    this.#waiting.sort((a, b) => this.#offset(a) - this.#offset(b));
    for (const each of this.#waiting) {
      const at = this.#offset(each);
      if (at < 0 || at + each.payload.length > LONGEST) return BROKEN;
      if (at > this.#bytes.length) break;
      const again = Math.min(each.payload.length, this.#bytes.length - at);
      for (let i = 0; i < again; i++) if (each.payload[i] !== this.#bytes[at + i]) return BROKEN;
      const grown = new Uint8Array(Math.max(this.#bytes.length, at + each.payload.length));
      grown.set(this.#bytes);
      grown.set(each.payload, at);
      this.#bytes = grown;
    }
    const messages = this.#messages();
    const complete = this.#waiting.filter((each) => this.#offset(each) + each.payload.length <= this.#whole);
    this.#waiting = this.#waiting.filter((each) => !complete.includes(each));
    return { messages, complete: complete.map(({ item }) => item), broken: false };
  }

  #offset({ sequence }: Segment<T>): number {
    // Sequence numbers turn round: what is less than half the space ahead is ahead.
    return (sequence - this.#first) | 0;
  }

  #messages(): Uint8Array[] {
    const messages: Uint8Array[] = [];
    for (;;) {
      const length = ((this.#bytes[this.#whole] ?? 0) << 8) | (this.#bytes[this.#whole + 1] ?? 0);
      const end = this.#whole + 2 + length;
      if (this.#whole + 2 > this.#bytes.length || end > this.#bytes.length) return messages;
      messages.push(this.#bytes.subarray(this.#whole + 2, end));
      this.#whole = end;
    }
  }
}

const BROKEN = { messages: [], complete: [], broken: true } as const;

/** A message as it goes over TCP. */
export function withLength(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + message.length);
  bytes.set([message.length >> 8, message.length & 255]);
  bytes.set(message, 2);
  return bytes;
}
