/** Which node is at the other end of a TLS connection? Asked before the first byte of it is read. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { SidestepError } from '../../model/error.ts';
import type { TrustBundle } from '../svid.ts';
import { verifySvid } from '../verify.ts';
import { MAX_CHAIN } from './messages.ts';
import type { PeerCertificate } from './ports.ts';

/** ALPN (RFC 7301): a connection that was led to another service with a certificate of ours is noticed. */
export const APPLICATION = 'sidestep-session';

export type TlsFacts = Pick<TLSSocket, 'isSessionReused' | 'getProtocol' | 'alpnProtocol' | 'getPeerX509Certificate'>;

export interface NodeView {
  readonly bundle: TrustBundle;
  /** Name of the node with this SPIFFE ID; undefined: it is no node's. */
  readonly nodeOf: (spiffeId: string) => string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * TLS has shown that the other end holds the key of its certificate; whose certificate that is, is judged here and not by
 * OpenSSL, whose rules know neither SPIFFE IDs nor our bundle (X509-SVID §5).
 * @throws AUTH_TLS_RESUMED, AUTH_TLS_VERSION, AUTH_TLS_APPLICATION, AUTH_CERTIFICATE_MISSING, SVID_*, AUTH_NOT_A_NODE
 */
export function nodeAtOtherEnd(tls: TlsFacts, view: NodeView): PeerCertificate {
  // RFC 8446 §2.2: a resumed session shows no certificate, and proves less.
  if (tls.isSessionReused()) throw new SidestepError('AUTH_TLS_RESUMED', 'the TLS session is an earlier one');
  const protocol = tls.getProtocol();
  if (protocol !== 'TLSv1.3') throw new SidestepError('AUTH_TLS_VERSION', `the other end speaks ${protocol}`);
  if (tls.alpnProtocol !== APPLICATION)
    throw new SidestepError('AUTH_TLS_APPLICATION', `the other end speaks ${tls.alpnProtocol || 'nothing named'}`);
  const leaf = tls.getPeerX509Certificate();
  if (leaf === undefined) throw new SidestepError('AUTH_CERTIFICATE_MISSING', 'no certificate was shown');
  return nodeOfChain(chainOf(leaf), view);
}

/** Also for a session that goes on, when the trust bundle is another. @throws SVID_*, AUTH_NOT_A_NODE */
export function nodeOfChain(chain: readonly X509Certificate[], { bundle, nodeOf, now }: NodeView): PeerCertificate {
  const { spiffeId, serial, notAfter } = verifySvid(chain, bundle, now);
  const node = nodeOf(spiffeId);
  if (node === undefined) throw new SidestepError('AUTH_NOT_A_NODE', `${spiffeId} is not a node`);
  return { node, spiffeId, serial, notAfter, chain };
}

/** As the other end has sent them, up to one more than is taken. */
function chainOf(leaf: X509Certificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: X509Certificate | undefined = leaf;
  // A root that was sent along is its own issuer.
  while (next !== undefined && chain.length <= MAX_CHAIN && next.fingerprint256 !== chain.at(-1)?.fingerprint256) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
