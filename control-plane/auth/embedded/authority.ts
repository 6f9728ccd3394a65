/**
 * Holds the key that every certificate of the trust domain hangs on: `<serial>.key` and `<serial>.crt` in a folder of their own,
 * and `signing` with the serial of the one in use. The key never leaves this module. A change of the key takes three steps, with
 * time between them: stage (a new one is in everybody's bundle), promote (it signs, the old key is destroyed), retire (the old
 * one leaves the bundle, once what it signed has expired).
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SidestepError } from '../../model/error.ts';
import { readCertificate } from '../certificate.ts';
import { GROUP_AND_OTHERS, makeSecretFolder, readSecretFile, writeSecretFile } from '../secret-file.ts';
import type { TrustBundle } from '../svid.ts';
import { type Issuer, issueLeaf, issueRoot } from './issue.ts';

const ROOT_LIFETIME_MS = 3650 * 86_400_000;
/**
 * Certificates are dated back by this, or by a part of their life where that is less: the clocks of the nodes differ, and they
 * allow for no skew when they verify. Twice the five minutes that Kerberos lets clocks differ by (RFC 4120 §8.2).
 */
const BACKDATE_MS = 600_000;
/** Of a life: so that a short one is not half over when it begins. */
const MOST_BACKDATED = 1 / 6;
const CERTIFICATE = /^([0-9A-F]{1,40})\.crt$/;

interface Held {
  readonly certificate: X509Certificate;
  /** undefined: it has signed once and must not again. */
  readonly privateKey: KeyObject | undefined;
}

export class Authority {
  readonly trustDomain: string;
  readonly #folder: string;
  #held: readonly Held[];
  #signing: Issuer;

  private constructor(folder: string, trustDomain: string, held: readonly Held[], signing: Issuer) {
    this.#folder = folder;
    this.trustDomain = trustDomain;
    this.#held = held;
    this.#signing = signing;
  }

  /**
   * Makes a new authority where there is none.
   * @param folder 0700, for nothing else
   * @param now milliseconds since the epoch
   * @throws STATE_UNUSABLE, CA_STATE_UNUSABLE, SVID_KEY_EXPOSED
   */
  static open(folder: string, trustDomain: string, now: number): Authority {
    makeSecretFolder(folder);
    const held = readHeld(folder, trustDomain);
    const serial = readSigning(folder);
    if (held.length === 0 && serial === undefined) {
      const first = create(folder, trustDomain, now);
      setSigning(folder, first);
      return new Authority(folder, trustDomain, [first], first);
    }
    // Without the note there is no doubt only if one key is there: the first start was cut off.
    const withKey = held.filter(isIssuer);
    const signing =
      serial === undefined && withKey.length === 1
        ? withKey[0]
        : withKey.find(({ certificate }) => certificate.serialNumber === serial);
    if (signing === undefined)
      throw unusable(
        folder,
        serial === undefined ? 'the note which key signs is missing' : `there is no key ${serial}`,
      );
    if (serial === undefined) setSigning(folder, signing);
    return new Authority(folder, trustDomain, held, signing);
  }

  /** The one that signs first. */
  get bundle(): TrustBundle {
    const signing = this.#signing.certificate;
    const others = this.#held.map(({ certificate }) => certificate).filter((each) => !isSame(each, signing));
    return { trustDomain: this.trustDomain, authorities: [signing, ...others] };
  }

  /** @param now milliseconds since the epoch. @param ttlMs cut where the authority's own time ends */
  issue(spiffeId: string, publicKey: KeyObject, ttlMs: number, now: number): X509Certificate {
    const end = this.#signing.certificate.validToDate.getTime();
    const backdate = Math.min(BACKDATE_MS, ttlMs * MOST_BACKDATED);
    const lifetime = { notBefore: now - backdate, notAfter: Math.min(now + ttlMs, end) };
    return issueLeaf(spiffeId, publicKey, lifetime, this.#signing);
  }

  /** A new key: in the bundle from now on, not signing yet. */
  stage(now: number): void {
    this.#held = [...this.#held, create(this.#folder, this.trustDomain, now)];
  }

  /** The newest key signs from now on; the old one is destroyed. Everybody must have the bundle by now. */
  promote(): void {
    const next = this.#held
      .filter(isIssuer)
      .findLast(({ certificate }) => !isSame(certificate, this.#signing.certificate));
    if (next === undefined) throw unusable(this.#folder, 'no new key was staged');
    setSigning(this.#folder, next);
    this.#signing = next;
    this.#held = this.#held.map((each) => {
      if (isSame(each.certificate, next.certificate)) return each;
      rmSync(pathOf(this.#folder, each.certificate, 'key'), { force: true });
      return { certificate: each.certificate, privateKey: undefined };
    });
  }

  /** Takes out of the bundle what does not sign. Everything that it signed must have expired by now. */
  retire(): void {
    for (const { certificate } of this.#held) {
      if (isSame(certificate, this.#signing.certificate)) continue;
      rmSync(pathOf(this.#folder, certificate, 'key'), { force: true });
      rmSync(pathOf(this.#folder, certificate, 'crt'), { force: true });
    }
    this.#held = this.#held.filter(({ certificate }) => isSame(certificate, this.#signing.certificate));
  }
}

function create(folder: string, trustDomain: string, now: number): Issuer {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const lifetime = { notBefore: now - BACKDATE_MS, notAfter: now + ROOT_LIFETIME_MS };
  const certificate = issueRoot(trustDomain, keys, lifetime);
  // The key first: a certificate without one would look like one that has been replaced.
  const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  writeSecretFile(pathOf(folder, certificate, 'key'), key);
  writeSecretFile(pathOf(folder, certificate, 'crt'), certificate.toString());
  return { certificate, privateKey: keys.privateKey };
}

/** In order of age. */
function readHeld(folder: string, trustDomain: string): readonly Held[] {
  const serials = readdirSync(folder).flatMap((file) => CERTIFICATE.exec(file)?.[1] ?? []);
  const held = serials.map((serial): Held => {
    try {
      const certificate = new X509Certificate(readFileSync(join(folder, `${serial}.crt`)));
      const { isCa, uris } = readCertificate(certificate);
      if (certificate.serialNumber !== serial) throw new Error('its serial number is another');
      if (!isCa || uris[0] !== `spiffe://${trustDomain}`) throw new Error(`it is no authority of ${trustDomain}`);
      const privateKey = readKey(join(folder, `${serial}.key`));
      if (privateKey && !certificate.checkPrivateKey(privateKey)) throw new Error('its key is another');
      return { certificate, privateKey };
    } catch (cause) {
      if (cause instanceof SidestepError && cause.code === 'SVID_KEY_EXPOSED') throw cause;
      throw unusable(folder, `${serial}: ${(cause as Error).message}`, cause);
    }
  });
  return held.sort((a, b) => a.certificate.validFromDate.getTime() - b.certificate.validFromDate.getTime());
}

function readKey(path: string): KeyObject | undefined {
  try {
    return createPrivateKey(readSecretFile(path, GROUP_AND_OTHERS));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function readSigning(folder: string): string | undefined {
  try {
    return readFileSync(join(folder, 'signing'), 'utf8').trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(folder, (cause as Error).message, cause);
  }
}

function setSigning(folder: string, { certificate }: Issuer): void {
  writeSecretFile(join(folder, 'signing'), `${certificate.serialNumber}\n`);
}

function pathOf(folder: string, certificate: X509Certificate, suffix: 'crt' | 'key'): string {
  return join(folder, `${certificate.serialNumber}.${suffix}`);
}

function isIssuer(held: Held): held is Issuer {
  return held.privateKey !== undefined;
}

function isSame(a: X509Certificate, b: X509Certificate): boolean {
  return a.serialNumber === b.serialNumber;
}

function unusable(folder: string, what: string, cause?: unknown): SidestepError {
  return new SidestepError('CA_STATE_UNUSABLE', `${folder}: ${what}`, { cause, path: folder });
}
