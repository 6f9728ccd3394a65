/** The examples that are handed out are accepted as they stand. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseManifests } from '../../control-plane/api/manifests.ts';

const folder = join(import.meta.dirname, '../../deploy/examples');
const files = globSync('**/*.yaml', { cwd: folder }).sort();

test('there are examples', () => expect(files.length).toBeGreaterThanOrEqual(12));

test.each(files)('%s has no issues, and begins with what it is for', (file) => {
  const text = readFileSync(join(folder, file), 'utf8');
  expect(text).toMatch(/^# [^\n]{20,}\n/);
  const { objects, issues } = parseManifests(text, file);
  expect(objects.length).toBeGreaterThan(0);
  const own = objects.flatMap(({ kind, object }) => (kind === 'Policy' ? object.issues : []));
  expect([...issues, ...own].map(({ message }) => message)).toEqual([]);
});
