/**
 * Each folder: input.yaml -> entries.txt, status.yaml. UPDATE_GOLDEN=1 rewrites them. edit.yaml is the file's next
 * content; edit.broken is that too, and no YAML, so that no formatter stumbles over it.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';
import { Numbers } from '../../control-plane/identity/numbers.ts';
import type { Snapshot } from '../../control-plane/model/snapshot.ts';
import { Compiler } from '../../control-plane/policy/compile.ts';
import { Inventory } from '../../control-plane/sources/inventory.ts';
import { renderEntries, renderStatus } from './render.ts';

const UPDATE = process.env['UPDATE_GOLDEN'] === '1';
const cases = readdirSync(import.meta.dirname, { withFileTypes: true }).filter((entry) => entry.isDirectory());

/** What the agent of node `here` makes of the files that the folder held one after the other. */
function snapshotOf(folder: string): Snapshot {
  const inventory = new Inventory();
  const compiler = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] });
  const contents = ['input.yaml', 'edit.yaml', 'edit.broken']
    .map((name) => join(folder, name))
    .filter((path) => existsSync(path));
  const snapshots = contents.map((path) => {
    inventory.set('input.yaml', parseManifests(readFileSync(path, 'utf8'), 'input.yaml'));
    return compiler.compile(inventory.objects());
  });
  const last = snapshots.at(-1);
  if (last === undefined) throw new Error(`${folder} has no input.yaml`);
  return last;
}

test('there are cases', () => expect(cases.length).toBeGreaterThanOrEqual(12));

test.each(cases.map(({ name }) => name))('%s compiles to what its folder says', (name) => {
  const folder = join(import.meta.dirname, name);
  const snapshot = snapshotOf(folder);
  for (const [file, text] of [
    ['entries.txt', renderEntries(snapshot)],
    ['status.yaml', renderStatus(snapshot)],
  ] as const) {
    const path = join(folder, file);
    if (UPDATE) writeFileSync(path, text);
    expect(text).toBe(readFileSync(path, 'utf8'));
  }
});
