import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  type Extension,
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  id_kp_clientAuth,
  id_kp_codeSigning,
  id_kp_serverAuth,
  KeyUsage,
  KeyUsageFlags,
  NameConstraints,
} from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidestepError } from '../model/error.ts';
import type { PresentedChain } from './certificate.ts';
import { extension, type Issuer, uriName } from './embedded/issue.ts';
import { type CertificateOptions, HOUR, NOW, newAuthority, newCertificate, newKeys, newSvid } from './samples.ts';
import type { TrustBundle } from './svid.ts';
import { verifySvid } from './verify.ts';

const ID = 'spiffe://cluster.local/ns/shop/sa/web';
const authority = newAuthority();
const svid = newSvid(ID, authority);
const certificate = svid.chain[0] as X509Certificate;

function codeOf(presented: PresentedChain, bundle: TrustBundle = authority.bundle, now = NOW): string {
  try {
    verifySvid(presented, bundle, now);
    return 'valid';
  } catch (error) {
    if (error instanceof SidestepError) return error.code;
    throw error;
  }
}

const basic = (cA: boolean, pathLength?: number): Extension =>
  extension(
    id_ce_basicConstraints,
    new BasicConstraints(pathLength === undefined ? { cA } : { cA, pathLenConstraint: pathLength }),
    true,
  );
const usage = (flags: number): Extension => extension(id_ce_keyUsage, new KeyUsage(flags), true);
const purposes = (...ids: string[]): Extension => extension(id_ce_extKeyUsage, new ExtendedKeyUsage(ids));
const uris = (...all: string[]): Extension => extension(id_ce_subjectAltName, uriName(...all));
const { digitalSignature, keyCertSign, cRLSign, keyEncipherment } = KeyUsageFlags;

type Different = Readonly<Record<string, Extension | undefined>>;
const merged = (good: Different, different: Different): Extension[] =>
  Object.values({ ...good, ...different }).filter((each) => each !== undefined);

/** A leaf that differs from a good one in what is given. */
function leaf(different: Different, issuer: Issuer = authority, publicKey = newKeys().publicKey): X509Certificate {
  return newCertificate(
    merged({ uris: uris(ID), usage: usage(digitalSignature), basic: basic(false) }, different),
    issuer,
    publicKey,
  );
}

/** A CA that differs from a good one in what is given; without an issuer it signs itself. */
function ca(
  different: Different,
  { issuer, keys = newKeys(), ...lifetime }: CertificateOptions & { issuer?: Issuer } = {},
): Issuer {
  const extensions = merged({ basic: basic(true), usage: usage(keyCertSign) }, different);
  return {
    certificate: newCertificate(extensions, issuer ?? keys, keys.publicKey, lifetime),
    privateKey: keys.privateKey,
  };
}

const trust = (...authorities: Issuer[]): TrustBundle => ({
  trustDomain: 'cluster.local',
  authorities: authorities.map(({ certificate }) => certificate),
});

describe('an SVID that is valid', () => {
  it('names its ID, serial, key and the earliest end of its path', () => {
    const verified = verifySvid(svid.chain, authority.bundle, NOW);
    expect(verified).toMatchObject({ spiffeId: ID, serial: svid.serial, notAfter: NOW + HOUR });
    expect(verified.publicKey.equals(certificate.publicKey)).toBe(true);
    const short = ca({}, { to: NOW + 60_000 });
    expect(verifySvid([leaf({}, short)], trust(short), NOW).notAfter).toBe(NOW + 60_000);
  });

  it('is read from PEM, from DER and from DER one behind the other', () => {
    const root = ca({});
    const middle = ca({}, { issuer: root });
    const chain = [leaf({}, middle), middle.certificate];
    expect(codeOf(chain.join('\n'), trust(root))).toBe('valid');
    expect(codeOf(Buffer.concat(chain.map(({ raw }) => raw)), trust(root))).toBe('valid');
    expect(codeOf(new Uint8Array(certificate.raw))).toBe('valid');
  });

  it('may bring its authority along, and lead to any of several, of which one has the same name', () => {
    const other = newAuthority();
    expect(codeOf([...svid.chain, authority.certificate])).toBe('valid');
    expect(codeOf(svid.chain, trust(other, authority))).toBe('valid');
  });

  it('has more alternative names of other kinds, and may be for any purpose', () => {
    const names = uriName(ID);
    names.push(new GeneralName({ dNSName: 'web.shop.svc' }));
    expect(codeOf([leaf({ uris: extension(id_ce_subjectAltName, names) })])).toBe('valid');
    expect(codeOf([leaf({ purposes: purposes('2.5.29.37.0') })])).toBe('valid');
    expect(codeOf([leaf({ usage: usage(digitalSignature | keyEncipherment) })])).toBe('valid');
  });

  it.each([
    ['RSA of 2048 bits', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['Ed25519', generateKeyPairSync('ed25519')],
  ])('has a key of another kind: %s', (_, { publicKey }) => {
    expect(codeOf([leaf({}, authority, publicKey)])).toBe('valid');
  });
});

describe('time', () => {
  const end = NOW + HOUR;
  it('is within both ends, which count', () => {
    expect(codeOf(svid.chain, authority.bundle, end)).toBe('valid');
    expect(codeOf(svid.chain, authority.bundle, end + 1)).toBe('SVID_EXPIRED');
    expect(codeOf(svid.chain, authority.bundle, NOW - 60_000)).toBe('valid');
    expect(codeOf(svid.chain, authority.bundle, NOW - 60_001)).toBe('SVID_NOT_YET_VALID');
  });

  it('counts for every issuer, too', () => {
    const root = ca({});
    const old = ca({}, { issuer: root, to: NOW - 1000 });
    expect(codeOf([leaf({}, old), old.certificate], trust(root))).toBe('SVID_EXPIRED');
    const past = ca({}, { to: NOW - 1000 });
    expect(codeOf([leaf({}, past)], trust(past))).toBe('SVID_EXPIRED');
    const future = ca({}, { from: NOW + 1000 });
    expect(codeOf([leaf({}, future)], trust(future))).toBe('SVID_NOT_YET_VALID');
  });
});

describe('identity', () => {
  it.each([
    ['no URI', undefined],
    ['two URIs', uris(ID, 'spiffe://cluster.local/ns/shop/sa/pay')],
    ['the same URI twice', uris(ID, ID)],
    ['another scheme', uris('https://cluster.local/ns/shop/sa/web')],
    ['no path', uris('spiffe://cluster.local')],
    ['an empty segment', uris('spiffe://cluster.local/ns//sa/web')],
    ['a trailing slash', uris(`${ID}/`)],
    ['dots', uris('spiffe://cluster.local/ns/shop/../sa/web')],
    ['an escape', uris('spiffe://cluster.local/ns/shop/sa/w%65b')],
    ['a query', uris(`${ID}?x`)],
    ['a port', uris('spiffe://cluster.local:443/ns/shop/sa/web')],
    ['a zero byte', uris(`${ID}\0.evil`)],
    ['more than 2048 bytes', uris(`spiffe://cluster.local/${'a'.repeat(2048)}`)],
  ])('is refused with %s', (_, names) => {
    expect(codeOf([leaf({ uris: names })])).toBe('SVID_ID_INVALID');
  });

  it('of another trust domain is refused, also when an authority of ours has signed it', () => {
    expect(codeOf([leaf({ uris: uris('spiffe://other.mesh/ns/shop/sa/web') })])).toBe('SVID_OTHER_TRUST_DOMAIN');
    expect(codeOf([leaf({ uris: uris('spiffe://CLUSTER.local/ns/shop/sa/web') })])).toBe('SVID_ID_INVALID');
  });
});

describe('what a leaf may not be', () => {
  it.each([
    ['a CA', { basic: basic(true) }],
    ['for signing certificates', { usage: usage(digitalSignature | keyCertSign) }],
    ['for signing revocation lists', { usage: usage(digitalSignature | cRLSign) }],
  ])('%s', (_, different) => {
    expect(codeOf([leaf(different)])).toBe('SVID_CA_AS_LEAF');
  });

  it('the authority itself', () => {
    const root = ca({ uris: uris(ID) });
    expect(codeOf([root.certificate], trust(root))).toBe('SVID_CA_AS_LEAF');
  });

  it.each([
    ['without key usage', { usage: undefined }],
    ['for other uses of its key', { usage: usage(keyEncipherment) }],
    ['for clients only', { purposes: purposes(id_kp_clientAuth) }],
    ['for servers only', { purposes: purposes(id_kp_serverAuth) }],
    ['for signing code', { purposes: purposes(id_kp_codeSigning) }],
  ])('%s', (_, different) => {
    expect(codeOf([leaf(different)])).toBe('SVID_USAGE_INVALID');
  });

  it('bound to rules that we do not know', () => {
    const rule = extension('1.3.6.1.4.1.99999.1', new BasicConstraints({}), true);
    expect(codeOf([leaf({ rule })])).toBe('SVID_MALFORMED');
    expect(codeOf([leaf({ rule: extension('1.3.6.1.4.1.99999.1', new BasicConstraints({})) })])).toBe('valid');
    expect(codeOf([leaf({ again: usage(digitalSignature) })])).toBe('SVID_MALFORMED');
  });

  it.each([
    ['RSA of 1024 bits', generateKeyPairSync('rsa', { modulusLength: 1024 })],
    ['P-224', generateKeyPairSync('ec', { namedCurve: 'secp224r1' })],
    ["Bitcoin's curve", generateKeyPairSync('ec', { namedCurve: 'secp256k1' })],
    ['X25519', generateKeyPairSync('x25519')],
  ])('with a key that is %s', (_, { publicKey }) => {
    expect(codeOf([leaf({}, authority, publicKey)])).toBe('SVID_KEY_WEAK');
  });

  it('signed with SHA-1, or saying so in one place only', () => {
    expect(codeOf([resigned(certificate, '1.2.840.10045.4.1', 'sha1')])).toBe('SVID_KEY_WEAK');
    const two = AsnConvert.parse(certificate.raw, Certificate);
    two.signatureAlgorithm.algorithm = '1.2.840.10045.4.3.3';
    expect(codeOf(new Uint8Array(AsnConvert.serialize(two)))).toBe('SVID_MALFORMED');
  });
});

function resigned({ raw }: X509Certificate, algorithm: string, hash: string): X509Certificate {
  const parsed = AsnConvert.parse(raw, Certificate);
  parsed.tbsCertificate.signature.algorithm = algorithm;
  parsed.signatureAlgorithm.algorithm = algorithm;
  const signature = sign(hash, Buffer.from(AsnConvert.serialize(parsed.tbsCertificate)), authority.privateKey);
  parsed.signatureValue = new Uint8Array(signature).buffer;
  return new X509Certificate(Buffer.from(AsnConvert.serialize(parsed)));
}

describe('the way to an authority', () => {
  it('is missing', () => {
    expect(codeOf(svid.chain, trust())).toBe('SVID_AUTHORITY_UNKNOWN');
    const stranger = ca({}, { issuer: ca({}) });
    expect(codeOf([leaf({}, stranger), stranger.certificate])).toBe('SVID_AUTHORITY_UNKNOWN');
    const [root, middle] = [ca({}), ca({})];
    expect(codeOf([leaf({}, middle), root.certificate], trust(root))).toBe('SVID_AUTHORITY_UNKNOWN');
  });

  it('is claimed: the name and the key identifier of the authority, the key of somebody else', () => {
    const forger: Issuer = { certificate: authority.certificate, privateKey: newKeys().privateKey };
    expect(codeOf([leaf({}, forger)])).toBe('SVID_SIGNATURE_INVALID');
    const middle = ca({}, { issuer: ca({}) });
    const forged = leaf({}, { certificate: middle.certificate, privateKey: newKeys().privateKey });
    expect(codeOf([forged, middle.certificate], trust(middle))).toBe('SVID_SIGNATURE_INVALID');
    expect(codeOf([forged, middle.certificate])).toBe('SVID_SIGNATURE_INVALID');
  });

  it('never leads over a leaf: a node that signs for a workload', () => {
    const keys = newKeys();
    const node = newSvid('spiffe://cluster.local/node/b', authority, { keys });
    const signed = leaf({}, { certificate: node.chain[0] as X509Certificate, privateKey: keys.privateKey });
    expect(codeOf([signed, ...node.chain])).toBe('SVID_CHAIN_INVALID');
    expect(codeOf([signed])).toBe('SVID_AUTHORITY_UNKNOWN');
    expect(
      codeOf([signed], trust({ certificate: node.chain[0] as X509Certificate, privateKey: keys.privateKey })),
    ).not.toBe('valid');
  });

  const root = ca({});
  it.each([
    ['is no CA', { basic: basic(false) }],
    ['does not say what it is', { basic: undefined }],
    ['may not sign', { usage: usage(digitalSignature) }],
    ['is of another trust domain', { uris: uris('spiffe://other.mesh') }],
    ['issues for other purposes', { purposes: purposes(id_kp_codeSigning) }],
    ['obeys what we do not know', { rule: extension('1.3.6.1.4.1.99999.1', new BasicConstraints({}), true) }],
    [
      'is bound to names',
      {
        rule: extension(
          id_ce_nameConstraints,
          new NameConstraints({
            permittedSubtrees: new GeneralSubtrees([
              new GeneralSubtree({ base: new GeneralName({ uniformResourceIdentifier: 'cluster.local' }) }),
            ]),
          }),
        ),
      },
    ],
  ])('may not lead over an issuer that %s', (_, different) => {
    const middle = ca(different, { issuer: root });
    expect(codeOf([leaf({}, middle), middle.certificate], trust(root))).toBe('SVID_CHAIN_INVALID');
  });

  it('does not end at an authority that is no CA, whoever put it into the bundle', () => {
    const no = ca({ basic: basic(false) });
    expect(codeOf([leaf({}, no)], trust(no))).toBe('SVID_CHAIN_INVALID');
  });

  it('is not longer than an issuer allows', () => {
    const top = ca({ basic: basic(true, 1) });
    const first = ca({}, { issuer: top });
    const second = ca({}, { issuer: first });
    expect(codeOf([leaf({}, first), first.certificate], trust(top))).toBe('valid');
    const long = [leaf({}, second), second.certificate, first.certificate];
    expect(codeOf(long, trust(top))).toBe('SVID_CHAIN_INVALID');
    expect(codeOf(long, trust(first))).toBe('valid');
  });

  it('is made of strong keys', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const middle = { ...ca({}, { issuer: root, keys: weak }) };
    // Signed as RSA would be: the algorithm's name is put right behind issueCertificate, which knows P-256 only.
    const signed = AsnConvert.parse(leaf({}, middle).raw, Certificate);
    signed.tbsCertificate.signature.algorithm = '1.2.840.113549.1.1.11';
    signed.signatureAlgorithm.algorithm = '1.2.840.113549.1.1.11';
    const signature = sign('sha256', Buffer.from(AsnConvert.serialize(signed.tbsCertificate)), weak.privateKey);
    signed.signatureValue = new Uint8Array(signature).buffer;
    const chain = [new X509Certificate(Buffer.from(AsnConvert.serialize(signed))), middle.certificate];
    expect(codeOf(chain, trust(root))).toBe('SVID_KEY_WEAK');
  });
});

describe('bytes from outside', () => {
  it.each([
    ['nothing', ''],
    ['no bytes', new Uint8Array()],
    ['text', 'hello'],
    ['a PEM of nonsense', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'],
    ['a certificate that is cut off', certificate.raw.subarray(0, 200)],
    ['a length of four bytes', Buffer.from('3084ffffffff00', 'hex')],
    ['the indefinite form', Buffer.from('3080000000', 'hex')],
    ['nine certificates', Array(9).fill(certificate)],
  ])('%s', (_, presented) => {
    expect(codeOf(presented as PresentedChain)).toBe('SVID_MALFORMED');
  });

  it('never pass with a bit turned, and never fail without a code', () => {
    const { raw } = certificate;
    fc.assert(
      fc.property(fc.nat(raw.length * 8 - 1), (bit) => {
        const bytes = Buffer.from(raw);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(codeOf(bytes)).not.toBe('valid');
      }),
      { seed: 5, numRuns: 400 },
    );
  });

  it('never fail without a code when they are random', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(codeOf(bytes)).toBe('SVID_MALFORMED');
      }),
      { seed: 5, numRuns: 200 },
    );
  });
});
