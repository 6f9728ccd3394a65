/**
 * Tutorials that run: the `sh` blocks of a Markdown file, one after the other in one shell, each held against the `output` block
 * behind it. In those `…` stands for anything within a line, and a line of it alone for any lines.
 */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { ROOT } from './tools.ts';

export interface Step {
  /** Line of the file that the block begins on; 1 is the first. */
  readonly line: number;
  readonly commands: string;
  /** Absent: nothing is said of what it prints. */
  readonly output?: string;
}

const ANY = '…';

/** @throws when a block does not end, or an `output` has no `sh` in front of it */
export function readSteps(markdown: string): readonly Step[] {
  const steps: Step[] = [];
  const lines = markdown.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const language = /^```(\w+)$/.exec(lines[i] ?? '')?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf('```', i + 1);
    if (end === -1) throw new Error(`the block of line ${i + 1} does not end`);
    const text = lines.slice(i + 1, end).join('\n');
    const last = steps.at(-1);
    if (language === 'sh') steps.push({ line: i + 1, commands: text });
    if (language === 'output') {
      if (last === undefined || last.output !== undefined) throw new Error(`nothing prints the block of line ${i + 1}`);
      steps[steps.length - 1] = { ...last, output: text };
    }
    i = end;
  }
  return steps;
}

/** Is it what the page says, line by line? */
export function isAsSaid(said: string, printed: string): boolean {
  const pattern = said
    .split('\n')
    .map((line) => (line === ANY ? '(?:.*\n)*?' : `${line.split(ANY).map(literally).join('.+')}\n`))
    .join('');
  return new RegExp(`^${pattern}$`).test(printed === '' || printed.endsWith('\n') ? printed : `${printed}\n`);
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

export interface Ran extends Step {
  readonly printed: string;
  /** Each of its commands succeeded. */
  readonly passed: boolean;
}

/**
 * Runs all of it in a shell of the namespace, until a block fails.
 * @param environment beside the shell's own
 */
export async function runSteps(
  steps: readonly Step[],
  namespace: string,
  environment: Readonly<Record<string, string>>,
): Promise<readonly Ran[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sidestep-tutorial-'));
  const file = (i: number, what: string): string => join(folder, `${i}.${what}`);
  try {
    const script = join(folder, 'script');
    const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${JSON.stringify(value)}\n`);
    writeFileSync(script, `set -euo pipefail\ncd ${JSON.stringify(ROOT)}\n${exports.join('')}`);
    for (const [i, { commands }] of steps.entries()) {
      writeFileSync(file(i, 'sh'), commands);
      // What stays in the background must not hold the file of what is in front.
      appendFileSync(script, `{ . ${file(i, 'sh')}; } >${file(i, 'out')} 2>&1\ntouch ${file(i, 'passed')}\n`);
    }
    await run('nsenter', inside(namespace, ['bash', script]), { tolerate: true, timeoutMs: 120_000 });
    return steps.map((step, i) => ({
      ...step,
      printed: textOf(file(i, 'out')),
      passed: existsSync(file(i, 'passed')),
    }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
