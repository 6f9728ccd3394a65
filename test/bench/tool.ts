/** Compiles the load generator when it is first needed. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../control-plane/demo/process.ts';
import { ROOT } from '../lib/tools.ts';

/** @returns path of the compiled program */
export async function program(): Promise<string> {
  const source = join(ROOT, 'test/bench/load.c');
  const binary = join(ROOT, 'build/bench/load');
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary;
  mkdirSync(join(ROOT, 'build/bench'), { recursive: true });
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', binary, source]);
  return binary;
}
