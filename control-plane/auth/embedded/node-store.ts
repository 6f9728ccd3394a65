/**
 * What lets a node go on after a restart without a new join token: its key and chain in one file (never one without the
 * other), and the trust bundle as the authority had it last.
 */
import { createHash, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { parseChain } from '../certificate.ts';
import { ownSvid } from '../own-svid.ts';
import { GROUP_AND_OTHERS, makeSecretFolder, readSecretFile, writeSecretFile } from '../secret-file.ts';
import type { Svid, TrustBundle } from '../svid.ts';

const StoredBundle = z.object({ version: z.literal(1), given: z.string(), pem: z.string() });

export class NodeStore {
  readonly #svidPath: string;
  readonly #bundlePath: string;

  /** @param stateDir `svid/` in it is ours. @throws STATE_UNUSABLE */
  constructor(stateDir: string) {
    const folder = join(stateDir, 'svid');
    makeSecretFolder(folder);
    this.#svidPath = join(folder, 'node.pem');
    this.#bundlePath = join(folder, 'bundle.json');
  }

  /**
   * @returns undefined when there is none
   * @throws SVID_KEY_EXPOSED, and what ownSvid throws, for one that cannot be used
   */
  readSvid(expected: string, bundle: TrustBundle, now: number): Svid | undefined {
    const pem = readIfThere(() => readSecretFile(this.#svidPath, GROUP_AND_OTHERS));
    if (pem === undefined) return undefined;
    return ownSvid({ chain: pem, privateKey: createPrivateKey(pem) }, expected, bundle, now);
  }

  /** @throws STATE_UNUSABLE */
  writeSvid({ chain, privateKey }: Svid): void {
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    writeSecretFile(this.#svidPath, key + chain.join(''));
  }

  /**
   * The authority may have changed its key since the agent was given its bundle, so what it said last counts; but a bundle
   * that the agent is given anew counts more.
   * @param given PEM
   * @throws SVID_MALFORMED
   */
  readBundle(given: string): TrustBundle['authorities'] {
    const text = readIfThere(() => readFileSync(this.#bundlePath, 'utf8'));
    const stored = text === undefined ? undefined : parsed(text);
    return parseChain(stored?.given === digest(given) ? stored.pem : given);
  }

  /** @throws STATE_UNUSABLE */
  writeBundle(given: string, authorities: TrustBundle['authorities']): void {
    const stored = { version: 1, given: digest(given), pem: authorities.join('') };
    writeSecretFile(this.#bundlePath, JSON.stringify(stored));
  }
}

function parsed(text: string): z.infer<typeof StoredBundle> | undefined {
  try {
    return z.parse(StoredBundle, JSON.parse(text));
  } catch {
    // The one that was given is as good, until the authority changes its key.
    return undefined;
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function readIfThere(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
