/** For tests: authorities and certificates, good ones and any other kind. */
import { generateKeyPairSync, type KeyObject, type X509Certificate } from 'node:crypto';
import type { Extension } from '@peculiar/asn1-x509';
import { type Issuer, issueCertificate, issueLeaf, issueRoot, type KeyPair, nameOf } from './embedded/issue.ts';
import type { Svid, TrustBundle } from './svid.ts';

/** A moment at which certificates of this file are valid, unless they are made not to be. Whole seconds. */
export const NOW = Date.UTC(2026, 5, 1);
export const HOUR = 3_600_000;
export const TRUST_DOMAIN = 'cluster.local';

export function newKeys(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

export interface TestAuthority extends Issuer {
  readonly publicKey: KeyObject;
  readonly bundle: TrustBundle;
}

export function newAuthority(trustDomain = TRUST_DOMAIN, from = NOW - HOUR, to = NOW + 1000 * HOUR): TestAuthority {
  const keys = newKeys();
  const certificate = issueRoot(trustDomain, keys, { notBefore: from, notAfter: to });
  return { ...keys, certificate, bundle: { trustDomain, authorities: [certificate] } };
}

export interface CertificateOptions {
  readonly keys?: KeyPair;
  readonly from?: number;
  readonly to?: number;
}

/** As a source would hold it: what the embedded authority issues. */
export function newSvid(spiffeId: string, issuer: Issuer, options: CertificateOptions = {}): Svid {
  const { keys = newKeys(), from = NOW - 60_000, to = NOW + HOUR } = options;
  const leaf = issueLeaf(spiffeId, keys.publicKey, { notBefore: from, notAfter: to }, issuer);
  return { spiffeId, chain: [leaf], privateKey: keys.privateKey, notAfter: to, serial: leaf.serialNumber };
}

/** Of any kind. */
export function newCertificate(
  extensions: readonly Extension[],
  issuer: { readonly certificate?: X509Certificate; readonly privateKey: KeyObject },
  publicKey: KeyObject,
  { from = NOW - 60_000, to = NOW + HOUR }: CertificateOptions = {},
): X509Certificate {
  const subject = nameOf([['2.5.4.3', 'a test']]);
  return issueCertificate({ subject, publicKey, lifetime: { notBefore: from, notAfter: to }, extensions, issuer });
}
