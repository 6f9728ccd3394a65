/** Network namespaces by name, owned by a process: `<prefix>-<pid>-<name>`, so that a later run can sweep what a dead one left. */
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { run } from './process.ts';

const FOLDER = '/run/netns';

/** Arguments that run a program inside a namespace. Only the network changes: /sys/fs/bpf stays visible, unlike with `ip netns exec`. */
export function inside(namespace: string, command: readonly string[]): readonly string[] {
  return [`--net=${pathOf(namespace)}`, '--', ...command];
}

export function pathOf(namespace: string): string {
  return `${FOLDER}/${namespace}`;
}

export function listNamespaces(): readonly string[] {
  return existsSync(FOLDER) ? readdirSync(FOLDER).sort() : [];
}

/** Whether /run/netns exists already; see `removeEmptyFolder`. */
export function folderExists(): boolean {
  return existsSync(FOLDER);
}

/**
 * Makes a namespace with loopback up and no duplicate address detection, which would keep IPv6 addresses unusable for a second.
 * @throws TOOL_FAILED
 */
export async function createNamespace(namespace: string): Promise<void> {
  await run('ip', ['netns', 'add', namespace]);
  await setSysctls(namespace, { 'net/ipv6/conf/default/accept_dad': 0, 'net/ipv6/conf/all/accept_dad': 0 });
  await ipBatch(namespace, ['link set lo up']);
}

/** Runs `ip` commands inside a namespace, one a line, stopping at the first that fails. @throws TOOL_FAILED */
export async function ipBatch(namespace: string, commands: readonly string[]): Promise<void> {
  await run('ip', ['-n', namespace, '-batch', '-'], { input: `${commands.join('\n')}\n` });
}

/** Sets values under /proc/sys of a namespace. @throws TOOL_FAILED */
export async function setSysctls(namespace: string, values: Readonly<Record<string, number | string>>): Promise<void> {
  const script = Object.entries(values).map(([name, value]) => `echo '${value}' > '/proc/sys/${name}'`);
  await run('nsenter', inside(namespace, ['sh', '-ec', script.join('\n')]));
}

/** Ends every process inside the namespace and removes it; without effect when it is not there. */
export async function deleteNamespace(namespace: string): Promise<void> {
  if (!existsSync(pathOf(namespace))) return;
  await killInside(namespace);
  await run('ip', ['netns', 'del', namespace], { tolerate: true });
}

async function killInside(namespace: string): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'pids', namespace], { tolerate: true });
  for (const pid of stdout.split('\n').filter((line) => line !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It ended by itself in the meantime.
    }
  }
}

/** Namespaces of this prefix whose owner no longer runs. */
export function orphans(prefix: string): readonly string[] {
  return listNamespaces().filter((namespace) => {
    const pid = ownerOf(prefix, namespace);
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  });
}

/** The process id in a namespace's name, or undefined when it is not one of this prefix. */
export function ownerOf(prefix: string, namespace: string): number | undefined {
  const [head, pid, ...rest] = namespace.split('-');
  return head === prefix && rest.length > 0 && pid !== undefined && /^[0-9]+$/.test(pid) ? Number(pid) : undefined;
}

/** Takes away /run/netns, which the first `ip netns add` makes and mounts; refuses by itself while anything is in it. */
export async function removeEmptyFolder(): Promise<void> {
  if (listNamespaces().length > 0) return;
  const { code } = await run('umount', [FOLDER], { tolerate: true });
  if (code !== 0) return;
  try {
    rmdirSync(FOLDER);
  } catch {
    // Someone else has just made a namespace.
  }
}
