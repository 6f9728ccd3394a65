import { expect, test } from 'vitest';
import { jsonNarrator, type Narrator, textNarrator } from './narrator.ts';

function tell(make: (write: (text: string) => void) => Narrator): string {
  let told = '';
  const narrator = make((text) => {
    told += text;
  });
  narrator.act(2, 'A policy.');
  narrator.claim({ act: 2, claim: 'the intruder is refused', holds: false, evidence: ['it was answered'] });
  narrator.outcome({ passed: false, falseClaims: ['act 2: the intruder is refused'], seconds: 3 });
  return told;
}

test('text marks a false claim, shows its evidence and names it again at the end', () => {
  const told = tell((write) => textNarrator(write, false));
  expect(told).toContain('  ✗ the intruder is refused\n      it was answered\n');
  expect(told.trimEnd().split('\n').at(-1)).toBe('✗ Not true: act 2: the intruder is refused');
});

test('colour is only used where it is wanted', () => {
  expect(tell((write) => textNarrator(write, false))).not.toContain('\u001b');
  expect(tell((write) => textNarrator(write, true))).toContain('\u001b');
});

test('JSON is one object a line', () => {
  const objects = tell(jsonNarrator)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string });
  expect(objects.map(({ type }) => type)).toEqual(['act', 'claim', 'outcome']);
  expect(objects[2]).toMatchObject({ passed: false, falseClaims: ['act 2: the intruder is refused'] });
});
