import { describe, expect, test } from 'vitest';
import type { Flow } from './flow.ts';
import { sampleFlow } from './sample.ts';
import { FlowStore, type LatentFlows } from './store.ts';
import { timestamp } from './to-flow.ts';

const NEVER = new AbortController().signal;
const START = Date.UTC(2026, 0, 24);
const everything = (): boolean => true;
const EVEN = (flow: Flow): boolean => Number(flow.uuid) % 2 === 0;

/** Flow number n, n seconds after the start. */
function numbered(n: number): Flow {
  return { ...sampleFlow(), uuid: String(n), time: timestamp(START + n * 1000) };
}

function storeOf(count: number, limits: { maxFlows?: number; maxBytes?: number } = {}): FlowStore {
  const store = new FlowStore({ maxFlows: 1_000_000, maxBytes: 1 << 30, ...limits });
  for (let n = 0; n < count; n++) store.add(numbered(n));
  return store;
}

function numbers(flows: readonly Flow[]): number[] {
  return flows.map(({ uuid }) => Number(uuid));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

describe('a store', () => {
  test('keeps at most so many, the newest, and counts what it pushed out', () => {
    const store = storeOf(10, { maxFlows: 4 });
    expect(numbers(store.query({ test: everything }))).toEqual([6, 7, 8, 9]);
    expect(store.numbers).toMatchObject({ stored: 10, evicted: 6, kept: 4 });
  });

  test('keeps them in order when its ring grows and turns many times', () => {
    const store = storeOf(10_000, { maxFlows: 3000 });
    expect(numbers(store.query({ test: everything }))).toEqual(range(7000, 10_000));
    expect(store.numbers).toMatchObject({ stored: 10_000, evicted: 7000, kept: 3000 });
  });

  test('keeps at most so many bytes, and large flows push out several small ones', () => {
    const { bytes } = storeOf(1).numbers;
    const store = storeOf(10, { maxBytes: 4 * bytes });
    expect(store.numbers).toMatchObject({ kept: 4, bytes: 4 * bytes, evicted: 6 });
    store.add({ ...numbered(10), Summary: 'x'.repeat(bytes) });
    expect(numbers(store.query({ test: everything }))).toEqual([9, 10]);
    expect(store.numbers.bytes).toBeLessThanOrEqual(4 * bytes);
  });

  test('keeps the newest even when it alone is too large', () => {
    const store = storeOf(3, { maxBytes: 1 });
    expect(numbers(store.query({ test: everything }))).toEqual([2]);
  });

  test('counts the bytes of what it keeps and of nothing else', () => {
    const { bytes } = storeOf(1).numbers;
    expect(storeOf(5000, { maxFlows: 17 }).numbers.bytes).toBe(17 * bytes);
  });
});

/** Flows n and n + 1, made when somebody looks, and how often that was. */
function latent(n: number): LatentFlows & { made: number } {
  let kept: readonly Flow[] | undefined;
  const flows = [numbered(n), numbered(n + 1)];
  const { bytes } = storeOf(1).numbers;
  return {
    count: 2,
    bytes: 2 * bytes,
    made: 0,
    flows() {
      if (kept === undefined) this.made++;
      kept ??= flows;
      return kept;
    },
  };
}

describe('records that are made when somebody looks', () => {
  function mixed(limits: { maxFlows?: number; maxBytes?: number } = {}): [FlowStore, ReturnType<typeof latent>[]] {
    const store = storeOf(1, limits);
    const all = [1, 4, 6].map(latent);
    store.addLatent(all[0] as LatentFlows);
    store.add(numbered(3));
    for (const each of all.slice(1)) store.addLatent(each);
    return [store, all];
  }

  test('are not made for the sake of being kept, counted or pushed out', () => {
    const [store, all] = mixed({ maxFlows: 4 });
    expect(store.numbers).toMatchObject({ stored: 8, kept: 4, evicted: 4, bytes: 4 * storeOf(1).numbers.bytes });
    expect(all.map(({ made }) => made)).toEqual([0, 0, 0]);
    expect(numbers(store.query({ test: everything }))).toEqual(range(4, 8));
    expect(all.map(({ made }) => made)).toEqual([0, 1, 1]);
  });

  test('are pushed out together, and there are never more than the most', () => {
    const [store] = mixed({ maxFlows: 5 });
    expect(numbers(store.query({ test: everything }))).toEqual(range(3, 8));
    const [fewer] = mixed({ maxFlows: 3 });
    expect(numbers(fewer.query({ test: everything }))).toEqual([6, 7]);
  });

  test('are asked for like any others', () => {
    const [store, all] = mixed();
    expect(numbers(store.query({ test: everything, last: 3 }))).toEqual([5, 6, 7]);
    expect(all.map(({ made }) => made)).toEqual([0, 1, 1]);
    expect(numbers(store.query({ test: everything, first: 2 }))).toEqual([0, 1]);
    expect(numbers(store.query({ test: EVEN, last: 2 }))).toEqual([4, 6]);
    expect(numbers(store.query({ test: everything, since: START + 2000, until: START + 4000 }))).toEqual([2, 3, 4]);
  });

  test('come to followers one by one', async () => {
    const store = storeOf(0);
    using following = store.follow(EVEN);
    const entry = latent(1);
    store.addLatent(entry);
    expect(numbers((await following.next(NEVER)).flows)).toEqual([2]);
    expect(entry.made).toBe(1);
  });
});

describe('a query', () => {
  const store = storeOf(10);

  test('without bounds answers all that match, oldest first', () => {
    expect(numbers(store.query({ test: EVEN }))).toEqual([0, 2, 4, 6, 8]);
  });

  test('for the last counts those that match, oldest first', () => {
    expect(numbers(store.query({ test: EVEN, last: 2 }))).toEqual([6, 8]);
    expect(numbers(store.query({ test: everything, last: 99 }))).toEqual(range(0, 10));
    expect(store.query({ test: everything, last: 0 })).toEqual([]);
  });

  test('for the first counts those that match', () => {
    expect(numbers(store.query({ test: EVEN, first: 2 }))).toEqual([0, 2]);
    expect(store.query({ test: everything, first: 0 })).toEqual([]);
  });

  test('takes both ends of a span of time in', () => {
    const span = { since: START + 3000, until: START + 5000 };
    expect(numbers(store.query({ test: everything, ...span }))).toEqual([3, 4, 5]);
    expect(numbers(store.query({ test: everything, since: START + 8000 }))).toEqual([8, 9]);
    expect(numbers(store.query({ test: everything, until: START + 1000 }))).toEqual([0, 1]);
    expect(numbers(store.query({ test: everything, ...span, last: 2 }))).toEqual([4, 5]);
    expect(numbers(store.query({ test: everything, ...span, first: 1 }))).toEqual([3]);
  });

  test('of an empty store answers nothing', () => {
    expect(storeOf(0).query({ test: everything, last: 5 })).toEqual([]);
  });
});

describe('a follower', () => {
  test('gets what comes after it, once, and only what it asked for', async () => {
    const store = storeOf(2);
    using following = store.follow(EVEN);
    for (const n of [2, 3, 4]) store.add(numbered(n));
    const { flows, lost } = await following.next(NEVER);
    expect([numbers(flows), lost]).toEqual([[2, 4], 0]);
    store.add(numbered(6));
    expect(numbers((await following.next(NEVER)).flows)).toEqual([6]);
  });

  test('waits until something comes', async () => {
    const store = storeOf(0);
    using following = store.follow(EVEN);
    const next = following.next(NEVER);
    for (const n of [1, 2]) store.add(numbered(n));
    expect(numbers((await next).flows)).toEqual([2]);
  });

  test('that begins in the turn of the query misses nothing and sees nothing twice', async () => {
    const store = storeOf(5);
    using following = store.follow(everything);
    const history = store.query({ test: everything, last: 3 });
    for (const n of [5, 6]) store.add(numbered(n));
    const { flows } = await following.next(NEVER);
    expect([...numbers(history), ...numbers(flows)]).toEqual([2, 3, 4, 5, 6]);
  });

  test('that is slow loses the newest, is told how many, and others lose nothing', async () => {
    const store = storeOf(0);
    using slow = store.follow(everything);
    using quick = store.follow(everything);
    const got: number[] = [];
    for (let n = 0; n < 10_000; n++) {
      store.add(numbered(n));
      if (n % 1000 === 999) got.push(...numbers((await quick.next(NEVER)).flows));
    }
    expect(got).toEqual(range(0, 10_000));
    expect(store.numbers).toMatchObject({ followers: 2, lostByFollowers: 10_000 - 8192 });

    const { flows, lost } = await slow.next(NEVER);
    expect(numbers(flows)).toEqual(range(0, 8192));
    expect(lost).toBe(10_000 - 8192);
    store.add(numbered(10_000));
    expect(await slow.next(NEVER)).toMatchObject({ flows: [{ uuid: '10000' }], lost: 0 });
  });

  test('that is aborted gets no more than what was there', async () => {
    const gone = new AbortController();
    using following = storeOf(1).follow(everything);
    const next = following.next(gone.signal);
    gone.abort();
    expect(await next).toEqual({ flows: [], lost: 0 });
    expect(await following.next(gone.signal)).toEqual({ flows: [], lost: 0 });
  });

  test('that is disposed of is forgotten', () => {
    const store = storeOf(0);
    store.follow(everything)[Symbol.dispose]();
    store.add(numbered(0));
    expect(store.numbers).toMatchObject({ followers: 0, lostByFollowers: 0 });
  });

  test('sees flows that the store itself has pushed out already', async () => {
    const store = storeOf(0, { maxFlows: 2 });
    using following = store.follow(everything);
    for (const n of range(0, 5)) store.add(numbered(n));
    expect(numbers((await following.next(NEVER)).flows)).toEqual(range(0, 5));
  });
});
