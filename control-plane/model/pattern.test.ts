import { expect, test } from 'vitest';
import { Pattern } from './pattern.ts';

test.each([
  ['GET', 'GET', true],
  ['GET', 'GETS', false],
  ['ET', 'GET', false],
  ['GET|POST', 'POST', true],
  ['a|ab', 'ab', true],
  ['/api', '/api?x=1', false],
  ['/api(\\?.*)?', '/api?x=1', true],
  ['/.*', '/a\nb', false],
  ['(?s)/.*', '/a\nb', true],
  ['(?i)shop', 'SHOP', true],
  ['shop', 'SHOP', false],
  ['', '', true],
  ['^a$', 'a', true],
  // Bytes, as Envoy: a letter beyond ASCII is those of its UTF-8 form.
  ['é', 'é', true],
  ['.', 'é', false],
  ['..', 'é', true],
  ['\\xc3\\xa9', 'é', true],
  ['[é-ü]{2}', 'é', true],
])('%j on %j: %s', (pattern, text, expected) => {
  expect(new Pattern(pattern).matches(text)).toBe(expected);
});

test.each([
  ['(', 'missing closing )'],
  ['a**', 'invalid nested repetition'],
  ['(?=a)', 'Perl syntax'],
  ['(?<=a)b', 'invalid named capture'],
  ['(a)\\1', 'invalid escape sequence'],
  ['a{1001}', 'invalid repeat count'],
  ['[b-a]', 'invalid character class range'],
  ['\\x{263a}', 'no byte is above'],
  ['[\\x{100}]', 'no byte is above'],
  ['\\\\\\x{0100}', 'no byte is above'],
  ['(a{1000}){11}', 'invalid repeat count'],
  ['a{1000}'.repeat(11), 'too large'],
])('%.30j is refused', (pattern, why) => {
  expect(() => new Pattern(pattern)).toThrow(
    expect.objectContaining({ code: 'FIELD_INVALID', message: expect.stringContaining(why) }),
  );
});

test.each(['\\x{ff}', '\\x{00e9}', '\\xff', '\\\\x{263a}', 'x{263}'])('%j is fine', (pattern) => {
  expect(() => new Pattern(pattern)).not.toThrow();
});

test('a pattern over which backtracking engines sit for ages is answered', () => {
  expect(new Pattern('(a+)+b').matches('a'.repeat(5000))).toBe(false);
});
