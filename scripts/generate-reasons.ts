/** bpf/reasons.yaml -> the C enum, the TypeScript table and the docs page. */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';

const Reason = z.strictObject({
  number: z.int().min(130).max(255),
  name: z.string().regex(/^[A-Z0-9_]+$/),
  text: z.string(),
  why: z.string(),
  do: z.string(),
  event: z.boolean().default(true),
});

const root = new URL('../', import.meta.url);
const reasons = z.array(Reason).parse(parse(readFileSync(new URL('bpf/reasons.yaml', root), 'utf8')));
for (const key of ['number', 'name'] as const)
  if (new Set(reasons.map((r) => r[key])).size !== reasons.length)
    throw new Error(`bpf/reasons.yaml: a ${key} stands twice`);

const notice = 'Generated from bpf/reasons.yaml by scripts/generate-reasons.ts; do not edit.';

writeFileSync(
  new URL('bpf/include/reasons.h', root),
  [
    '/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */',
    `/* ${notice} */`,
    '#pragma once',
    '',
    'enum drop_reason {',
    '\tREASON_NONE = 0,',
    ...reasons.map((r) => `\tREASON_${r.name} = ${r.number},`),
    '};',
    '',
    '/* Reasons that are counted and not reported one by one. */',
    'static inline __attribute__((always_inline)) int reason_is_silent(__u32 reason)',
    '{',
    `\treturn ${
      reasons
        .filter((r) => !r.event)
        .map((r) => `reason == REASON_${r.name}`)
        .join(' || ') || '0'
    };`,
    '}',
    '',
  ].join('\n'),
);

writeFileSync(
  new URL('control-plane/generated/reasons.ts', root),
  [
    `// ${notice}`,
    '',
    'export const DROP_REASONS = {',
    ...reasons.map(({ name, ...rest }) => `  ${name}: ${JSON.stringify(rest)},`),
    '} as const;',
    '',
    'export type DropReason = keyof typeof DROP_REASONS;',
    '',
    'export const DROP_REASON_BY_NUMBER: ReadonlyMap<number, DropReason> = new Map(',
    '  Object.entries(DROP_REASONS).map(([name, reason]) => [reason.number, name as DropReason]),',
    ');',
    '',
  ].join('\n'),
);

writeFileSync(
  new URL('docs/reference/drop-reasons.md', root),
  [
    '# Drop reasons',
    '',
    `<!-- ${notice} -->`,
    '',
    "Numbers and names are those of Hubble's `flow.DropReason`. Every drop is counted under one of them (`sidestep_drop_total`).",
    '',
    ...reasons.flatMap((r) => [
      `## ${r.number} ${r.name}`,
      '',
      `Printed as \`${r.text}\`${r.event ? '' : ' (counted only, no flow record)'}.`,
      '',
      `- **Why:** ${r.why}`,
      `- **What to do:** ${r.do}`,
      '',
    ]),
  ].join('\n'),
);
