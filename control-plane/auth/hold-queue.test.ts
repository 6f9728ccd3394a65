import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { SidestepError } from '../model/error.ts';
import { HoldQueue, type HoldQueueOptions, type Pair } from './hold-queue.ts';

/** Ethernet and IPv4 headers from 10.0.0.<from> to 10.0.0.<to>, and a last byte that tells frames apart. */
function frame(from: number, to: number, tag = 0): Uint8Array {
  const bytes = new Uint8Array(14 + 20 + 1);
  bytes.set([0x08, 0x00, 0x45], 12);
  bytes.set([10, 0, 0, from, 10, 0, 0, to], 26);
  bytes[34] = tag;
  return bytes;
}

function frame6(): Uint8Array {
  const bytes = new Uint8Array(14 + 40);
  bytes.set([0x86, 0xdd, 0x60], 12);
  bytes[14 + 23] = 1;
  bytes[14 + 39] = 2;
  return bytes;
}

interface Asked {
  readonly key: string;
  resolve(): void;
  reject(error: SidestepError): void;
}

function queueOf(options: Partial<HoldQueueOptions> = {}): {
  queue: HoldQueue;
  asked: Asked[];
  back: number[];
  failures: string[];
} {
  const asked: Asked[] = [];
  const back: number[] = [];
  const failures: string[] = [];
  const pairOf = (source: Uint8Array, destination: Uint8Array): Pair => {
    const key = `${source.at(-1)} ${destination.at(-1)}`;
    return {
      key,
      prove: () =>
        new Promise<void>((resolve, reject) => {
          asked.push({ key, resolve, reject });
        }),
    };
  };
  const queue = new HoldQueue({
    pairOf,
    writeBack: (bytes) => back.push(bytes.at(-1) ?? -1),
    failed: (key, { code }) => failures.push(`${key} ${code}`),
    ...options,
  });
  return { queue, asked, back, failures };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('frames that wait', () => {
  test('go back in order when their pair is proven, and nobody else does', async () => {
    const { queue, asked, back } = queueOf();
    queue.take(frame(1, 2, 10));
    queue.take(frame(1, 3, 20));
    queue.take(frame(1, 2, 11));
    expect(asked.map(({ key }) => key)).toEqual(['1 2', '1 3']);
    asked[0]?.resolve();
    await settled();
    expect(back).toEqual([10, 11]);
    expect(queue.numbers).toMatchObject({ waiting: 1, held: 3, released: 2 });
  });

  test('go back when the pair is refused, too: the kernel drops and names them', async () => {
    const { queue, asked, back, failures } = queueOf();
    queue.take(frame(1, 2, 10));
    asked[0]?.reject(new SidestepError('AUTH_HOLD_TIMEOUT', 'no answer'));
    await settled();
    expect(back).toEqual([10]);
    expect(failures).toEqual(['1 2 AUTH_HOLD_TIMEOUT']);
    expect(queue.numbers).toMatchObject({ waiting: 0, unproven: 1, released: 0 });
  });

  test('ask again after they went back', async () => {
    const { queue, asked } = queueOf();
    queue.take(frame(1, 2));
    asked[0]?.resolve();
    await settled();
    queue.take(frame(1, 2));
    expect(asked).toHaveLength(2);
  });

  test('of IPv6 are known by their addresses', () => {
    const { queue, asked } = queueOf();
    queue.take(frame6());
    expect(asked.map(({ key }) => key)).toEqual(['1 2']);
  });

  test('what comes before the Ethernet header stays with the frame', async () => {
    const { queue, asked, back } = queueOf();
    queue.take(Uint8Array.from([...new Uint8Array(12), ...frame(1, 2, 9)]), 12);
    expect(asked.map(({ key }) => key)).toEqual(['1 2']);
    asked[0]?.resolve();
    await settled();
    expect(back).toEqual([9]);
  });

  test.each([
    ['too short', new Uint8Array(10)],
    ['no IP', new Uint8Array(60)],
    ['cut', frame(1, 2).subarray(0, 30)],
  ])('of no pair (%s) go back at once', (_, bytes) => {
    const { queue, asked, back } = queueOf();
    queue.take(bytes);
    expect({ asked: asked.length, back: back.length, unproven: queue.numbers.unproven }).toEqual({
      asked: 0,
      back: 1,
      unproven: 1,
    });
  });

  test('are bounded by count and by bytes', () => {
    const { queue, back } = queueOf({ limits: { frames: 2 } });
    for (const tag of [1, 2, 3]) queue.take(frame(1, 2, tag));
    expect(back).toEqual([3]);
    expect(queue.numbers).toMatchObject({ waiting: 2, overflowed: 1 });
    const small = queueOf({ limits: { bytes: 40 } });
    for (const tag of [1, 2]) small.queue.take(frame(1, 2, tag));
    expect(small.back).toEqual([2]);
  });
});

describe('a proof that does not come', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test('is waited for no longer than the limit', async () => {
    const { queue, back, failures } = queueOf({ limits: { ageMs: 100 } });
    queue.take(frame(1, 2, 5));
    await vi.advanceTimersByTimeAsync(99);
    expect(back).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(back).toEqual([5]);
    expect(failures).toEqual(['1 2 AUTH_HOLD_TIMEOUT']);
  });
});
