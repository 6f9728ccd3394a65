import fc from 'fast-check';
import { expect, test } from 'vitest';
import { changeBetween, replaced } from './list-change.ts';

test.each([
  ['nothing', 'abc', 'abc', { at: 3, removed: '', added: '' }],
  ['one more at the end', 'abc', 'abcd', { at: 3, removed: '', added: 'd' }],
  ['one more at the beginning', 'abc', 'xabc', { at: 0, removed: '', added: 'x' }],
  ['one less', 'abc', 'ac', { at: 1, removed: 'b', added: '' }],
  ['another', 'abc', 'axc', { at: 1, removed: 'b', added: 'x' }],
  ['one of two equal ones', 'aa', 'a', { at: 1, removed: 'a', added: '' }],
  ['everything', 'abc', 'xyz', { at: 0, removed: 'abc', added: 'xyz' }],
  ['two, far from each other', 'abcd', 'xbcy', { at: 0, removed: 'abcd', added: 'xbcy' }],
])('%s', (_, before, now, expected) => {
  const { at, removed, added } = changeBetween([...before], [...now]);
  expect({ at, removed: removed.join(''), added: added.join('') }).toEqual(expected);
});

test('with the stretch put in its place the earlier list is the later one', () => {
  const list = fc.array(fc.nat(3), { maxLength: 8 });
  fc.assert(
    fc.property(list, list, (before, now) => {
      const { at, removed, added } = changeBetween(before, now);
      expect(replaced(before, at, removed.length, added)).toEqual(now);
      expect(before.slice(at, at + removed.length)).toEqual(removed);
    }),
  );
});
