/** A control group for a process that outlives the agent: what ends the agent's group does not end it, and programs can be attached there. */
import { appendFileSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SidestepError } from '../model/error.ts';

interface Mount {
  readonly path: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** /proc/mounts writes blanks and backslashes as octal numbers. */
function plain(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function parseMounts(text: string): Mount[] {
  return text
    .split('\n')
    .map((line) => line.split(' '))
    .map(([, path = '', type = '', options = '']) => ({ path: plain(path), type, options: options.split(',') }));
}

export interface ProcessCgroup {
  /** In the cgroup2 hierarchy, which may be the only one or stand beside older ones (hybrid). */
  readonly path: string;
  /** In systemd's own hierarchy where that is an older one: by it systemd ends what belongs to the agent's unit. */
  readonly systemd: string | undefined;
}

/**
 * @param name of the process, e.g. `envoy`
 * @param mounts content of /proc/mounts
 * @throws KERNEL_FEATURE_MISSING
 */
export function processCgroup(
  instance: string,
  name: string,
  mounts: string = readFileSync('/proc/mounts', 'utf8'),
): ProcessCgroup {
  const all = parseMounts(mounts);
  const unified = all.find(({ type }) => type === 'cgroup2');
  if (unified === undefined)
    throw new SidestepError('KERNEL_FEATURE_MISSING', 'no cgroup2 file system is mounted', {
      hint: 'Mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified',
    });
  const named = all.find(({ type, options }) => type === 'cgroup' && options.includes('name=systemd'));
  const own = join(`sidestep-${instance}`, name);
  return { path: join(unified.path, own), systemd: named && join(named.path, own) };
}

/** undefined: no cgroup2 file system is mounted, so that there is none of ours either. */
export function cgroupIfAny(instance: string, name: string): ProcessCgroup | undefined {
  try {
    return processCgroup(instance, name);
  } catch (error) {
    if (error instanceof SidestepError && error.code === 'KERNEL_FEATURE_MISSING') return undefined;
    throw error;
  }
}

/** Before anything is attached to it or started in it. */
export function createCgroup({ path, systemd }: ProcessCgroup): void {
  mkdirSync(path, { recursive: true });
  if (systemd === undefined) return;
  try {
    mkdirSync(systemd, { recursive: true });
  } catch {
    // Mounted read-only: then there is no systemd here that would mind.
  }
}

/** What cannot be joined before the start. */
export function joinSystemd({ systemd }: ProcessCgroup, pid: number): void {
  if (systemd === undefined) return;
  try {
    appendFileSync(join(systemd, 'cgroup.procs'), String(pid));
  } catch {
    // As above; or it ended already, which the watch will notice.
  }
}

/** Empty ones only. */
export function removeCgroup({ path, systemd }: ProcessCgroup): void {
  for (const folder of [path, systemd].filter((each) => each !== undefined))
    for (const each of [folder, dirname(folder)])
      try {
        rmdirSync(each);
      } catch {
        // Not there, or in use by something of ours that is still to go.
      }
}
