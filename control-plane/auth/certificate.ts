/** What does a certificate say? Node's own reader, and ASN.1 for what that one leaves out (RFC 5280 §4.2). */
import { type KeyObject, X509Certificate } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  type Extension,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  KeyUsage,
  SubjectAlternativeName,
} from '@peculiar/asn1-x509';
import { SidestepError } from '../model/error.ts';

/** Ours have one or two; SPIRE under an upstream authority has three. */
const MAX_CERTIFICATES = 8;
const MAX_BYTES = 64 << 10;
const V3 = 2;
const READ = new Set([id_ce_basicConstraints, id_ce_extKeyUsage, id_ce_keyUsage, id_ce_subjectAltName]);
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

export interface CertificateFacts {
  readonly x509: X509Certificate;
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch, both included. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly isCa: boolean;
  /** How many CAs may stand between this one and a leaf. */
  readonly pathLength: number | undefined;
  /** Bits of KeyUsageFlags; undefined: the certificate does not say. */
  readonly keyUsage: number | undefined;
  /** Object identifiers; undefined: any. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** The URIs among the subject's alternative names. */
  readonly uris: readonly string[];
  /** Object identifier of an extension that we would have to obey and do not understand. */
  readonly unhandled: string | undefined;
  /** Object identifier. */
  readonly signatureAlgorithm: string;
}

/** PEM, DER one behind the other as SPIFFE's Workload API has it, or what is parsed already. */
export type PresentedChain = string | Uint8Array | readonly X509Certificate[];

/** @returns at least one. @throws SVID_MALFORMED */
export function readChain(presented: PresentedChain): readonly X509Certificate[] {
  const chain = typeof presented === 'string' || presented instanceof Uint8Array ? parseChain(presented) : presented;
  if (chain.length === 0) throw malformed('there is no certificate');
  if (chain.length > MAX_CERTIFICATES) throw malformed(`there are ${chain.length} certificates`);
  return chain;
}

/** Certificates of authorities: any number, none too. @throws SVID_MALFORMED */
export function parseChain(encoded: string | Uint8Array): readonly X509Certificate[] {
  const parts = typeof encoded === 'string' ? (encoded.match(PEM) ?? []) : splitDer(encoded);
  try {
    return parts.map((part) => new X509Certificate(part));
  } catch (cause) {
    throw malformed('it is not X.509', cause);
  }
}

/** Each certificate is a SEQUENCE with its length in front (X.690 §8.1.3; DER: always the definite form). */
function splitDer(bytes: Uint8Array): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at + 1] ?? 0;
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    // A certificate of 64 KiB or more is none.
    if (bytes[at] !== 0x30 || first === 0x80 || lengthBytes > 2) throw malformed('it is not DER');
    let length = lengthBytes === 0 ? first : 0;
    for (let i = 0; i < lengthBytes; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
    const end = at + 2 + lengthBytes + length;
    if (end > bytes.length) throw malformed('it is cut off');
    parts.push(bytes.subarray(at, end));
    at = end;
  }
  return parts;
}

/** What was read of a certificate that is still held: reading takes longer than checking a signature, and it never changes. */
const known = new WeakMap<X509Certificate, CertificateFacts>();

/** @throws SVID_MALFORMED, SVID_KEY_WEAK for a key of a kind that Node does not know */
export function readCertificate(x509: X509Certificate): CertificateFacts {
  const facts = known.get(x509) ?? read(x509);
  known.set(x509, facts);
  return facts;
}

function read(x509: X509Certificate): CertificateFacts {
  if (x509.raw.length > MAX_BYTES) throw malformed(`it has ${x509.raw.length} bytes`);
  const { tbsCertificate: tbs, signatureAlgorithm } = parse(x509.raw, Certificate);
  if (tbs.version !== V3) throw malformed('it is not of version 3');
  // RFC 5280 §4.1.1.2: the algorithm stands twice, and the signed one counts.
  if (tbs.signature.algorithm !== signatureAlgorithm.algorithm) throw malformed('it names two signature algorithms');
  const extensions: readonly Extension[] = tbs.extensions ?? [];
  const byId = new Map(extensions.map((extension) => [extension.extnID, extension]));
  if (byId.size < extensions.length) throw malformed('an extension stands twice');
  const value = <T>(id: string, type: new () => T): T | undefined => {
    const extension = byId.get(id);
    return extension && parse(extension.extnValue.buffer, type);
  };
  const basic = value(id_ce_basicConstraints, BasicConstraints);
  return {
    x509,
    publicKey: keyOf(x509),
    notBefore: x509.validFromDate.getTime(),
    notAfter: x509.validToDate.getTime(),
    isCa: basic?.cA === true,
    pathLength: basic?.pathLenConstraint,
    keyUsage: value(id_ce_keyUsage, KeyUsage)?.toNumber(),
    extendedKeyUsage: value(id_ce_extKeyUsage, ExtendedKeyUsage),
    uris: (value(id_ce_subjectAltName, SubjectAlternativeName) ?? []).flatMap((name) =>
      name.uniformResourceIdentifier === undefined ? [] : [name.uniformResourceIdentifier],
    ),
    // Constraints on names bind even where somebody forgot to call them critical.
    unhandled: extensions.find(({ extnID, critical }) =>
      extnID === id_ce_nameConstraints ? true : critical && !READ.has(extnID),
    )?.extnID,
    signatureAlgorithm: signatureAlgorithm.algorithm,
  };
}

function parse<T>(bytes: Uint8Array | ArrayBuffer, type: new () => T): T {
  try {
    return AsnConvert.parse(bytes, type);
  } catch (cause) {
    throw malformed('its ASN.1 cannot be read', cause);
  }
}

function keyOf(x509: X509Certificate): KeyObject {
  try {
    return x509.publicKey;
  } catch (cause) {
    throw new SidestepError('SVID_KEY_WEAK', 'the key of the certificate is of a kind that is not known', { cause });
  }
}

function malformed(what: string, cause?: unknown): SidestepError {
  return new SidestepError('SVID_MALFORMED', `not a usable certificate: ${what}`, { cause });
}
