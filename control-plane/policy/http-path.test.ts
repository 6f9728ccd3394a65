import fc from 'fast-check';
import { expect, test } from 'vitest';
import { normalizePath } from './http-path.ts';

/** Every line was Envoy 1.40's own answer: request line -> the :path that its filters see. */
test.each([
  ['/', '/'],
  ['/a', '/a'],
  ['/a/', '/a/'],
  // Dot segments
  ['/a/../b', '/b'],
  ['/a/./b/', '/a/b/'],
  ['/a/..', '/'],
  ['/a/.', '/a/'],
  ['/..', '/'],
  ['/.', '/'],
  ['/../../a', '/a'],
  ['/a/b/../../../c', '/c'],
  ['/...', '/...'],
  ['/a/..b', '/a/..b'],
  ['/a/b..', '/a/b..'],
  ['/a/.b/../c.', '/a/c.'],
  // Escaped dots are dots
  ['/%2e%2e/a', '/a'],
  ['/a/%2E./b', '/b'],
  ['/a/.%2e', '/'],
  ['/a/%2e', '/a/'],
  ['/a/%2e/', '/a/'],
  ['/a/%252e%252e/b', '/a/%252e%252e/b'],
  ['/a%2eb', '/a.b'],
  // Slashes
  ['/a//b', '/a/b'],
  ['//a', '/a'],
  ['/a///', '/a/'],
  ['/a//../b', '/a/b'],
  ['/a//..//b', '/a/b'],
  ['/a/../..//b', '/b'],
  ['//', '//'],
  ['/////', '//'],
  ['/\\', '//'],
  ['/a\\b', '/a/b'],
  ['/a\\..\\b', '/b'],
  // Parameters: those of a dot segment go, unless its dots are escaped or it begins with a backslash
  ['/a;x/b', '/a;x/b'],
  ['/;/a', '/;/a'],
  ['/a/..;x/b', '/b'],
  ['/a/.;x/b', '/a/b'],
  ['/a/..;', '/'],
  ['/a/.;', '/a/'],
  ['/a/..;x?y', '/?y'],
  ['/a/..;x=../../b', '/b'],
  ['/a/..;x\\b', '/'],
  ['/a\\..;x/b', '/a/..;x/b'],
  ['/a/%2e%2e;x=1/b', '/a/..;x=1/b'],
  ['/a/.%2e;x/b', '/a/..;x/b'],
  ['/a/..%3b/b', '/a/..%3b/b'],
  ['/a/...;x/b', '/a/...;x/b'],
  ['/a;x=1/../b', '/b'],
  ['/..;//a', '/a'],
  ["/.;%00]%41//'%2e.", "/'.."],
  // What needs no escape loses it, what needs one gets it
  ['/%61%7e%7E', '/a~~'],
  ['/%41%2d%5f%30', '/A-_0'],
  ['/a"b<c>', '/a%22b%3Cc%3E'],
  ['/{a}|^`', '/%7Ba%7D%7C%5E%60'],
  ["/:a@b!$&'()*+,;=[]", "/:a@b!$&'()*+,;=[]"],
  ['/%3a%40%21%24%26', '/%3a%40%21%24%26'],
  ['/a%20b', '/a%20b'],
  ['/a%23f', '/a%23f'],
  ['/a%3fb', '/a%3fb'],
  ['/%c3%a9%ff', '/%c3%a9%ff'],
  ['/a%7fb', '/a%7fb'],
  // Percent signs that are no escapes stay such
  ['/a%', '/a%'],
  ['/a%z', '/a%z'],
  ['/a%zz/b', '/a%zz/b'],
  ['/a%2', '/a%2'],
  ['/%2%32', '/%2522'],
  ['/%6%41%3B', '/%256A%3B'],
  // The query is not touched
  ['/a?x=/../y//z', '/a?x=/../y//z'],
  ['/a?x=%2F%2e%00"<>', '/a?x=%2F%2e%00"<>'],
  ['/a?b?c', '/a?b?c'],
  ['/a?', '/a?'],
  ['/a/..?;x/../b', '/?;x/../b'],
  ['/a//?//', '/a/?//'],
])('%s is matched as %s', (sent, path) => {
  expect(normalizePath(sent)).toBe(path);
});

test.each([
  '',
  'a',
  '*',
  '?a',
  '/a%2Fb',
  '/%2f',
  '/a%5cb',
  '/a%5Cb',
  '/%2e%2e%2fa',
  '/a%00',
  '/a%00/../b',
  '/a#f',
  '/a?x#f',
  '/a b',
  '/a\t',
  '/a\u0001',
  '/a\u007f',
  '/é',
  '/a?é',
])('%j is refused with 400', (sent) => {
  expect(normalizePath(sent)).toBeUndefined();
});

const nasty = fc
  .array(
    fc.constantFrom('/', '\\', '.', '..', '%2e', '%2E', '%', '%2', '%32', 'e', '6', ';', 'x', '?', '%41', '"', '%c3'),
  )
  .map((parts) => `/${parts.join('')}`);

test('the path has no dot segment, no double slash but alone, and no backslash', () => {
  fc.assert(
    fc.property(nasty, (sent) => {
      const path = normalizePath(sent)?.split('?')[0] ?? '/';
      expect(path.split('/')).not.toEqual(expect.arrayContaining(['..']));
      expect(path.split('/')).not.toEqual(expect.arrayContaining(['.']));
      if (path !== '//') expect(path).not.toContain('//');
      expect(path).toMatch(/^\/[^\\]*$/);
    }),
  );
});

test('what was normalised is not changed again, unless parameters of escaped dots came to light', () => {
  fc.assert(
    fc.property(nasty, (sent) => {
      const path = normalizePath(sent) ?? '/';
      fc.pre(!/\/\.{1,2};/.test(path));
      expect(normalizePath(path)).toBe(path);
    }),
  );
});
