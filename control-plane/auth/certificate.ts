/** What does a certificate say? Node's own reader, and DER for what that one leaves out (RFC 5280 §4.1, §4.2). */
import { type KeyObject, X509Certificate } from 'node:crypto';
import { SidestepError } from '../model/error.ts';
import {
  contentOf,
  type Der,
  inside,
  readBits,
  readBoolean,
  readDer,
  readInteger,
  readOid,
  single,
  TAG,
} from './der.ts';

/** Ours have one or two; SPIRE under an upstream authority has three. */
const MAX_CERTIFICATES = 8;
const V3 = 2;
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Extensions that are read here; a critical one of any other kind is `unhandled`. */
const EXTENSION = {
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  extendedKeyUsage: '2.5.29.37',
} as const;
const READ: ReadonlySet<string> = new Set([
  EXTENSION.keyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.basicConstraints,
  EXTENSION.extendedKeyUsage,
]);

/** Bits of keyUsage (RFC 5280 §4.2.1.3) that a rule here asks for. */
export const KEY_USAGE = { digitalSignature: 1 << 0, keyCertSign: 1 << 5, cRLSign: 1 << 6 } as const;
/** Extended key usages (RFC 5280 §4.2.1.12). */
export const PURPOSE = {
  any: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

export interface CertificateFacts {
  readonly x509: X509Certificate;
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch, both included. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly isCa: boolean;
  /** How many CAs may stand between this one and a leaf. */
  readonly pathLength: number | undefined;
  /** Of KEY_USAGE and others; undefined: the certificate does not say. */
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
  const parts = typeof encoded === 'string' ? (encoded.match(PEM) ?? []) : readDer(encoded).map(({ raw }) => raw);
  try {
    return parts.map((part) => new X509Certificate(part));
  } catch (cause) {
    throw malformed('it is not X.509', cause);
  }
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
  const [tbs, signatureAlgorithm] = inside(single(x509.raw), TAG.sequence);
  const [version, , signature, ...rest] = inside(tbs, TAG.sequence);
  if (version?.tag !== TAG.explicit0 || readInteger(single(version.content)) !== V3)
    throw malformed('it is not of version 3');
  // RFC 5280 §4.1.1.2: the algorithm stands twice, and the signed one counts.
  if (!isSame(signature, signatureAlgorithm)) throw malformed('it names two signature algorithms');
  const extensions = readExtensions(rest.at(-1));
  const value = (id: string): Der | undefined => extensions.get(id)?.value;
  const [isCa, pathLength] = readBasicConstraints(value(EXTENSION.basicConstraints));
  const keyUsage = value(EXTENSION.keyUsage);
  const purposes = value(EXTENSION.extendedKeyUsage);
  const names = value(EXTENSION.subjectAltName);
  return {
    x509,
    publicKey: keyOf(x509),
    notBefore: x509.validFromDate.getTime(),
    notAfter: x509.validToDate.getTime(),
    isCa,
    pathLength,
    keyUsage: keyUsage && readBits(keyUsage),
    extendedKeyUsage: purposes && inside(purposes, TAG.sequence).map(readOid),
    uris: names === undefined ? [] : inside(names, TAG.sequence).filter(isUri).map(textOf),
    // Constraints on names bind even where somebody forgot to call them critical.
    unhandled: [...extensions].find(
      ([id, { critical }]) => id === EXTENSION.nameConstraints || (critical && !READ.has(id)),
    )?.[0],
    signatureAlgorithm: readOid(inside(signature, TAG.sequence)[0]),
  };
}

interface Extension {
  readonly critical: boolean;
  readonly value: Der | undefined;
}

/** @param last of the fields: the extensions, or what stands last without any */
function readExtensions(last: Der | undefined): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  if (last?.tag !== TAG.explicit3) return extensions;
  for (const each of inside(single(last.content), TAG.sequence)) {
    const [id, second, third] = inside(each, TAG.sequence);
    const critical = second?.tag === TAG.boolean && readBoolean(second);
    const value = contentOf(second?.tag === TAG.boolean ? third : second, TAG.octetString);
    const name = readOid(id);
    if (extensions.has(name)) throw malformed('an extension stands twice');
    // Others may hold anything.
    extensions.set(name, { critical, value: READ.has(name) ? single(value) : undefined });
  }
  return extensions;
}

/** Both parts may be left out: the first is then false, the second without limit. */
function readBasicConstraints(value: Der | undefined): readonly [boolean, number | undefined] {
  if (value === undefined) return [false, undefined];
  const [first, second, ...more] = inside(value, TAG.sequence);
  const saysCa = first?.tag === TAG.boolean;
  const length = saysCa ? second : first;
  if (more.length > 0 || (!saysCa && second !== undefined)) throw malformed('its basic constraints are none');
  return [saysCa && readBoolean(first), length && readInteger(length)];
}

function isUri({ tag }: Der): boolean {
  return tag === TAG.implicit6;
}

function textOf({ content }: Der): string {
  return Buffer.from(content).toString('latin1');
}

function isSame(a: Der | undefined, b: Der | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.compare(a.raw, b.raw) === 0;
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
