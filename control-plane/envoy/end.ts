/** Ends the Envoy of an instance for good, with what it has outside its process. For uninstall; the agent is gone by then. */
import { setTimeout as sleep } from 'node:timers/promises';
import { processCgroup, removeCgroup } from '../process/cgroup.ts';
import { envoyPaths } from './paths.ts';
import { lookAt } from './process.ts';
import { RecordFile } from './record.ts';

const PATIENCE_MS = 3000;
const POLL_MS = 10;

/** @returns the pid that was ended, or undefined when none ran */
export async function endEnvoy(runDir: string, instance: string): Promise<number | undefined> {
  const record = new RecordFile(envoyPaths(runDir).record);
  const found = record.read()?.process;
  let ended: number | undefined;
  if (found !== undefined && lookAt(found) !== undefined) {
    process.kill(found.pid, 'SIGKILL');
    ended = found.pid;
    for (let waited = 0; lookAt(found) !== undefined && waited < PATIENCE_MS; waited += POLL_MS) await sleep(POLL_MS);
  }
  record.remove();
  try {
    removeCgroup(processCgroup(instance, 'envoy'));
  } catch {
    // No cgroup2 here: then there is none of ours either.
  }
  return ended;
}
