/** Takes away everything a demo made. Each step stands alone: one that fails or has nothing to do hinders no other. */
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { pinsOf } from '../datapath/pins.ts';
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
  const node = record.namespaces[0];
  if (node !== undefined && listNamespaces().includes(node)) {
    const uninstall = [...command, 'uninstall', '--instance', record.instance];
    await run('nsenter', inside(node, uninstall), { tolerate: true, timeoutMs: 10_000 });
  }
  for (const namespace of record.namespaces) await deleteNamespace(namespace);
  const pins = pinsOf(BPFFS, record.instance).root;
  rmSync(pins, { recursive: true, force: true });
  rmSync(`${SOCKETS}/${record.instance}`, { recursive: true, force: true });
  removeIfEmpty(dirname(pins));
  removeIfEmpty(SOCKETS);
  if (!record.before.bpffs && bpffsMounted() && isUnused(BPFFS)) await run('umount', [BPFFS], { tolerate: true });
  if (!record.before.netnsFolder && folderExists()) await removeEmptyFolder();
  rmSync(record.folder, { recursive: true, force: true });
  removeIfEmpty(DEMO_FOLDER);
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
  return leftovers.map((record) => record.instance);
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
