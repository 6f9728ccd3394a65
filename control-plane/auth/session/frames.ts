/** Where does one message end and the next begin? A length of 4 bytes, big-endian, in front of each (proto/session). */
import { SidestepError } from '../../model/error.ts';

/** Of the message without its length. */
export const MAX_FRAME_BYTES = 64 * 1024;
const HEADER_BYTES = 4;

/** @throws AUTH_FRAME_INVALID for a message that is empty or longer than 64 KiB */
export function frame(message: Uint8Array): Buffer {
  check(message.length);
  const framed = Buffer.allocUnsafe(HEADER_BYTES + message.length);
  framed.writeUInt32BE(message.length);
  framed.set(message, HEADER_BYTES);
  return framed;
}

/** Never holds more than one frame and the chunk that it was given last. */
export class FrameReader {
  #chunks: Uint8Array[] = [];
  #held = 0;
  #needed = HEADER_BYTES;

  /** @returns the messages that are complete now. @throws AUTH_FRAME_INVALID: nothing can be read from here on */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#held < this.#needed) return [];
    const bytes = this.#chunks.length === 1 ? Buffer.from(chunk) : Buffer.concat(this.#chunks);
    const messages: Uint8Array[] = [];
    let at = 0;
    this.#needed = HEADER_BYTES;
    while (bytes.length - at >= HEADER_BYTES) {
      const length = bytes.readUInt32BE(at);
      check(length);
      const end = at + HEADER_BYTES + length;
      if (end > bytes.length) {
        this.#needed = HEADER_BYTES + length;
        break;
      }
      messages.push(bytes.subarray(at + HEADER_BYTES, end));
      at = end;
    }
    this.#chunks = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#held = bytes.length - at;
    return messages;
  }
}

function check(length: number): void {
  if (length === 0 || length > MAX_FRAME_BYTES)
    throw new SidestepError('AUTH_FRAME_INVALID', `a frame of ${length} bytes: 1 to ${MAX_FRAME_BYTES} are allowed`);
}
