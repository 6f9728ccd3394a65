/** Is this a valid X.509-SVID of our trust domain, now? (RFC 5280 §6.1, SPIFFE X509-SVID §4 and §5.) No I/O, no clock, no state. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { SidestepError } from '../model/error.ts';
import type { TrustBundle } from './svid.ts';

const MAX_CERTIFICATES = 8;

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
 * @param chain the leaf first, each next one the issuer of the one before
 * @param now milliseconds since the epoch
 * @throws SVID_MALFORMED, SVID_ID_INVALID, SVID_OTHER_TRUST_DOMAIN, SVID_CA_AS_LEAF, SVID_AUTHORITY_UNKNOWN,
 *   SVID_SIGNATURE_INVALID, SVID_CHAIN_INVALID, SVID_EXPIRED, SVID_NOT_YET_VALID
 */
export function verifySvid(chain: readonly X509Certificate[], bundle: TrustBundle, now: number): VerifiedSvid {
  const [leaf] = chain;
  if (leaf === undefined || chain.length > MAX_CERTIFICATES)
    throw new SidestepError('SVID_MALFORMED', `there are ${chain.length} certificates`);
  const spiffeId = idOf(leaf, bundle.trustDomain);
  if (leaf.ca) throw new SidestepError('SVID_CA_AS_LEAF', `the certificate of ${spiffeId} may sign certificates`);
  const path = findPath(chain, bundle, spiffeId);
  for (const certificate of path) {
    if (now < certificate.validFromDate.getTime())
      throw new SidestepError('SVID_NOT_YET_VALID', `${spiffeId}: valid from ${certificate.validFrom}`);
    if (now > certificate.validToDate.getTime())
      throw new SidestepError('SVID_EXPIRED', `${spiffeId}: valid until ${certificate.validTo}`);
  }
  return {
    spiffeId,
    notAfter: Math.min(...path.map((certificate) => certificate.validToDate.getTime())),
    serial: leaf.serialNumber,
    publicKey: leaf.publicKey,
  };
}

/** X509-SVID §2: exactly one URI. */
function idOf(leaf: X509Certificate, trustDomain: string): string {
  const uris = (leaf.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  const [uri = ''] = uris.map((name) => name.slice('URI:'.length));
  if (uris.length !== 1 || !/^spiffe:\/\/[^/"]+\/[^"]+$/.test(uri))
    throw new SidestepError('SVID_ID_INVALID', 'the certificate does not name exactly one SPIFFE ID');
  if (!uri.startsWith(`spiffe://${trustDomain}/`))
    throw new SidestepError('SVID_OTHER_TRUST_DOMAIN', `${uri} is not of the trust domain ${trustDomain}`);
  return uri;
}

/** @returns leaf, intermediates, authority */
function findPath(chain: readonly X509Certificate[], bundle: TrustBundle, who: string): X509Certificate[] {
  for (const [index, certificate] of chain.entries()) {
    const namesakes = bundle.authorities.filter((authority) => certificate.checkIssued(authority));
    const authority = namesakes.find(({ publicKey }) => certificate.verify(publicKey));
    if (authority !== undefined) return [...chain.slice(0, index + 1), authority];
    if (namesakes.length > 0)
      throw new SidestepError('SVID_SIGNATURE_INVALID', `${who}: an authority is named that has not signed it`);
    const next = chain[index + 1];
    if (next === undefined || !certificate.checkIssued(next)) break;
    if (!next.ca) throw new SidestepError('SVID_CHAIN_INVALID', `${who}: an issuer is not a CA`);
    if (!certificate.verify(next.publicKey))
      throw new SidestepError('SVID_SIGNATURE_INVALID', `${who}: an issuer has not signed it`);
  }
  throw new SidestepError('SVID_AUTHORITY_UNKNOWN', `${who} leads to none of the known authorities`);
}
