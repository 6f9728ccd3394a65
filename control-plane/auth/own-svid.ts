/** Makes an Svid of what a source has: nothing becomes one that a peer would refuse. */
import type { KeyObject } from 'node:crypto';
import { SidestepError } from '../model/error.ts';
import { type PresentedChain, readChain } from './certificate.ts';
import type { Svid, TrustBundle } from './svid.ts';
import { verifySvid } from './verify.ts';

export interface Material {
  readonly chain: PresentedChain;
  readonly privateKey: KeyObject;
}

/**
 * @param expected the SPIFFE ID that it must be of
 * @param now milliseconds since the epoch
 * @throws SVID_KEY_MISMATCH, SVID_ID_UNEXPECTED, and what verifySvid throws
 */
export function ownSvid(material: Material, expected: string, bundle: TrustBundle, now: number): Svid {
  const chain = readChain(material.chain);
  const { privateKey } = material;
  // First: half of a pair that is just being replaced says nothing about the rest.
  if (!chain[0]?.checkPrivateKey(privateKey))
    throw new SidestepError('SVID_KEY_MISMATCH', `the private key for ${expected} is not the one of its certificate`);
  const { spiffeId, notAfter, serial } = verifySvid(chain, bundle, now);
  if (spiffeId !== expected)
    throw new SidestepError(
      'SVID_ID_UNEXPECTED',
      `there is a certificate of ${spiffeId} where ${expected} was expected`,
    );
  return { spiffeId, chain: withoutRoot(chain, bundle), privateKey, notAfter, serial };
}

/** Peers have the authorities; sent along they would cost bytes and prove nothing. */
function withoutRoot(chain: Svid['chain'], { authorities }: TrustBundle): Svid['chain'] {
  const known = new Set(authorities.map(({ fingerprint256 }) => fingerprint256));
  return chain.filter(({ fingerprint256 }, index) => index === 0 || !known.has(fingerprint256));
}
