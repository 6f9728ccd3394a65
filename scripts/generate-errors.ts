/** control-plane/model/error-codes.ts -> docs/reference/errors.md. */
import { writeFileSync } from 'node:fs';
import { ERRORS } from '../control-plane/model/error-codes.ts';

const lines = Object.entries(ERRORS).flatMap(([code, { text, hint }]) => [
  `## ${code}`,
  '',
  text,
  '',
  `*What to do:* ${hint}`,
  '',
]);
writeFileSync(
  new URL('../docs/reference/errors.md', import.meta.url),
  [
    '# Error codes',
    '',
    '<!-- Generated from control-plane/model/error-codes.ts by scripts/generate-errors.ts; do not edit. -->',
    '',
    'Every error has a code that keeps its meaning, a message and a hint; with `-o json` they are the fields `code`, `message`, `hint`.',
    '',
    ...lines,
  ].join('\n'),
);
