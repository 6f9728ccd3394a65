/** Ends the agent whose pid stands in its run folder, and waits until it is gone. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** After this long SIGTERM was not enough. */
const PATIENCE_MS = 5000;

export function pidFile(runDir: string): string {
  return join(runDir, 'agent.pid');
}

/** Whether `pid` is alive and was started as an agent: a number in an old file may by now be anybody's. */
function isAgent(pid: number): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words.includes('agent') && words.some((word) => word.includes('sidestep') || word.endsWith('main.ts'));
  } catch {
    return false;
  }
}

/** @returns the pid that was stopped, or undefined when none ran */
export async function stopAgent(runDir: string): Promise<number | undefined> {
  const file = pidFile(runDir);
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, 'utf8'));
  if (!Number.isInteger(pid) || pid <= 1 || !isAgent(pid)) return undefined;
  process.kill(pid, 'SIGTERM');
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; ) {
    if (!isAgent(pid)) return pid;
    await sleep(20);
  }
  if (isAgent(pid)) process.kill(pid, 'SIGKILL');
  return pid;
}
