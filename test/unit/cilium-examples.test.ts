/** What becomes of Cilium's example policies: the table stands in cilium-examples.yaml. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseManifests } from '../../control-plane/api/manifests.ts';

interface Example {
  readonly example: string;
  readonly verdict: 'accepted' | readonly string[];
  readonly manifest: object;
}

const TABLE: readonly Example[] = parse(readFileSync(join(import.meta.dirname, 'cilium-examples.yaml'), 'utf8'));

test('every example has one row', () => {
  expect(new Set(TABLE.map(({ example }) => example)).size).toBe(TABLE.length);
  expect(TABLE).toHaveLength(82);
});

test.each(TABLE)('$example: $verdict', ({ verdict, manifest }) => {
  const { objects, issues } = parseManifests(JSON.stringify(manifest), 'example.json');
  const own = objects.flatMap(({ kind, object }) => (kind === 'Policy' ? object.issues : []));
  const found = [...issues, ...own].map(({ code, path }) => `${code} ${path}`);
  expect(found).toEqual(verdict === 'accepted' ? [] : verdict);
});
