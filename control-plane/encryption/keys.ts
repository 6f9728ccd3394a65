/** This node's tunnel key: X25519 (RFC 7748), in a file of its own that nobody else may read, as `wg genkey` writes it. */
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { SidestepError } from '../model/error.ts';

export const KEY_BYTES = 32;
const BASE64 = /^[A-Za-z0-9+/]{43}=$/;
const OTHERS = 0o077;
const OTHERS_MAY_WRITE = 0o022;
const MOST_FILE_BYTES = 1024;
/** Before the raw key: PKCS #8 of X25519 (RFC 8410 §7). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export interface TunnelKeys {
  /** 32 bytes, clamped (RFC 7748 §5). */
  readonly privateKey: Uint8Array;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Made then: milliseconds since the epoch. */
  readonly since: number;
}

/** WireGuard keeps keys in this form, so that two can be compared. */
function clamp(key: Uint8Array): Uint8Array {
  const clamped = Uint8Array.from(key);
  clamped[0] = (clamped[0] ?? 0) & 248;
  clamped[31] = ((clamped[31] ?? 0) & 127) | 64;
  return clamped;
}

export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, privateKey]), format: 'der', type: 'pkcs8' });
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES);
}

/** As everybody writes WireGuard's keys. */
export function keyText(key: Uint8Array): string {
  return Buffer.from(key).toString('base64');
}

/**
 * Reads `<folder>/private.key`, or makes it where there is none.
 * @throws TUNNEL_KEY_UNSAFE when others could have read or replaced it, or it is not a key: it is never replaced silently,
 *   because every other node knows this one by it. STATE_UNUSABLE when it cannot be written
 */
export function loadKeys(folder: string): TunnelKeys {
  const path = keyFile(folder);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new SidestepError('STATE_UNUSABLE', `${folder} cannot be made`, { cause, path: folder });
  }
  if ((statSync(folder).mode & OTHERS_MAY_WRITE) !== 0) throw unsafe(folder, 'others may write into it');
  // Not over one that another process has made meanwhile.
  const privateKey = read(path) ?? write(path, newKeys().privateKey, (unfinished) => linkSync(unfinished, path));
  return { privateKey, publicKey: publicKeyOf(privateKey), since: statSync(path).mtimeMs };
}

/** On no disk yet. */
export function newKeys(): TunnelKeys {
  const privateKey = clamp(randomBytes(KEY_BYTES));
  return { privateKey, publicKey: publicKeyOf(privateKey), since: Date.now() };
}

/** In place of those of before, which are gone then. @throws STATE_UNUSABLE when the old ones are still there */
export function replaceKeys(folder: string, { privateKey }: TunnelKeys): void {
  const path = keyFile(folder);
  write(path, privateKey, (unfinished) => renameSync(unfinished, path));
}

function keyFile(folder: string): string {
  return join(folder, 'private.key');
}

function unsafe(path: string, why: string): SidestepError {
  return new SidestepError('TUNNEL_KEY_UNSAFE', `${path}: ${why}`, { path });
}

/** @returns undefined when there is no file */
function read(path: string): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === 'ELOOP') throw unsafe(path, 'it is a link');
    throw new SidestepError('STATE_UNUSABLE', `${path} cannot be read`, { cause, path });
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unsafe(path, 'it is not a file');
    if (stat.uid !== process.getuid?.()) throw unsafe(path, `it belongs to user ${stat.uid}`);
    if ((stat.mode & OTHERS) !== 0) throw unsafe(path, `its mode is ${(stat.mode & 0o777).toString(8)}, not 600`);
    if (stat.size > MOST_FILE_BYTES) throw unsafe(path, 'it holds no key');
    return parse(path, readFileSync(fd, 'utf8').trim());
  } finally {
    closeSync(fd);
  }
}

function parse(path: string, text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (!BASE64.test(text) || bytes.length !== KEY_BYTES || bytes.every((each) => each === 0))
    throw unsafe(path, 'it holds no key');
  return clamp(bytes);
}

/** Whole or not at all: a half-written key would be no key for ever. */
function write(path: string, key: Uint8Array, place: (unfinished: string) => void): Uint8Array {
  const unfinished = join(dirname(path), `.private.key.${process.pid}`);
  try {
    rmSync(unfinished, { force: true });
    const fd = openSync(unfinished, 'wx', 0o600);
    try {
      writeFileSync(fd, `${keyText(key)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    place(unfinished);
    return key;
  } catch (cause) {
    throw new SidestepError('STATE_UNUSABLE', `${path} cannot be written`, { cause, path });
  } finally {
    rmSync(unfinished, { force: true });
  }
}
