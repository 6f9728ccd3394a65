/** Compiles the load programs when they are first needed. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../control-plane/demo/process.ts';
import { ROOT } from '../lib/tools.ts';

/** @returns path of the compiled program */
export async function program(name: 'load' | 'http-load' = 'load'): Promise<string> {
  const source = join(ROOT, 'test/bench', `${name}.c`);
  const sources = [source, join(ROOT, 'test/bench/load.h')];
  const binary = join(ROOT, 'build/bench', name);
  if (existsSync(binary) && sources.every((each) => statSync(binary).mtimeMs > statSync(each).mtimeMs)) return binary;
  mkdirSync(join(ROOT, 'build/bench'), { recursive: true });
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', binary, source]);
  return binary;
}
