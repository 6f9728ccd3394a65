/**
 * Is this a valid X.509-SVID of our trust domain, now? Every certificate that a peer or a source shows passes here: the rules
 * of RFC 5280 §6.1 and of SPIFFE X509-SVID §4 and §5, each with its own error code. No I/O, no clock, no state.
 */
import type { KeyObject } from 'node:crypto';
import { SidestepError } from '../model/error.ts';
import type { ErrorCode } from '../model/error-codes.ts';
import {
  type CertificateFacts,
  KEY_USAGE,
  type PresentedChain,
  PURPOSE,
  readCertificate,
  readChain,
} from './certificate.ts';
import { splitSpiffeId } from './spiffe-id.ts';
import type { TrustBundle } from './svid.ts';

const CURVES = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
const LEAST_RSA_BITS = 2048;
/** ECDSA and RSA (PKCS #1 1.5) with SHA-256, -384, -512; Ed25519. */
const SIGNATURES = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
]);

export interface VerifiedSvid {
  readonly spiffeId: string;
  /** Milliseconds since the epoch: the earliest of the path, its authority included. */
  readonly notAfter: number;
  /** Of the leaf, as X509Certificate.serialNumber has it. */
  readonly serial: string;
  /** Of the leaf: what a proof of possession is verified with. */
  readonly publicKey: KeyObject;
}

/**
 * @param presented the leaf first, each next one the issuer of the one before; the authority itself may follow or not
 * @param now milliseconds since the epoch; no skew is allowed for, issuers date back
 * @throws SVID_MALFORMED, SVID_ID_INVALID, SVID_OTHER_TRUST_DOMAIN, SVID_CA_AS_LEAF, SVID_USAGE_INVALID,
 *   SVID_AUTHORITY_UNKNOWN, SVID_SIGNATURE_INVALID, SVID_CHAIN_INVALID, SVID_KEY_WEAK, SVID_EXPIRED, SVID_NOT_YET_VALID
 */
export function verifySvid(presented: PresentedChain, bundle: TrustBundle, now: number): VerifiedSvid {
  const chain = readChain(presented).map(readCertificate);
  const leaf = chain[0] as CertificateFacts;
  const spiffeId = checkLeaf(leaf, bundle.trustDomain);
  const [, ...issuers] = findPath(chain, bundle);
  for (const [below, issuer] of issuers.entries()) checkIssuer(issuer, below, bundle.trustDomain);
  const path = [leaf, ...issuers];
  for (const [index, certificate] of path.entries()) {
    checkStrength(certificate, nameIn(path, index));
    checkTime(certificate, nameIn(path, index), now);
  }
  return {
    spiffeId,
    notAfter: Math.min(...path.map(({ notAfter }) => notAfter)),
    serial: leaf.x509.serialNumber,
    publicKey: leaf.publicKey,
  };
}

/** X509-SVID §2 (one URI), §4.1 and §4.3 (no CA), §4.4 (key usages). @returns its SPIFFE ID */
function checkLeaf({ uris, isCa, keyUsage, extendedKeyUsage, unhandled }: CertificateFacts, ours: string): string {
  const [uri = '', ...more] = uris;
  const id = splitSpiffeId(uri);
  if (more.length > 0) throw refused('SVID_ID_INVALID', `the certificate has ${uris.length} URIs`);
  if (id === undefined)
    throw refused('SVID_ID_INVALID', `the certificate has no SPIFFE ID${uri && ` but ${shown(uri)}`}`);
  if (id.trustDomain !== ours) throw refused('SVID_OTHER_TRUST_DOMAIN', `${uri} is not of the trust domain ${ours}`);
  if (isCa || has(keyUsage, KEY_USAGE.keyCertSign) || has(keyUsage, KEY_USAGE.cRLSign))
    throw refused('SVID_CA_AS_LEAF', `the certificate of ${uri} may sign certificates`);
  // §2: only an authority's ID may stand for the whole trust domain.
  if (id.path.length === 0) throw refused('SVID_ID_INVALID', `${uri} names a trust domain and nobody in it`);
  if (!has(keyUsage, KEY_USAGE.digitalSignature))
    throw refused('SVID_USAGE_INVALID', `the key of ${uri} is not for signatures`);
  if (!authenticates(extendedKeyUsage))
    throw refused('SVID_USAGE_INVALID', `the certificate of ${uri} is not for servers and clients`);
  if (unhandled !== undefined)
    throw refused('SVID_MALFORMED', `the certificate of ${uri} has the critical extension ${unhandled}`);
  return uri;
}

/** @returns leaf, intermediates, authority: names and signatures fit; nothing else of the issuers is looked at yet */
function findPath(chain: readonly CertificateFacts[], bundle: TrustBundle): readonly CertificateFacts[] {
  let forged = false;
  for (const [index, certificate] of chain.entries()) {
    const namesakes = bundle.authorities.filter((authority) => certificate.x509.checkIssued(authority));
    const authority = namesakes.map(readCertificate).find(({ publicKey }) => certificate.x509.verify(publicKey));
    if (authority !== undefined) return [...chain.slice(0, index + 1), authority];
    forged ||= namesakes.length > 0;
    const next = chain[index + 1];
    if (next === undefined) break;
    // Here, because for OpenSSL whoever may not sign has not issued either.
    if (!mayIssue(next)) throw refused('SVID_CHAIN_INVALID', `${nameIn(chain, index + 1)} is not a CA`);
    if (!certificate.x509.checkIssued(next.x509)) break;
    if (!certificate.x509.verify(next.publicKey))
      throw refused('SVID_SIGNATURE_INVALID', `${nameIn(chain, index)} is not signed by the one behind it`);
  }
  const [leaf] = chain;
  const who = `the certificate of ${leaf?.uris[0]}`;
  throw forged
    ? refused('SVID_SIGNATURE_INVALID', `${who} names an authority of ${bundle.trustDomain} that has not signed it`)
    : refused('SVID_AUTHORITY_UNKNOWN', `${who} leads to none of the ${bundle.authorities.length} known authorities`);
}

/** RFC 5280 §6.1.4 (k)–(o), X509-SVID §3.2. @param below how many issuers stand between this one and the leaf */
function checkIssuer(issuer: CertificateFacts, below: number, ours: string): void {
  const problem = problemOfIssuer(issuer, below, ours);
  if (problem !== undefined) throw refused('SVID_CHAIN_INVALID', `issuer ${below + 1} ${problem}`);
}

function problemOfIssuer(issuer: CertificateFacts, below: number, ours: string): string | undefined {
  if (!mayIssue(issuer)) return 'is not a CA';
  if (issuer.pathLength !== undefined && below > issuer.pathLength)
    return `allows ${issuer.pathLength} CAs below it, there are ${below}`;
  if (!authenticates(issuer.extendedKeyUsage)) return 'issues certificates for other purposes';
  if (issuer.unhandled !== undefined) return `has the extension ${issuer.unhandled}, which is not supported`;
  const foreign = issuer.uris.find((uri) => splitSpiffeId(uri)?.trustDomain !== ours);
  return foreign && `is ${shown(foreign)}, not of the trust domain ${ours}`;
}

function mayIssue({ isCa, keyUsage }: CertificateFacts): boolean {
  return isCa && has(keyUsage, KEY_USAGE.keyCertSign);
}

/** X509-SVID §4.4: where extended usages are named, these two are. */
function authenticates(extendedKeyUsage: readonly string[] | undefined): boolean {
  if (extendedKeyUsage === undefined || extendedKeyUsage.includes(PURPOSE.any)) return true;
  return extendedKeyUsage.includes(PURPOSE.clientAuth) && extendedKeyUsage.includes(PURPOSE.serverAuth);
}

function checkStrength({ publicKey, signatureAlgorithm }: CertificateFacts, name: string): void {
  if (!isStrong(publicKey)) throw refused('SVID_KEY_WEAK', `the key of ${name} is too weak or of another kind`);
  if (!SIGNATURES.has(signatureAlgorithm))
    throw refused('SVID_KEY_WEAK', `${name} is signed with ${signatureAlgorithm}, which is not taken`);
}

/** ECDSA on NIST's curves, Ed25519, RSA of 2048 bits or more. */
export function isStrong({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  if (asymmetricKeyType === 'ec') return CURVES.has(asymmetricKeyDetails?.namedCurve ?? '');
  if (asymmetricKeyType === 'rsa') return (asymmetricKeyDetails?.modulusLength ?? 0) >= LEAST_RSA_BITS;
  return asymmetricKeyType === 'ed25519';
}

function checkTime({ notBefore, notAfter }: CertificateFacts, name: string, now: number): void {
  if (now < notBefore)
    throw refused('SVID_NOT_YET_VALID', `${name} is valid from ${new Date(notBefore).toISOString()}`);
  if (now > notAfter) throw refused('SVID_EXPIRED', `${name} was valid until ${new Date(notAfter).toISOString()}`);
}

function has(usage: number | undefined, bit: number): boolean {
  return usage !== undefined && (usage & bit) !== 0;
}

function nameIn(path: readonly CertificateFacts[], index: number): string {
  const leaf = `the certificate of ${path[0]?.uris[0]}`;
  return index === 0 ? leaf : `issuer ${index} of ${leaf}`;
}

/** A peer's words in ours: printable and short. */
function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function refused(code: ErrorCode, message: string): SidestepError {
  return new SidestepError(code, message);
}
