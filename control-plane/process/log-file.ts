/** The log of another user's process, in a folder of that user: read and cut without following links that it might have laid. */
import { closeSync, constants, fchownSync, fstatSync, ftruncateSync, openSync, readSync, rmSync } from 'node:fs';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

function withFile<T>(path: string, flags: number, otherwise: T, action: (fd: number, size: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, flags | O_NOFOLLOW | O_NONBLOCK);
  } catch {
    return otherwise;
  }
  try {
    const stat = fstatSync(fd);
    return stat.isFile() ? action(fd, stat.size) : otherwise;
  } finally {
    closeSync(fd);
  }
}

export function lastLines(path: string, most: number, mostBytes = 8192): string[] {
  return withFile<string[]>(path, O_RDONLY, [], (fd, size) => {
    const buffer = Buffer.alloc(Math.min(size, mostBytes));
    const read = readSync(fd, buffer, 0, buffer.length, Math.max(0, size - mostBytes));
    const lines = buffer.toString('utf8', 0, read).split('\n');
    // The first may begin in its middle.
    if (size > mostBytes) lines.shift();
    return lines.filter((line) => line.trim() !== '').slice(-most);
  });
}

/** Writers append, so that they go on at the new end. */
export function cutWhenLarge(path: string, mostBytes: number): void {
  withFile(path, O_WRONLY, undefined, (fd, size) => {
    if (size > mostBytes) ftruncateSync(fd);
  });
}

/** An empty one, which that user may append to, by its name too. */
export function newLog(path: string, uid: number, gid: number): void {
  rmSync(path, { force: true });
  const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    fchownSync(fd, uid, gid);
  } finally {
    closeSync(fd);
  }
}
