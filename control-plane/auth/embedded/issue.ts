/** Makes certificates: whatever stands in them is decided here and by who calls, nothing comes out of a request but its key. */
import { createHash, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
} from '@peculiar/asn1-x509';

const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME = '2.5.4.3';
const ORGANIZATION = '2.5.4.10';
const V3 = 2;

export interface Issuer {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

export interface Lifetime {
  /** Milliseconds since the epoch; seconds are what a certificate can say. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** X509-SVID §4: a leaf. */
export function issueLeaf(spiffeId: string, publicKey: KeyObject, lifetime: Lifetime, issuer: Issuer): X509Certificate {
  const subject = nameOf([[ORGANIZATION, 'Sidestep']]);
  return issueCertificate({ subject, publicKey, lifetime, extensions: leafExtensions(spiffeId), issuer });
}

/** X509-SVID §3.2, §4.1: an authority that signs leaves only, by itself. */
export function issueRoot(trustDomain: string, keys: KeyPair, lifetime: Lifetime): X509Certificate {
  const { publicKey, privateKey } = keys;
  // All authorities of a trust domain have one name; their key identifiers tell them apart.
  const subject = nameOf([
    [ORGANIZATION, 'Sidestep'],
    [COMMON_NAME, `Authority of ${trustDomain}`.slice(0, 64)],
  ]);
  const extensions = [
    extension(id_ce_basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 }), true),
    extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign), true),
    extension(id_ce_subjectAltName, uriName(`spiffe://${trustDomain}`)),
  ];
  return issueCertificate({ subject, publicKey, lifetime, extensions, issuer: { privateKey } });
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

function leafExtensions(spiffeId: string): readonly Extension[] {
  return [
    extension(id_ce_basicConstraints, new BasicConstraints({ cA: false }), true),
    extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature), true),
    extension(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_serverAuth, id_kp_clientAuth])),
    extension(id_ce_subjectAltName, uriName(spiffeId)),
  ];
}

export interface CertificateParts {
  readonly subject: Name;
  readonly publicKey: KeyObject;
  readonly lifetime: Lifetime;
  /** Without the identifiers of the keys, which are put behind them. */
  readonly extensions: readonly Extension[];
  /** Without a certificate: it signs itself. The key is on P-256. */
  readonly issuer: { readonly certificate?: X509Certificate; readonly privateKey: KeyObject };
}

export function issueCertificate(parts: CertificateParts): X509Certificate {
  const { subject, lifetime, extensions, issuer } = parts;
  const key = AsnConvert.parse(parts.publicKey.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo);
  const own = keyIdentifier(key);
  const above = issuer.certificate && AsnConvert.parse(issuer.certificate.raw, Certificate).tbsCertificate;
  const algorithm = new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 });
  const tbsCertificate = new TBSCertificate({
    version: V3,
    serialNumber: newSerial(),
    signature: algorithm,
    issuer: above?.subject ?? subject,
    validity: new Validity({ notBefore: new Date(lifetime.notBefore), notAfter: new Date(lifetime.notAfter) }),
    subject,
    subjectPublicKeyInfo: key,
    extensions: new Extensions([
      ...extensions,
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(own)),
      extension(
        id_ce_authorityKeyIdentifier,
        new AuthorityKeyIdentifier({
          keyIdentifier: new KeyIdentifier(above ? keyIdentifier(above.subjectPublicKeyInfo) : own),
        }),
      ),
    ]),
  });
  const signature = sign('sha256', new Uint8Array(AsnConvert.serialize(tbsCertificate)), issuer.privateKey);
  const certificate = new Certificate({
    tbsCertificate,
    signatureAlgorithm: algorithm,
    signatureValue: copy(signature),
  });
  return new X509Certificate(new Uint8Array(AsnConvert.serialize(certificate)));
}

export function extension(id: string, value: unknown, critical = false): Extension {
  return new Extension({ extnID: id, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

export function uriName(...uris: readonly string[]): SubjectAlternativeName {
  return new SubjectAlternativeName(uris.map((uri) => new GeneralName({ uniformResourceIdentifier: uri })));
}

export function nameOf(attributes: readonly (readonly [type: string, value: string])[]): Name {
  return new Name(
    attributes.map(
      ([type, utf8String]) =>
        new RelativeDistinguishedName([new AttributeTypeAndValue({ type, value: new AttributeValue({ utf8String }) })]),
    ),
  );
}

/** RFC 7093 §2 (1). */
function keyIdentifier({ subjectPublicKey }: SubjectPublicKeyInfo): ArrayBuffer {
  return copy(createHash('sha256').update(new Uint8Array(subjectPublicKey)).digest().subarray(0, 20));
}

/** RFC 5280 §4.1.2.2: positive, at most 20 bytes; here 126 random bits that never start with a zero byte. */
function newSerial(): ArrayBuffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return copy(bytes);
}

/** Small buffers of Node share memory with others. */
function copy(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
