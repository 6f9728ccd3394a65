/**
 * Settings of the node's network namespace that steering needs, set while it is on and put back by uninstall only:
 * connections that are open then still need them. What was there before is kept in the state folder.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SidestepError } from '../model/error.ts';

const ROOT = '/proc/sys';

interface Setting {
  /** Below /proc/sys. */
  readonly path: string;
  /** What it must be, given what it is. */
  readonly wanted: (current: string) => string;
}

const SETTINGS: readonly Setting[] = [
  // Early demux finds Envoy's transparent sockets for packets addressed to a pod, and forwarding drops packets with a socket.
  { path: 'net/ipv4/tcp_early_demux', wanted: () => '0' },
  // A mark on a packet must not become the mark of the connection: answers would be steered, too.
  { path: 'net/ipv4/tcp_fwmark_accept', wanted: () => '0' },
  // What is steered arrives at lo with addresses that may be this node's own.
  { path: 'net/ipv4/conf/lo/accept_local', wanted: () => '1' },
  // The larger of `all` and the device counts; strict (1) would drop every steered packet.
  { path: 'net/ipv4/conf/lo/rp_filter', wanted: () => '2' },
  // Envoy's own range of source ports must lie inside the namespace's, or the kernel ignores it without a word.
  { path: 'net/ipv4/ip_local_port_range', wanted: (current) => `${current.split(/\s+/)[0] ?? '32768'}\t65535` },
];

/** Makes every setting what steering needs. @returns paths that had to be written. @throws KERNEL_CALL_FAILED */
export function assertSysctls(recordFile: string): string[] {
  const wrong = SETTINGS.map(({ path, wanted }) => ({ path, current: read(path), value: wanted(read(path)) })).filter(
    ({ current, value }) => current !== value,
  );
  if (wrong.length === 0) return [];
  remember(
    recordFile,
    wrong.map(({ path, current }) => [path, current] as const),
  );
  for (const { path, value } of wrong) write(path, value);
  return wrong.map(({ path }) => path);
}

/** Puts back what was there before. @returns how many settings */
export function restoreSysctls(recordFile: string): number {
  const before = [...recorded(recordFile)];
  for (const [path, value] of before) write(path, value);
  rmSync(recordFile, { force: true });
  return before.length;
}

function recorded(file: string): Map<string, string> {
  if (!existsSync(file)) return new Map();
  return new Map(Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>));
}

/** The first value that we found is the one to put back, however often something else changes it. */
function remember(file: string, found: readonly (readonly [string, string])[]): void {
  const all = recorded(file);
  for (const [path, value] of found) if (!all.has(path)) all.set(path, value);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(Object.fromEntries(all)));
  renameSync(`${file}.new`, file);
}

function read(path: string): string {
  try {
    return readFileSync(join(ROOT, path), 'utf8').trim();
  } catch (cause) {
    throw new SidestepError('KERNEL_CALL_FAILED', `${join(ROOT, path)} cannot be read`, { cause });
  }
}

function write(path: string, value: string): void {
  try {
    writeFileSync(join(ROOT, path), value);
  } catch (cause) {
    throw new SidestepError('KERNEL_CALL_FAILED', `${join(ROOT, path)} cannot be set to ${value}`, { cause });
  }
}
