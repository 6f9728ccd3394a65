/**
 * One folder in the layout of a Kubernetes secret: tls.crt, tls.key, ca.crt, as kubelet, cert-manager or a person puts them
 * there. What does it hold, and has it changed since?
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { SidestepError } from '../../model/error.ts';
import { OTHERS, readSecretFile } from '../secret-file.ts';

export interface FolderContent {
  /** PEM. */
  readonly chain: string;
  readonly privateKey: KeyObject;
  /** PEM; undefined: not asked for. */
  readonly authorities: string | undefined;
}

/**
 * @returns undefined when there is no such folder; its group may read the key, as kubelet has it for a pod's fsGroup
 * @throws SVID_FILES_INCOMPLETE, SVID_KEY_EXPOSED, SVID_MALFORMED
 */
export function readFolder(folder: string, withAuthorities: boolean): FolderContent | undefined {
  if (!isThere(folder)) return undefined;
  const read = (name: string, forbidden = 0): string => {
    try {
      return readSecretFile(join(folder, name), forbidden);
    } catch (cause) {
      if (cause instanceof SidestepError) throw cause;
      throw new SidestepError('SVID_FILES_INCOMPLETE', `${join(folder, name)}: ${(cause as Error).message}`, {
        cause,
        path: join(folder, name),
      });
    }
  };
  const key = read('tls.key', OTHERS);
  return {
    chain: read('tls.crt'),
    privateKey: parseKey(key, join(folder, 'tls.key')),
    authorities: withAuthorities ? read('ca.crt') : undefined,
  };
}

/** Tells one content from another without reading it. */
export function markOf(folder: string): string {
  const marks = ['tls.key', 'tls.crt', 'ca.crt'].map((name) => {
    const stats = statSync(join(folder, name), { bigint: true, throwIfNoEntry: false });
    return stats && `${stats.dev} ${stats.ino} ${stats.size} ${stats.mtimeNs} ${stats.ctimeNs}`;
  });
  return marks.join('\n');
}

function isThere(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new SidestepError('SVID_MALFORMED', `${path} is not a private key in PEM`, { cause, path });
  }
}
