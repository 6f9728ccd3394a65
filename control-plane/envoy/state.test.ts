import { describe, expect, test } from 'vitest';
import {
  type Effect,
  type EnvoyEvent,
  type EnvoyState,
  INITIAL,
  type Machine,
  PAUSES,
  pauseOf,
  type Timer,
  transition,
} from './state.ts';

const EVENTS: readonly EnvoyEvent[] = [
  'want',
  'unwant',
  'found',
  'launched',
  'unable',
  'ready',
  'gone',
  'hung',
  'late',
  'idle',
  'drained',
  'overdue',
  'retry',
  'healthy',
];
const STATES: readonly EnvoyState[] = ['stopped', 'wanted', 'starting', 'ready', 'draining', 'failed'];

function machine(state: EnvoyState, changes: Partial<Machine> = {}): Machine {
  return { ...INITIAL, state, ...changes };
}
const wanted = (state: EnvoyState, changes: Partial<Machine> = {}): Machine =>
  machine(state, { wanted: true, ...changes });
const set = (timer: Timer): Effect => ({ set: timer });
const clear = (timer: Timer): Effect => ({ clear: timer });

/** Before, event, state after, effects. */
const STEPS: readonly (readonly [string, Machine, EnvoyEvent, EnvoyState, readonly Effect[]])[] = [
  ['the first rule starts it', machine('stopped'), 'want', 'wanted', ['launch']],
  [
    'one that is found is used, not yet wanted',
    machine('stopped'),
    'found',
    'starting',
    ['undrain', set('start'), set('idle')],
  ],
  ['a start that worked waits for its listeners', wanted('wanted'), 'launched', 'starting', [set('start')]],
  ['a start that nobody wants any more idles', machine('wanted'), 'launched', 'starting', [set('start'), set('idle')]],
  ['a start that failed is tried again', wanted('wanted'), 'unable', 'failed', [set('retry')]],
  ['a start that failed and is not wanted is over', machine('wanted'), 'unable', 'stopped', []],
  ['a start under way is not called back', wanted('wanted'), 'unwant', 'wanted', []],
  ['it becomes ready', wanted('starting'), 'ready', 'ready', [set('health')]],
  ['it becomes ready too late to be wanted', machine('starting'), 'ready', 'ready', [set('health'), set('idle')]],
  ['it dies while it starts', wanted('starting'), 'gone', 'failed', ['forget', set('retry')]],
  ['it dies while it starts, and nobody minds', machine('starting'), 'gone', 'stopped', ['forget']],
  ['it does not become ready', wanted('starting'), 'late', 'failed', ['kill', 'forget', set('retry')]],
  ['it stops answering while it starts', wanted('starting'), 'hung', 'failed', ['kill', 'forget', set('retry')]],
  ['it is unwanted while it starts', wanted('starting'), 'unwant', 'starting', [set('idle')]],
  ['it is wanted again while it starts', machine('starting'), 'want', 'starting', [clear('idle')]],
  ['it never became ready while nobody wanted it', machine('starting'), 'idle', 'draining', ['quit', set('end')]],
  ['it crashes', wanted('ready'), 'gone', 'failed', ['forget', set('retry')]],
  ['it hangs', wanted('ready'), 'hung', 'failed', ['kill', 'forget', set('retry')]],
  ['it crashes while it idles', machine('ready'), 'gone', 'stopped', ['forget']],
  ['the last rule goes', wanted('ready'), 'unwant', 'ready', [set('idle')]],
  ['a rule comes back in time', machine('ready'), 'want', 'ready', [clear('idle')]],
  ['nobody wanted it for long enough', machine('ready'), 'idle', 'draining', ['drain', set('drain')]],
  ['a rule comes back while it drains', machine('draining'), 'want', 'ready', ['undrain', set('health')]],
  ['the last connection is gone', machine('draining'), 'drained', 'draining', ['quit', set('end')]],
  ['it does not end when asked', machine('draining', { ending: true }), 'overdue', 'draining', ['kill']],
  ['it hangs while it drains', machine('draining'), 'hung', 'draining', ['kill']],
  ['it is gone', machine('draining', { ending: true }), 'gone', 'stopped', ['forget']],
  ['a rule comes back while it ends', machine('draining', { ending: true }), 'want', 'draining', []],
  ['it is gone and wanted again', wanted('draining', { ending: true }), 'gone', 'wanted', ['forget', 'launch']],
  ['the pause is over', wanted('failed'), 'retry', 'wanted', ['launch']],
  ['nobody wants what failed', wanted('failed'), 'unwant', 'stopped', []],
];

test.each(STEPS)('%s', (_, before, event, state, effects) => {
  const step = transition(before, event);
  expect(step.machine.state).toBe(state);
  expect(step.effects).toEqual(effects);
});

describe('every state', () => {
  const all = STATES.flatMap((state) => EVENTS.map((event) => [state, event] as const));

  test.each(all)('%s takes %s: what is not in the table changes nothing but what is wanted', (state, event) => {
    const known = STEPS.some(([, before, each]) => before.state === state && each === event);
    for (const before of [machine(state), wanted(state)]) {
      const { machine: after, effects } = transition(before, event);
      expect(after.wanted).toBe(event === 'want' ? true : event === 'unwant' ? false : before.wanted);
      if (!known && !(state === 'ready' && event === 'healthy')) {
        expect(effects).toEqual([]);
        expect(after.state).toBe(state);
      }
    }
  });

  test('without a process has none to forget or kill', () => {
    for (const state of ['stopped', 'wanted', 'failed'] as const)
      for (const event of EVENTS)
        for (const before of [machine(state), wanted(state)]) {
          const { effects } = transition(before, event);
          expect(effects).not.toContain('kill');
          expect(effects).not.toContain('forget');
        }
  });

  test('that launches is one in which no process runs, or the process was forgotten first', () => {
    for (const state of STATES)
      for (const event of EVENTS) {
        const { effects } = transition(wanted(state, { ending: state === 'draining' }), event);
        const launch = effects.indexOf('launch');
        if (launch !== -1 && state === 'draining') expect(effects.indexOf('forget')).toBeLessThan(launch);
        else if (launch !== -1) expect(['stopped', 'failed']).toContain(state);
      }
  });
});

test('an idle time that runs is not begun anew when nobody wants it twice', () => {
  expect(transition(machine('ready'), 'unwant').effects).toEqual([]);
});

test('failures in a row are counted, and a time of health ends the row', () => {
  const lost = transition(wanted('ready', { failures: 2 }), 'gone').machine;
  expect(lost.failures).toBe(3);
  const back = transition(transition(transition(lost, 'retry').machine, 'launched').machine, 'ready').machine;
  expect(back.failures).toBe(3);
  expect(transition(back, 'healthy').machine.failures).toBe(0);
});

test('the pause before another try doubles from 0.1 s to 10 s', () => {
  const pauses = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000].map((failures) =>
    pauseOf('retry', machine('failed', { failures }), PAUSES),
  );
  expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
});

test('other pauses are what they are', () => {
  const timers = ['start', 'idle', 'drain', 'end', 'health'] as const;
  expect(timers.map((timer) => pauseOf(timer, machine('ready', { failures: 5 }), PAUSES))).toEqual([
    20_000, 30_000, 60_000, 2_000, 30_000,
  ]);
});
