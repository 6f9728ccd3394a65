/** Takes away everything a demo made. Each step stands alone: one that fails or has nothing to do hinders no other. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { pinsOf } from '../datapath/pins.ts';
import { controlSocket, tunnelName } from '../encryption/names.ts';
import { cgroupIfAny, removeCgroup } from '../process/cgroup.ts';
import { deleteNamespace, folderExists, inside, listNamespaces, ownerOf, removeEmptyFolder } from './namespaces.ts';
import { run } from './process.ts';
import { DEMO_FOLDER, DEMO_PREFIX, type DemoRecord, isRunning, readRecords } from './record.ts';

export const BPFFS = '/sys/fs/bpf';
const SOCKETS = '/run/sidestep';

export function bpffsMounted(): boolean {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === BPFFS && line.split(' ')[2] === 'bpf');
}

/**
 * Removes one demo: first as a user would (`sidestep uninstall`), then by force whatever is still there.
 * @param command the sidestep program and its first arguments
 */
export async function cleanUp(record: DemoRecord, command: readonly string[]): Promise<void> {
  await Promise.all(record.instances.map((instance, i) => uninstall(instance, record.namespaces[i], command)));
  for (const namespace of record.namespaces) await deleteNamespace(namespace);
  for (const instance of record.instances) removeByForce(instance);
  removeIfEmpty(SOCKETS);
  if (!record.before.bpffs && bpffsMounted() && isUnused(BPFFS)) await run('umount', [BPFFS], { tolerate: true });
  if (!record.before.netnsFolder && folderExists()) await removeEmptyFolder();
  rmSync(record.folder, { recursive: true, force: true });
  removeIfEmpty(DEMO_FOLDER);
}

async function uninstall(instance: string, node: string | undefined, command: readonly string[]): Promise<void> {
  if (node === undefined || !listNamespaces().includes(node)) return;
  const args = [...command, 'uninstall', '--instance', instance];
  await run('nsenter', inside(node, args), { tolerate: true, timeoutMs: 10_000 });
}

/** What an instance has outside its namespaces, in which its processes were and with which they ended. */
export function removeByForce(instance: string): void {
  const pins = pinsOf(BPFFS, instance).root;
  rmSync(pins, { recursive: true, force: true });
  rmSync(`${SOCKETS}/${instance}`, { recursive: true, force: true });
  rmSync(controlSocket(tunnelName(instance)), { force: true });
  removeIfEmpty(dirname(pins));
  for (const cgroup of ['envoy', 'tunnel'].map((name) => cgroupIfAny(instance, name))) if (cgroup) removeCgroup(cgroup);
}

/**
 * Removes what demos that no longer run have left; kept ones only when asked.
 * @returns instances removed
 */
export async function sweep(command: readonly string[], options: { kept: boolean }): Promise<readonly string[]> {
  const leftovers = readRecords().filter((record) => !isRunning(record) && (options.kept || !record.kept));
  for (const record of leftovers) await cleanUp(record, command);
  const known = new Set(readRecords().map((record) => record.pid));
  const unknown = listNamespaces().filter((namespace) => {
    const pid = ownerOf(DEMO_PREFIX, namespace);
    return pid !== undefined && !known.has(pid) && !existsSync(`/proc/${pid}`);
  });
  for (const namespace of unknown) await deleteNamespace(namespace);
  return leftovers.flatMap((record) => record.instances.slice(0, 1));
}

/** Every bpf file system is born with the kernel's own maps.debug and progs.debug. */
function isUnused(bpffs: string): boolean {
  return readdirSync(bpffs).every((name) => name.endsWith('.debug'));
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not there, or another instance's things are in it.
  }
}
