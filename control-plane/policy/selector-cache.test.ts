import { expect, test } from 'vitest';
import { type Labels, reservedLabels } from '../model/labels.ts';
import type { Entity, Peers, Selector } from '../model/policy.ts';
import { SelectorCache } from './selector-cache.ts';

const app = (name: string): Labels => new Map([['k8s:app', name]]);
const selecting = (name: string): Peers => ({
  kind: 'selected',
  selectors: [{ matchLabels: new Map([['any:app', name]]) }],
  entities: [],
});
const entities = (...list: Entity[]): Peers => ({ kind: 'selected', selectors: [], entities: list });

test('an identity that comes, changes or goes is seen by selectors that were asked for before', () => {
  const cache = new SelectorCache();
  cache.update(new Map([[300, app('web')]]));
  expect([...cache.idsOf(selecting('web'))]).toEqual([300]);
  cache.update(
    new Map([
      [300, app('web')],
      [301, app('web')],
      [302, app('api')],
    ]),
  );
  expect([...cache.idsOf(selecting('web'))].sort()).toEqual([300, 301]);
  cache.update(
    new Map([
      [301, app('api')],
      [302, app('web')],
    ]),
  );
  expect([...cache.idsOf(selecting('web'))]).toEqual([302]);
});

test('equal peers of different rules share one answer', () => {
  const cache = new SelectorCache();
  cache.update(new Map([[300, app('web')]]));
  expect(cache.idsOf(selecting('web'))).toBe(cache.idsOf(selecting('web')));
  expect(cache.size).toBe(1);
});

test('what a revision does not ask for is forgotten', () => {
  const cache = new SelectorCache();
  const identities = new Map([[300, app('web')]]);
  cache.update(identities);
  cache.idsOf(selecting('web'));
  cache.update(identities);
  cache.idsOf(selecting('api'));
  cache.update(identities);
  expect(cache.size).toBe(1);
});

test('entities name reserved identities and pods, and `all` names nobody', () => {
  const cache = new SelectorCache();
  const pod: Labels = new Map([...app('web'), ['k8s:io.cilium.k8s.policy.cluster', 'default']]);
  cache.update(
    new Map([
      [1, reservedLabels('host')],
      [2, reservedLabels('world')],
      [3, reservedLabels('unmanaged')],
      [300, pod],
    ]),
  );
  expect([...cache.idsOf(entities('host'))]).toEqual([1]);
  expect([...cache.idsOf(entities('world'))]).toEqual([2]);
  expect([...cache.idsOf(entities('cluster'))]).toEqual([1, 3, 300]);
  expect([...cache.idsOf(entities('all'))]).toEqual([]);
  expect([...cache.idsOf(entities('host', 'world'))]).toEqual([1, 2]);
  expect([...cache.idsOf({ kind: 'any' })]).toEqual([]);
});

test('selectors reach reserved identities only by naming them, whatever they ask of other labels', () => {
  const cache = new SelectorCache();
  const outside: Labels = new Map([
    ['cidr:192.0.2.0/24', ''],
    ['reserved:world', ''],
  ]);
  cache.update(
    new Map([
      [1, reservedLabels('host')],
      [300, app('web')],
      [1 << 24, outside],
    ]),
  );
  const by = (selector: Selector): number[] => [
    ...cache.idsOf({ kind: 'selected', selectors: [selector], entities: [] }),
  ];
  const matchLabels = new Map<string, string>();
  expect(by({ matchLabels })).toEqual([300]);
  const notDb = { key: 'any:app', operator: 'NotIn', values: ['db'] } as const;
  expect(by({ matchLabels, matchExpressions: [notDb] })).toEqual([300]);
  expect(by({ matchLabels: new Map([['reserved:host', '']]) })).toEqual([1]);
  expect(by({ matchLabels, matchExpressions: [{ key: 'any:world', operator: 'Exists', values: [] }] })).toEqual([
    1 << 24,
  ]);
});
