/** Many bytes from one host to another. */
import { join } from 'node:path';
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT } from './tools.ts';
import type { Host } from './topology.ts';
import type { Family } from './traffic.ts';

const TOOL = join(ROOT, 'test/tools/bulk.py');

export async function sink(host: Host, port: number): Promise<Child> {
  const child = Child.start('nsenter', inside(host.namespace, ['python3', TOOL, 'sink', String(port)]));
  await child.waitForLine((line) => line === 'listening');
  return child;
}

/** @returns bytes that arrived; 0 when it failed */
export async function sendBulk(
  from: Host,
  to: Host,
  family: Family,
  port: number,
  marker: string,
  bytes: number,
): Promise<number> {
  const command = ['python3', TOOL, 'send', to[family], String(port), marker, String(bytes)];
  const { stdout } = await run('nsenter', inside(from.namespace, command), { timeoutMs: 40_000, tolerate: true });
  return Number(stdout.trim() || 0);
}
