/** The C programs under test/tools, compiled when they are first needed. */
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../control-plane/demo/process.ts';

export const ROOT = join(import.meta.dirname, '../..');

export type Tool = 'rawpacket' | 'udpstream' | 'ping' | 'pairs';

/** @returns path of the compiled program */
export async function tool(name: Tool): Promise<string> {
  const source = join(ROOT, 'test/tools', `${name}.c`);
  const binary = join(ROOT, 'build/test-tools', name);
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary;
  mkdirSync(join(ROOT, 'build/test-tools'), { recursive: true });
  // Under a name of its own first: another test process may be at the same point.
  const unfinished = `${binary}.${process.pid}`;
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', unfinished, source]);
  renameSync(unfinished, binary);
  return binary;
}

/** wireguard-go, as scripts/wireguard.sh puts it there. */
export function wireguardProgram(): string {
  return process.env['SIDESTEP_WIREGUARD'] ?? join(ROOT, 'build/wireguard-go');
}
