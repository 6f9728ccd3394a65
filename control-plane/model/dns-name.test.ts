import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { nameFits } from './dns-name.ts';

describe('names and patterns', () => {
  test.each([
    ['*', '', true],
    ['*', 'a.b.c', true],
    ['*.example.com', 'www.example.com', true],
    ['*.example.com', 'a.www.example.com', false],
    ['*.example.com', 'example.com', false],
    ['*.example.com', 'www.example.org', false],
    ['*example.com', 'example.com', true],
    ['*example.com', 'bad-example.com', true],
    ['*example.com', 'sub.example.com', false],
    ['**.example.com', 'a.example.com', true],
    ['**.example.com', 'a.b.c.example.com', true],
    ['**.example.com', 'example.com', false],
    ['**.example.com', 'a!.example.com', false],
    ['a*b*c.com', 'a1b2c.com', true],
    ['a*b*c.com', 'abc.com', true],
    ['a*b*c.com', 'ac.com', false],
    ['a*a.com', 'a.com', false],
    ['api-*.*.example.com', 'api-1.eu.example.com', true],
    ['*.example.com', 'w!w.example.com', false],
    ['x.*', 'x.y', true],
    ['plain.com', 'plain.com', true],
  ])('%s %s: %s', (matchPattern, name, expected) => {
    expect(nameFits({ matchPattern }, name)).toBe(expected);
  });

  it('a name takes itself only', () => {
    expect(nameFits({ matchName: 'a.b' }, 'a.b')).toBe(true);
    expect(nameFits({ matchName: 'a.b' }, 'x.a.b')).toBe(false);
  });

  it('is what the regular expression of Cilium says', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 8 });
    const label = fc.string({ unit: fc.constantFrom('a', 'b', '.', '-', '!'), maxLength: 8 });
    fc.assert(
      fc.property(text, label, (matchPattern, name) => {
        fc.pre(matchPattern !== '*' && !matchPattern.startsWith('**'));
        const expression = matchPattern.replaceAll('.', '[.]').replaceAll(/\*+/g, '[-a-z0-9_]*');
        expect(nameFits({ matchPattern }, name)).toBe(new RegExp(`^${expression}$`).test(name));
      }),
      { numRuns: 2000 },
    );
  });
});
