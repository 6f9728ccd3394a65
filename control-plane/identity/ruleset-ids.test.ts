import { expect, test } from 'vitest';
import { FIRST_RULESET, LAST_RULESET, RulesetIds } from './ruleset-ids.ts';

const COUNT = LAST_RULESET - FIRST_RULESET + 1;
const NONE = new Set<number>();

/** Gives numbers to so many decision points of this name. */
function fill(ids: RulesetIds, name: string, count: number): number[] {
  return Array.from({ length: count }, (_, i) => ids.of(`${name} ${i}`));
}

test('one decision point has one number', () => {
  const ids = new RulesetIds();
  expect([ids.of('a'), ids.of('b'), ids.of('a')]).toEqual([16, 17, 16]);
});

test('a number that was given back is not given again before all others were', () => {
  const ids = new RulesetIds();
  const most = Math.ceil(COUNT * 0.75);
  fill(ids, 'old', most);
  ids.release(NONE);
  expect(fill(ids, 'new', COUNT - most)).toEqual(Array.from({ length: COUNT - most }, (_, i) => 16 + most + i));
  expect(ids.of('one more')).toBe(16);
});

test('on the way round, numbers in use are passed over', () => {
  const ids = new RulesetIds();
  fill(ids, 'old', COUNT);
  ids.release(new Set([16, 17, 19]));
  expect([ids.of('new'), ids.of('newer'), ids.of('newest')]).toEqual([18, 20, 21]);
  expect([ids.of('old 0'), ids.of('old 1'), ids.of('old 3')]).toEqual([16, 17, 19]);
});

test('nothing is given back while there is room', () => {
  const ids = new RulesetIds();
  ids.of('a');
  ids.release(NONE);
  expect([ids.of('b'), ids.of('a')]).toEqual([17, 16]);
});

test('when every number is taken it is an error', () => {
  const ids = new RulesetIds();
  expect(new Set(fill(ids, 'point', COUNT)).size).toBe(COUNT);
  expect(() => ids.of('one more')).toThrow(expect.objectContaining({ code: 'MAP_FULL' }));
});

test('a floor beyond the last number begins at the first', () => {
  const ids = new RulesetIds();
  ids.beginAt(LAST_RULESET + 1);
  expect(ids.of('a')).toBe(FIRST_RULESET);
});
