import { expect, test } from 'vitest';
import { noteKey, type Policy } from '../model/policy.ts';
import { notesOf } from './notes.ts';

const ref = { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'guard' };
const spec = (rule: string, more: Partial<Policy>): Policy => ({
  ref,
  subject: { matchLabels: new Map() },
  defaultDeny: { egress: false, ingress: true },
  rules: [{ ref: { ...ref, rule }, direction: 'ingress', peers: { kind: 'any' }, ports: [] }],
  refused: false,
  ...more,
});

test('of each spec for its rules, and of all of them for the policy as a whole', () => {
  const notes = notesOf([
    spec('specs[0].ingress[0]', { log: 'a', labels: ['team=web'] }),
    spec('specs[1].ingress[0]', { log: 'b', labels: ['team=web'] }),
  ]);
  expect(notes.get(noteKey({ ...ref, rule: 'specs[1].ingress[7]' }))).toEqual({ logs: ['b'], labels: ['team=web'] });
  expect(notes.get(noteKey(ref))).toEqual({ logs: ['a', 'b'], labels: ['team=web'] });
});

test('of one spec for all that is in it; none where nothing is said', () => {
  expect(notesOf([spec('ingress[0]', { log: 'a' })]).get(noteKey({ ...ref, rule: 'ingress[0]' }))?.logs).toEqual(['a']);
  expect(notesOf([spec('ingress[0]', {})]).size).toBe(0);
});
