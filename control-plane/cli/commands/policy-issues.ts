/** What is wrong with files, as text. */
import type { Issue } from '../../model/snapshot.ts';

/** One line to jump to, as compilers print them, and what to do. */
export function issueText(issues: readonly Issue[]): string {
  return issues
    .map(({ origin, code, object, message, hint }) => {
      const what = object === '' ? message : `${object}: ${message}`;
      return `${origin}: ${code}: ${what}\n    hint: ${hint}\n`;
    })
    .join('');
}
