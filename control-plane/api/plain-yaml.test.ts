/** What the quick reader reads, it reads as the general parser does: values, lines, and nothing that the other refuses. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments, stringify } from 'yaml';
import { lineOfPath, type PlainDocument, readPlainYaml } from './plain-yaml.ts';

type Path = readonly (string | number)[];

/** Value and lines by the general parser; undefined: it refuses the text. */
function general(text: string): { value: unknown; lines: Map<string, number> } | undefined {
  const counter = new LineCounter();
  const [document, ...rest] = parseAllDocuments(text, { lineCounter: counter, logLevel: 'error' });
  if (document === undefined) return { value: null, lines: new Map() };
  if (rest.length > 0 || document.errors.length > 0) return undefined;
  const lines = new Map<string, number>();
  const visit = (node: unknown, path: Path): void => {
    const note = (at: Node, below: Path): void => {
      lines.set(JSON.stringify(below), counter.linePos(at.range?.[0] ?? 0).line - 1);
    };
    if (isMap(node))
      for (const { key, value } of node.items) {
        const below = [...path, String(isScalar(key) ? key.value : key)];
        note(key as Node, below);
        visit(value, below);
      }
    else if (isSeq(node))
      for (const [i, item] of node.items.entries()) {
        note(item as Node, [...path, i]);
        visit(item, [...path, i]);
      }
  };
  visit(document.contents, []);
  return { value: document.toJS(), lines };
}

function expectSame(text: string, plain: PlainDocument): void {
  const other = general(text);
  expect(other?.value, text).toEqual(plain.value);
  for (const [path, line] of other?.lines ?? [])
    expect([path, lineOfPath(plain, JSON.parse(path))], text).toEqual([path, line]);
}

test.each([
  "a: 1\nb: [x, \"y\", 'it''s']\n",
  '# first\n\na:\n  # second\n  b: c # third\n  d:\n  - e\n  - f: g\n    h: ::/0\n  - 10.0.0.0/8\ni: {}\n',
  'a:\n- - b\n  - c\n-   d: e\n    f: null\n',
  'a: {b: {c: [d, {e: "f:g"}]}, "k8s:x": y}\n',
  '{\n  "a": [\n    1,\n    true\n  ],\n  "b": { "c": null }\n}\n',
  '{"a":[{"b":1},{"c":"d"}],"e":null}',
  'a: 007x\nb: -12\nc: ~\nd: True\ne: 1.2.3.4\nf: a#b\ng: a  b\nh: -x\n',
  'a:\nb:\n  - c\n',
  '',
  '# nothing\n',
  'a:\n  {b: c,\n    d: e}\n',
])('%j is read as by the general parser', (text) => {
  const plain = readPlainYaml(text);
  if (plain === undefined) throw new Error('not read');
  expectSame(text, plain);
});

test.each([
  'a: &x 1\n',
  'a: *x\n',
  'a: !!str 1\n',
  'a: |\n  b\n',
  'a: >-\n  b\n',
  'a: b\n  c\n',
  'a: "b\n  c"\n',
  'a: 1\na: 2\n',
  'a: b: c\n',
  'a:\n\t- b\n',
  'a: 1.5\n',
  'a: 0x10\n',
  'a: .inf\n',
  'a: [b, c\n',
  'a: [b c: d]\n',
  'a: {b}\n',
  'a: [b]]\n',
  '- a\nb: c\n',
  'a: b\n- c\n',
  'a:\n   b: c\n  d: e\n',
  '__proto__: 1\n',
  'a: "\\x41"\n',
  '? a\n: b\n',
  'a: b\n---\nc: d\n',
  `a: ${'['.repeat(1000)}`,
])('%j is left to the general parser', (text) => {
  expect(readPlainYaml(text)).toBeUndefined();
});

const word = fc.stringMatching(/^[ -~]{0,12}$/);
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(
      word,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom('10.0.0.0/8', '::/0', 'k8s:app', '80'),
    ),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.oneof(fc.stringMatching(/^[a-zA-Z][\w.:/-]{0,6}$/), word), tie('value'), { maxKeys: 3 }),
  ),
})).value;

test('of whatever the general writer writes', () => {
  let read = 0;
  fc.assert(
    fc.property(value, fc.integer({ min: 2, max: 4 }), fc.boolean(), (each, indent, isFlow) => {
      const text = isFlow
        ? JSON.stringify(each, undefined, indent === 3 ? 0 : indent)
        : stringify(each, { indent, lineWidth: 0 });
      const plain = readPlainYaml(text);
      if (plain === undefined) return;
      read++;
      expectSame(text, plain);
    }),
    { numRuns: 2000, seed: 7 },
  );
  expect(read).toBeGreaterThan(500);
});

/** Pieces that mean something to YAML, so that random texts are at the edge of it. */
const piece = fc.constantFrom(
  ...['a', 'b', 'k8s:c', ': ', ':', '- ', '-', '\n', '\n  ', '\n    ', ' ', '#', ' #', '{', '}', '[', ']', ', ', ','],
  ...[
    '"',
    "'",
    '"d"',
    "'e'",
    '1',
    '0',
    '-1',
    '1.0',
    'null',
    'true',
    '~',
    '/',
    '&',
    '*',
    '!',
    '|',
    '>',
    '?',
    '%',
    '@',
    '\\',
  ],
);

test('of random texts it reads none otherwise, and none that the general parser refuses', () => {
  let read = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
      const text = pieces.join('');
      const plain = readPlainYaml(text);
      if (plain === undefined) return;
      read++;
      expectSame(text, plain);
    }),
    { numRuns: 10_000, seed: 11 },
  );
  expect(read).toBeGreaterThan(300);
});
