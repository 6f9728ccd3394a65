/** For tests: an authority that issues what it is told to, right or wrong. */
import 'reflect-metadata';
import { KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { Svid, TrustBundle } from '../svid.ts';

export type KeyKind = 'P-256' | 'P-384' | 'Ed25519' | 'RSA';

const KEYS = {
  'P-256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'P-384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  Ed25519: { name: 'Ed25519' },
  RSA: { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' },
} as const;
const SIGNING = KEYS['P-256'];
const HOUR_MS = 3_600_000;

export interface IssueOptions {
  readonly key?: KeyKind;
  /** Milliseconds since the epoch. Default: an hour before and after. */
  readonly notBefore?: number;
  readonly notAfter?: number;
}

export class TestCa {
  readonly trustDomain: string;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #certificate: x509.X509Certificate;
  /** From this one up to the root, without it. */
  readonly #chain: readonly X509Certificate[];
  #serial = 0x10;

  private constructor(
    trustDomain: string,
    keys: webcrypto.CryptoKeyPair,
    certificate: x509.X509Certificate,
    chain: readonly X509Certificate[],
  ) {
    this.trustDomain = trustDomain;
    this.#keys = keys;
    this.#certificate = certificate;
    this.#chain = chain;
  }

  static async create(trustDomain = 'cluster.local', name = 'root'): Promise<TestCa> {
    const keys = await generate('P-256');
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '01',
      name: `CN=${name}`,
      ...during(Date.now() - HOUR_MS, Date.now() + 24 * HOUR_MS),
      keys,
      signingAlgorithm: SIGNING,
      extensions: authorityExtensions(),
    });
    return new TestCa(trustDomain, keys, certificate, []);
  }

  get bundle(): TrustBundle {
    return { trustDomain: this.trustDomain, authorities: [toNode(this.#certificate)] };
  }

  async intermediate(name: string): Promise<TestCa> {
    const keys = await generate('P-256');
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: this.#next(),
      subject: `CN=${name}`,
      issuer: this.#certificate.subject,
      ...during(Date.now() - HOUR_MS, Date.now() + 24 * HOUR_MS),
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: SIGNING,
      extensions: authorityExtensions(),
    });
    return new TestCa(this.trustDomain, keys, certificate, [toNode(certificate), ...this.#chain]);
  }

  async issue(spiffeId: string, options: IssueOptions = {}): Promise<Svid> {
    const { key = 'P-256', notBefore = Date.now() - HOUR_MS, notAfter = Date.now() + HOUR_MS } = options;
    const keys = await generate(key);
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: this.#next(),
      subject: '',
      issuer: this.#certificate.subject,
      ...during(notBefore, notAfter),
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: SIGNING,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: spiffeId }], true),
      ],
    });
    const leaf = toNode(certificate);
    return {
      spiffeId,
      chain: [leaf, ...this.#chain],
      privateKey: KeyObject.from(keys.privateKey),
      notAfter: leaf.validToDate.getTime(),
      serial: leaf.serialNumber,
    };
  }

  #next(): string {
    return (++this.#serial).toString(16).padStart(4, '0');
  }
}

async function generate(kind: KeyKind): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(KEYS[kind], true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

function authorityExtensions(): x509.Extension[] {
  return [
    new x509.BasicConstraintsExtension(true, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
  ];
}

function during(notBefore: number, notAfter: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(notBefore), notAfter: new Date(notAfter) };
}

function toNode(certificate: x509.X509Certificate): X509Certificate {
  return new X509Certificate(Buffer.from(certificate.rawData));
}
