import { expect, test } from 'vitest';
import { isAsSaid, readSteps } from '../lib/tutorial.ts';

test('commands, and what they print if the page says it', () => {
  const page = 'Text\n\n```sh\na\nb\n```\n\nand\n\n```output\nc\n```\n\n```yaml\nno: command\n```\n\n```sh\nd\n```\n';
  expect(readSteps(page)).toEqual([
    { line: 3, commands: 'a\nb', output: 'c' },
    { line: 18, commands: 'd' },
  ]);
});

test.each(['```sh\na\n', '```output\na\n```\n', '```sh\na\n```\n```output\nb\n```\n```output\nc\n```\n'])(
  'a page that cannot be followed: %j',
  (page) => {
    expect(() => readSteps(page)).toThrow();
  },
);

test.each([
  ['a', 'a\n', true],
  ['a', 'a', true],
  ['a', 'b\n', false],
  ['a', 'a\nb\n', false],
  ['a\nb', 'a\n', false],
  ['pid …, up', 'pid 17, up\n', true],
  ['pid …, up', 'pid , up\n', false],
  ['pid …', 'pid 17\n18\n', false],
  ['a.b', 'acb\n', false],
  ['a\n…', 'a\n', true],
  ['a\n…\nd', 'a\nb\nc\nd\n', true],
  ['a\n…\nd', 'a\nb\nc\n', false],
  ['', '\n', true],
  ['', 'a\n', false],
])('said %j, printed %j: %s', (said, printed, expected) => {
  expect(isAsSaid(said, printed)).toBe(expected);
});
