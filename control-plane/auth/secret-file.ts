/** Files that hold private keys: written in one step and only for us, and not read when others can read them. */
import {
  chmodSync,
  closeSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { SidestepError } from '../model/error.ts';

/** Permission bits: of everybody; of everybody and the group. */
export const OTHERS = 0o007;
export const GROUP_AND_OTHERS = 0o077;
/** A key and a chain have some kilobytes. */
const MAX_BYTES = 1 << 20;

/** Mode 0700, made or made so. @throws STATE_UNUSABLE */
export function makeSecretFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
  } catch (cause) {
    throw unusable(path, 'cannot be made', cause);
  }
}

/** Mode 0600, on disk when it returns; a crash leaves the old file or the new one. @throws STATE_UNUSABLE */
export function writeSecretFile(path: string, text: string): void {
  try {
    const temporary = `${path}.new`;
    const file = openSync(temporary, 'w', 0o600);
    try {
      // Left by a crash it may have another mode.
      fchmodSync(file, 0o600);
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (cause) {
    throw unusable(path, 'cannot be written', cause);
  }
}

/** A rename is on disk when its folder is. */
function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/**
 * @param forbidden permission bits that the file must not have
 * @throws SVID_KEY_EXPOSED when it has one, and what the file system throws
 */
export function readSecretFile(path: string, forbidden: number): string {
  const file = openSync(path, 'r');
  try {
    // Of the very file that is read, not of its name.
    const { mode, size } = fstatSync(file);
    if ((mode & forbidden) !== 0)
      throw new SidestepError('SVID_KEY_EXPOSED', `${path} has mode ${(mode & 0o777).toString(8).padStart(4, '0')}`, {
        path,
      });
    if (size > MAX_BYTES) throw new Error(`${path} has ${size} bytes`);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function unusable(path: string, what: string, cause: unknown): SidestepError {
  const why = cause instanceof Error ? cause.message : cause;
  return new SidestepError('STATE_UNUSABLE', `${path} ${what}: ${why}`, { cause, path });
}
