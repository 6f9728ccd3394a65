/** Signing requests (PKCS #10, RFC 2986): a public key, and the proof that whoever sends it has the private one. */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier, Name, SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import { SidestepError } from '../../model/error.ts';
import type { KeyPair } from './issue.ts';

const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
/** One with a key on P-256 and no attributes has some 200. */
export const MAX_REQUEST_BYTES = 4096;

/** DER, without a name: names are the authority's. The key is on P-256. */
export function makeRequest({ publicKey, privateKey }: KeyPair): Buffer {
  const certificationRequestInfo = new CertificationRequestInfo({
    version: 0,
    subject: new Name(),
    subjectPKInfo: AsnConvert.parse(publicKey.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo),
  });
  const signature = sign('sha256', new Uint8Array(AsnConvert.serialize(certificationRequestInfo)), privateKey);
  const request = new CertificationRequest({
    certificationRequestInfo,
    signatureAlgorithm: new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 }),
    signature: new Uint8Array(signature).buffer,
  });
  return Buffer.from(AsnConvert.serialize(request));
}

/**
 * @returns the key that it asks for; whatever else it asks for is not read
 * @throws CA_REQUEST_INVALID, CA_REQUEST_FORGED
 */
export function readRequest(bytes: Uint8Array): KeyObject {
  if (bytes.length > MAX_REQUEST_BYTES) throw invalid(`it has ${bytes.length} bytes`);
  const { key, signed, algorithm, signature } = parse(bytes);
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw invalid('its key is not on P-256');
  if (algorithm !== ECDSA_WITH_SHA256) throw invalid(`it is signed with ${algorithm}`);
  if (!verify('sha256', signed, key, signature))
    throw new SidestepError('CA_REQUEST_FORGED', 'the signature of the request is not of the key in it');
  return key;
}

function parse(bytes: Uint8Array) {
  try {
    const request = AsnConvert.parse(bytes, CertificationRequest);
    // DER has one form; what has another is read as something, and nobody knows as what elsewhere.
    if (!Buffer.from(AsnConvert.serialize(request)).equals(bytes)) throw new Error('it is not DER');
    const info = request.certificationRequestInfo;
    return {
      key: createPublicKey({
        key: Buffer.from(AsnConvert.serialize(info.subjectPKInfo)),
        type: 'spki',
        format: 'der',
      }),
      signed: new Uint8Array(request.certificationRequestInfoRaw ?? AsnConvert.serialize(info)),
      algorithm: request.signatureAlgorithm.algorithm,
      signature: new Uint8Array(request.signature),
    };
  } catch (cause) {
    throw invalid('it is not PKCS #10 in DER', cause);
  }
}

function invalid(what: string, cause?: unknown): SidestepError {
  return new SidestepError('CA_REQUEST_INVALID', `the signing request is refused: ${what}`, { cause });
}
