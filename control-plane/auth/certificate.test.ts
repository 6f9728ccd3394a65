/** What is read of a certificate, held against a library that reads all of ASN.1. */
import { X509Certificate } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  GeneralName,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  KeyUsage,
  SubjectAlternativeName,
} from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidestepError } from '../model/error.ts';
import { type CertificateFacts, readCertificate } from './certificate.ts';
import { inside, readBits, readBoolean, readDer, readInteger, readOid, single } from './der.ts';
import { extension, uriName } from './embedded/issue.ts';
import { newAuthority, newCertificate, newKeys, newSvid } from './samples.ts';

type Read = Omit<CertificateFacts, 'x509' | 'publicKey'>;

function byLibrary({ raw }: X509Certificate): Read {
  const { tbsCertificate: tbs, signatureAlgorithm } = AsnConvert.parse(raw, Certificate);
  const extensions: readonly Extension[] = tbs.extensions ?? [];
  const value = <T>(id: string, type: new () => T): T | undefined => {
    const found = extensions.find(({ extnID }) => extnID === id);
    return found && AsnConvert.parse(found.extnValue.buffer, type);
  };
  const basic = value(id_ce_basicConstraints, BasicConstraints);
  const purposes = value(id_ce_extKeyUsage, ExtendedKeyUsage);
  const read: readonly string[] = [id_ce_basicConstraints, id_ce_extKeyUsage, id_ce_keyUsage, id_ce_subjectAltName];
  return {
    notBefore: tbs.validity.notBefore.getTime().getTime(),
    notAfter: tbs.validity.notAfter.getTime().getTime(),
    isCa: basic?.cA === true,
    pathLength: basic?.pathLenConstraint,
    keyUsage: value(id_ce_keyUsage, KeyUsage)?.toNumber(),
    extendedKeyUsage: purposes && [...purposes],
    uris: [...(value(id_ce_subjectAltName, SubjectAlternativeName) ?? [])].flatMap(
      ({ uniformResourceIdentifier: uri }) => (uri === undefined ? [] : [uri]),
    ),
    unhandled: extensions.find(
      ({ extnID, critical }) => extnID === id_ce_nameConstraints || (critical && !read.includes(extnID)),
    )?.extnID,
    signatureAlgorithm: signatureAlgorithm.algorithm,
  };
}

/** @returns undefined for one that is refused */
function byUs(certificate: X509Certificate): Read | undefined {
  try {
    const { x509: _, publicKey: __, ...facts } = readCertificate(certificate);
    return facts;
  } catch (error) {
    if (error instanceof SidestepError) return undefined;
    throw error;
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

const issuer = newAuthority();
const { publicKey } = newKeys();
const oid = fc.constantFrom(
  '2.5.29.37.0',
  '1.3.6.1.5.5.7.3.1',
  '1.3.6.1.4.1.311.10.3.4',
  '2.999.1',
  '0.9.2342.1',
  '1.2.840.113549',
);
const arbitrary: fc.Arbitrary<readonly Extension[]> = fc
  .record(
    {
      basic: fc
        .record({ cA: fc.boolean(), pathLenConstraint: fc.nat(127) }, { requiredKeys: ['cA'] })
        .map((value) => extension(id_ce_basicConstraints, new BasicConstraints(value), true)),
      usage: fc.integer({ min: 1, max: 511 }).map((bits) => extension(id_ce_keyUsage, new KeyUsage(bits), true)),
      purposes: fc
        .array(oid, { minLength: 1, maxLength: 4 })
        .map((ids) => extension(id_ce_extKeyUsage, new ExtendedKeyUsage(ids))),
      names: fc.array(fc.webUrl(), { minLength: 1, maxLength: 3 }).map((uris) => {
        const names = uriName(...uris);
        names.push(new GeneralName({ dNSName: 'web.shop.svc' }));
        return extension(id_ce_subjectAltName, names);
      }),
      other: fc.boolean().map((critical) => extension('1.3.6.1.4.1.99999.1', new BasicConstraints({}), critical)),
    },
    { requiredKeys: [] },
  )
  .map((record) => Object.values(record));

describe('a certificate', () => {
  it('says to us what it says to the library', () => {
    fc.assert(
      fc.property(arbitrary, (extensions) => {
        const certificate = newCertificate(extensions, issuer, publicKey);
        expect(byUs(certificate)).toEqual(byLibrary(certificate));
      }),
      { seed: 5, numRuns: 100 },
    );
  });

  it.each([0, 1])('is of version 3, not of the one with number %s', (version) => {
    const parsed = AsnConvert.parse(issuer.certificate.raw, Certificate);
    parsed.tbsCertificate.version = version;
    expect(byUs(new X509Certificate(Buffer.from(AsnConvert.serialize(parsed))))).toBeUndefined();
  });

  it.each([
    ['true behind the length', '30060201050101ff'],
    ['more than two parts', '30090101ff020105020106'],
    ['two values', '30000500'],
    ['no sequence', '0101ff'],
  ])('has no basic constraints with %s', (_, content) => {
    const value = new OctetString(Buffer.from(content, 'hex'));
    const odd = new Extension({ extnID: id_ce_basicConstraints, critical: true, extnValue: value });
    expect(byUs(newCertificate([odd], issuer, publicKey))).toBeUndefined();
  });

  it('is refused, or says the same to both, when a byte of it is another', () => {
    const { raw } = newSvid('spiffe://cluster.local/ns/shop/sa/web', issuer).chain[0] as X509Certificate;
    let agreed = 0;
    fc.assert(
      fc.property(fc.nat(raw.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(raw);
        bytes[at] = (bytes[at] ?? 0) ^ change;
        const certificate = attempt(() => new X509Certificate(bytes));
        if (certificate === undefined) return;
        const ours = byUs(certificate);
        const theirs = attempt(() => byLibrary(certificate));
        // It also reads names of issuers and subjects, in which it takes less than OpenSSL does.
        if (ours === undefined || theirs === undefined) return;
        // Node's dates are read by OpenSSL, which takes other digits than the library does.
        const { notBefore: _, notAfter: __, ...facts } = ours;
        expect(theirs).toMatchObject(facts);
        agreed++;
      }),
      { seed: 5, numRuns: 500 },
    );
    expect(agreed).toBeGreaterThan(50);
  });
});

describe('DER', () => {
  const hex = (text: string): Buffer => Buffer.from(text, 'hex');
  const refused = (read: () => unknown): void => {
    expect(read).toThrow(expect.objectContaining({ code: 'SVID_MALFORMED' }));
  };

  it('is read in its one form', () => {
    expect(readDer(hex('0201050101ff')).map(({ tag }) => tag)).toEqual([2, 1]);
    expect(single(Buffer.concat([hex('048180'), Buffer.alloc(128)])).content).toHaveLength(128);
    expect(single(Buffer.concat([hex('04820100'), Buffer.alloc(256)])).content).toHaveLength(256);
    expect(readBits(single(hex('03020186')))).toBe(0b110_0001);
    expect(readBits(single(hex('030100')))).toBe(0);
    expect(readOid(single(hex('06032a8648')))).toBe('1.2.840');
    expect(readOid(single(hex('0603883703')))).toBe('2.999.3');
  });

  it.each([
    ['a tag of several bytes', () => readDer(hex('1f0100'))],
    ['a length that is cut off', () => readDer(hex('30'))],
    ['a value that is cut off', () => readDer(hex('300201'))],
    ['no length', () => readDer(hex('30800000'))],
    ['a length of three bytes', () => readDer(hex('3083000001ff'))],
    ['a short length in a long form', () => readDer(hex('30810100'))],
    ['a length with a zero in front', () => readDer(Buffer.concat([hex('048200ff'), Buffer.alloc(255)]))],
    ['two values where one belongs', () => single(hex('05000500'))],
    ['another tag', () => inside(single(hex('0500')), 0x30)],
    ['a boolean of 1', () => readBoolean(single(hex('010101')))],
    ['a boolean of two bytes', () => readBoolean(single(hex('0102ffff')))],
    ['a negative integer', () => readInteger(single(hex('0201ff')))],
    ['an integer of two bytes', () => readInteger(single(hex('02020100')))],
    ['an integer of none', () => readInteger(single(hex('0200')))],
    ['bits without a count', () => readBits(single(hex('0300')))],
    ['eight unused bits', () => readBits(single(hex('03020880')))],
    ['unused bits of nothing', () => readBits(single(hex('030101')))],
    ['an identifier that is cut off', () => readOid(single(hex('06022a86')))],
    ['an empty identifier', () => readOid(single(hex('0600')))],
    ['an identifier with a needless zero', () => readOid(single(hex('06032a8001')))],
    ['an identifier with a huge number', () => readOid(single(hex(`060b2a${'ff'.repeat(9)}7f`)))],
  ])('is refused: %s', (_, read) => refused(read));

  it('is refused with a code, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          for (const value of readDer(bytes))
            for (const read of [readBits, readBoolean, readInteger, readOid]) read(value);
        } catch (error) {
          expect(error).toMatchObject({ code: 'SVID_MALFORMED' });
        }
      }),
      { seed: 5, numRuns: 1000 },
    );
  });
});
