import { expect, test } from 'vitest';
import type { EnvoyView } from '../../envoy/status.ts';
import { envoyText } from './envoy.ts';

const READY: EnvoyView = {
  state: 'ready',
  since: '2026-01-04T10:15:02.000Z',
  wanted: true,
  pid: 4711,
  version: '1.40.0',
  startedAt: '2026-01-04T10:15:01.000Z',
  adopted: true,
  restarts: 2,
  discovery: { rulesets: 1, revision: 7, acknowledged: 7, refused: [] },
};

test('one that is ready', () => {
  expect(envoyText(READY)).toBe(
    'Envoy     ready  pid 4711, version 1.40.0, since 2026-01-04T10:15:01.000Z\n' +
      'Wanted    by 1 ruleset\n' +
      'Adopted   started by an earlier agent\n' +
      'Restarts  2\n' +
      'Revision  7 served, 7 acknowledged\n',
  );
});

test('one that nobody wants', () => {
  const { pid: _, version: __, startedAt: ___, ...rest } = READY;
  const text = envoyText({ ...rest, state: 'stopped', wanted: false, adopted: false });
  expect(text).toContain('Envoy     stopped\nWanted    no\nAdopted   no\n');
});

test('one that failed tells its last words and when it is tried again; refused configuration in Envoy’s own', () => {
  const text = envoyText({
    ...READY,
    state: 'failed',
    retryAt: '2026-01-04T10:15:03.000Z',
    lastFailure: {
      at: '2026-01-04T10:15:02.000Z',
      code: 'ENVOY_FAILED',
      message: 'Envoy (pid 4711) was ended by signal 11',
      hint: 'It is tried again by itself.',
      lastWords: ['first', 'last'],
    },
    discovery: {
      rulesets: 2,
      revision: 8,
      acknowledged: 7,
      refused: [{ at: '2026-01-04T10:15:00.000Z', type: 'routes', names: ['sidestep'], message: 'no such regex' }],
    },
  });
  expect(text).toContain('Wanted    by 2 rulesets\n');
  expect(text).toContain('Next try  2026-01-04T10:15:03.000Z\n');
  expect(text).toContain('‼ 2026-01-04T10:15:00.000Z refused sidestep (routes): no such regex\n');
  expect(text).toMatch(
    /Last failure .*: ENVOY_FAILED: Envoy \(pid 4711\) was ended by signal 11\n {4}It is .*\n {4}\| first\n {4}\| last\n$/,
  );
});
