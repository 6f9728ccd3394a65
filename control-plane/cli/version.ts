import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** package.json of the checkout, or the copy beside the bundle. */
export function version(): string {
  for (const path of ['../../package.json', '../package.json', 'package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(import.meta.dirname, path), 'utf8')) as {
        name: string;
        version: string;
      };
      if (name === 'sidestep') return version;
    } catch {
      // Not there; the next place.
    }
  }
  return 'unknown';
}
