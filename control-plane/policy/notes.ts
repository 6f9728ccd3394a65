/** What people wrote beside their rules for whoever reads flow records: `labels`, and `log.value`. */
import { noteKey, type Policy, type PolicyNote } from '../model/policy.ts';

/** By noteKey, of policies that say something; a policy of several `specs` also has a note as a whole. */
export function notesOf(policies: readonly Policy[]): ReadonlyMap<string, PolicyNote> {
  const notes = new Map<string, PolicyNote>();
  const add = (key: string, note: PolicyNote): void => {
    const known = notes.get(key);
    const join = (a: readonly string[], b: readonly string[]): readonly string[] => [...new Set([...a, ...b])];
    notes.set(key, known ? { logs: join(known.logs, note.logs), labels: join(known.labels, note.labels) } : note);
  };
  for (const { ref, rules, log, labels = [] } of policies) {
    if (log === undefined && labels.length === 0) continue;
    const note = { logs: log === undefined ? [] : [log], labels };
    for (const key of new Set([ref, ...rules.map((rule) => rule.ref)].map(noteKey))) add(key, note);
  }
  return notes;
}
