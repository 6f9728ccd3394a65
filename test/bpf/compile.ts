/** Compiles a program that only tests use. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../control-plane/demo/process.ts';
import { ROOT } from '../lib/tools.ts';

const BUILD = join(ROOT, 'build/test-tools');

/** @returns the object file of `<name>.bpf.c` */
export async function compileProgram(name: string, folder: string = import.meta.dirname): Promise<Buffer> {
  mkdirSync(BUILD, { recursive: true });
  // Under a name of its own: another test process may be at the same point.
  const output = join(BUILD, `${name}-${process.pid}.bpf.o`);
  // The kernel's headers want the architecture's own, which Debian keeps apart.
  const { stdout } = await run('gcc', ['-print-multiarch']);
  const includes = ['-I', `/usr/include/${stdout.trim()}`, '-I', join(ROOT, 'bpf/include')];
  const source = join(folder, `${name}.bpf.c`);
  await run('clang-19', ['-O2', '-g', '-Wall', '-Werror', '-target', 'bpf', ...includes, '-c', source, '-o', output]);
  const object = readFileSync(output);
  rmSync(output);
  return object;
}
