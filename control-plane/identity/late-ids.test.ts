import { expect, test } from 'vitest';
import { LateIds, RULESETS } from './late-ids.ts';

const COUNT = RULESETS.last - RULESETS.first + 1;
const NONE = new Set<number>();

/** Gives numbers to so many decision points of this name. */
function fill(ids: LateIds, name: string, count: number): number[] {
  return Array.from({ length: count }, (_, i) => ids.of(`${name} ${i}`));
}

test('one decision point has one number', () => {
  const ids = new LateIds(RULESETS);
  expect([ids.of('a'), ids.of('b'), ids.of('a')]).toEqual([16, 17, 16]);
});

test('a number that was given back is not given again before all others were', () => {
  const ids = new LateIds(RULESETS);
  const most = Math.ceil(COUNT * 0.75);
  fill(ids, 'old', most);
  ids.release(NONE);
  expect(fill(ids, 'new', COUNT - most)).toEqual(Array.from({ length: COUNT - most }, (_, i) => 16 + most + i));
  expect(ids.of('one more')).toBe(16);
});

test('on the way round, numbers in use are passed over', () => {
  const ids = new LateIds(RULESETS);
  fill(ids, 'old', COUNT);
  ids.release(new Set([16, 17, 19]));
  expect([ids.of('new'), ids.of('newer'), ids.of('newest')]).toEqual([18, 20, 21]);
  expect([ids.of('old 0'), ids.of('old 1'), ids.of('old 3')]).toEqual([16, 17, 19]);
});

test('nothing is given back while there is room', () => {
  const ids = new LateIds(RULESETS);
  ids.of('a');
  ids.release(NONE);
  expect([ids.of('b'), ids.of('a')]).toEqual([17, 16]);
});

test('when every number is taken it is an error', () => {
  const ids = new LateIds(RULESETS);
  expect(new Set(fill(ids, 'point', COUNT)).size).toBe(COUNT);
  expect(() => ids.of('one more')).toThrow(expect.objectContaining({ code: 'MAP_FULL' }));
});

test('a floor beyond the last number begins at the first', () => {
  const ids = new LateIds(RULESETS);
  ids.beginAt(RULESETS.last + 1);
  expect(ids.of('a')).toBe(RULESETS.first);
});
