import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import { FrameReader, frame, MAX_FRAME_BYTES } from './frames.ts';
import { SAMPLES } from './message-samples.ts';
import { decodeMessage, encodeMessage } from './messages.ts';

const SEED = 4250;
const codeOf = (action: () => unknown): string => {
  try {
    action();
    return 'none';
  } catch (error) {
    return error instanceof SidestepError ? error.code : `a ${error}`;
  }
};

describe('frames', () => {
  test('come out as they went in, however they were cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (messages, cuts) => {
          const stream = Buffer.concat(messages.map(frame));
          const reader = new FrameReader();
          const out: Uint8Array[] = [];
          for (let at = 0, i = 0; at < stream.length; i++) {
            const next = at + (cuts[i % cuts.length] ?? 1);
            out.push(...reader.push(stream.subarray(at, next)));
            at = next;
          }
          expect(out.map((bytes) => [...bytes])).toEqual(messages.map((bytes) => [...bytes]));
        },
      ),
      { seed: SEED },
    );
  });

  test('have 1 to 65,536 bytes', () => {
    const largest = new Uint8Array(MAX_FRAME_BYTES).fill(7);
    expect(new FrameReader().push(frame(largest))[0]?.length).toBe(MAX_FRAME_BYTES);
    expect(codeOf(() => frame(new Uint8Array(MAX_FRAME_BYTES + 1)))).toBe('AUTH_FRAME_INVALID');
    expect(codeOf(() => frame(new Uint8Array()))).toBe('AUTH_FRAME_INVALID');
    expect(codeOf(() => new FrameReader().push(Buffer.from([0, 1, 0, 1])))).toBe('AUTH_FRAME_INVALID');
    expect(codeOf(() => new FrameReader().push(Buffer.from([0, 0, 0, 0])))).toBe('AUTH_FRAME_INVALID');
  });

  test('of any bytes at all are messages or are refused, and nothing else happens', () => {
    const reader = (chunks: readonly Uint8Array[]): string =>
      codeOf(() => {
        const frames = new FrameReader();
        for (const chunk of chunks) for (const bytes of frames.push(chunk)) decodeMessage(bytes);
      });
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 5 }), (chunks) => {
        expect(['none', 'AUTH_FRAME_INVALID']).toContain(reader(chunks));
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });
});

describe('messages', () => {
  test('with one bit flipped, a byte gone or one more are messages or are refused', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...SAMPLES.map(encodeMessage)),
        fc.nat(),
        fc.integer({ min: 0, max: 7 }),
        fc.constantFrom('flip', 'cut', 'add'),
        (bytes, where, bit, how) => {
          const at = where % bytes.length;
          const broken = [...bytes];
          if (how === 'flip') broken[at] = (broken[at] ?? 0) ^ (1 << bit);
          else if (how === 'cut') broken.splice(at, 1);
          else broken.splice(at, 0, bit * 31);
          expect(['none', 'AUTH_FRAME_INVALID']).toContain(codeOf(() => decodeMessage(Uint8Array.from(broken))));
        },
      ),
      { seed: SEED, numRuns: 3000 },
    );
  });
});
