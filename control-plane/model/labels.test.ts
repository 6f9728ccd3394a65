import { expect, test } from 'vitest';
import {
  isLabelKey,
  isLabelValue,
  type Labels,
  labelList,
  labelsOf,
  selectorKey,
  selects,
  sourceOf,
} from './labels.ts';

const web: Labels = new Map([
  ['k8s:app', 'web'],
  ['k8s:tier', 'front'],
]);
const host: Labels = new Map([['reserved:host', '']]);

function selector(labels: Record<string, string>): { matchLabels: Map<string, string> } {
  return { matchLabels: new Map(Object.entries(labels)) };
}

test('every label that a selector asks for must be there', () => {
  expect(selects(selector({ 'k8s:app': 'web', 'k8s:tier': 'front' }), web)).toBe(true);
  expect(selects(selector({ 'k8s:app': 'web', 'k8s:tier': 'back' }), web)).toBe(false);
  expect(selects(selector({ 'k8s:app': 'web', 'k8s:zone': '' }), web)).toBe(false);
});

test('an empty selector takes everything', () => {
  expect(selects(selector({}), web)).toBe(true);
});

test('a key without a source means any source', () => {
  expect(selectorKey('app')).toBe('any:app');
  expect(selectorKey('k8s:app')).toBe('k8s:app');
  expect(selects(selector({ 'any:app': 'web' }), web)).toBe(true);
  expect(selects(selector({ 'any:host': '' }), host)).toBe(true);
  expect(selects(selector({ 'k8s:host': '' }), host)).toBe(false);
});

test('the source stands in front of the first colon and never behind a slash', () => {
  expect(sourceOf('app.kubernetes.io/name')).toBe('here');
  expect(sourceOf('reserved:host')).toBe('here');
  expect(sourceOf('cidr:10.0.0.0/8')).toBe('later');
  expect(sourceOf('team:red')).toBe('unknown');
});

test('equal label sets have equal text whatever their order, and the text is read back', () => {
  expect(labelList(new Map([...web].reverse()))).toEqual(labelList(web));
  expect(labelsOf(labelList(web))).toEqual(web);
  expect(labelsOf(['reserved:host='])).toEqual(host);
});

test.each(['app', 'app.kubernetes.io/name', 'A_b.c-1', 'x'.repeat(63)])('%s is the key of a label', (key) => {
  expect(isLabelKey(key)).toBe(true);
});

test.each(['', '-app', 'app-', 'a b', 'a=b', 'a\nb', 'Upper.case/name', 'a/b/c', '/a', 'x'.repeat(64)])(
  '%j is not the key of a label',
  (key) => {
    expect(isLabelKey(key)).toBe(false);
  },
);

test('a value may be empty, and has no blank or line end', () => {
  expect(['', 'web', '1.2_3-x'].every(isLabelValue)).toBe(true);
  expect(['a b', 'web\nk8s:role=admin', '-', 'x'.repeat(64)].some(isLabelValue)).toBe(false);
});

test.each([
  ['In', ['web', 'api'], [true, true, false, false]],
  ['NotIn', ['web', 'api'], [false, false, true, true]],
  ['Exists', [], [true, true, true, false]],
  ['DoesNotExist', [], [false, false, false, true]],
] as const)('%s %j', (operator, values, expected) => {
  const sets = [{ app: 'web' }, { app: 'api' }, { app: 'db' }, { tier: 'web' }].map(
    (labels) => new Map(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value])),
  );
  for (const key of ['any:app', 'k8s:app']) {
    const selector = { matchLabels: new Map(), matchExpressions: [{ key, operator, values }] };
    expect(sets.map((labels) => selects(selector, labels))).toEqual(expected);
  }
  const other = {
    matchLabels: new Map([['any:tier', 'web']]),
    matchExpressions: [{ key: 'any:app', operator, values }],
  };
  expect(sets.map((labels) => selects(other, labels))).toEqual([false, false, false, expected[3]]);
});
