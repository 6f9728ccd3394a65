import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { CertificationRequest } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import { newKeys } from '../samples.ts';
import { makeRequest, readRequest } from './request.ts';

const keys = newKeys();
const request = makeRequest(keys);

function codeOf(bytes: Uint8Array): string {
  try {
    readRequest(bytes);
    return 'taken';
  } catch (error) {
    if (error instanceof SidestepError) return error.code;
    throw error;
  }
}

/** The request with another key in the place of its own. */
function withKey(key: KeyObject): Uint8Array {
  const parsed = AsnConvert.parse(request, CertificationRequest);
  const der = key.export({ type: 'spki', format: 'der' });
  parsed.certificationRequestInfo.subjectPKInfo = AsnConvert.parse(der, SubjectPublicKeyInfo);
  return new Uint8Array(AsnConvert.serialize(parsed));
}

describe('a signing request', () => {
  it('brings its key', () => {
    expect(readRequest(request).equals(keys.publicKey)).toBe(true);
  });

  it('is refused when it is signed with another key', () => {
    expect(codeOf(withKey(newKeys().publicKey))).toBe('CA_REQUEST_FORGED');
    expect(codeOf(makeRequest({ publicKey: keys.publicKey, privateKey: newKeys().privateKey }))).toBe(
      'CA_REQUEST_FORGED',
    );
  });

  it.each([
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['Ed25519', generateKeyPairSync('ed25519')],
  ])('is refused with a key of another kind: %s', (_, { publicKey }) => {
    expect(codeOf(withKey(publicKey))).toBe('CA_REQUEST_INVALID');
  });

  it('is refused when it is too long, or something else', () => {
    expect(codeOf(Buffer.concat([request, Buffer.alloc(4096)]))).toBe('CA_REQUEST_INVALID');
    expect(codeOf(new Uint8Array())).toBe('CA_REQUEST_INVALID');
    expect(codeOf(request.subarray(0, -1))).toBe('CA_REQUEST_INVALID');
  });

  it('never passes with a bit turned', () => {
    fc.assert(
      fc.property(fc.nat(request.length * 8 - 1), (bit) => {
        const bytes = Buffer.from(request);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(['CA_REQUEST_INVALID', 'CA_REQUEST_FORGED']).toContain(codeOf(bytes));
      }),
      { seed: 5, numRuns: 400 },
    );
  });
});
