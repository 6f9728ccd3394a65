/** An SVID in Node's TLS: what is given to it, and what the other side showed. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Svid } from './svid.ts';

/** More than verifySvid takes, so that it is the one who refuses. */
const MAX_CERTIFICATES = 9;

/** Key and chain as `tls.createSecureContext` takes them. */
export function tlsMaterial({ chain, privateKey }: Svid): { readonly key: string; readonly cert: string } {
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: chain.join('') };
}

/**
 * Leaf first; empty: the peer has shown no certificate. TLS has checked that the peer has the leaf's key, and nothing else
 * where `rejectUnauthorized` is off: SPIFFE's rules are verifySvid's to check, before anything that the peer says is believed.
 */
export function presentedChain(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  // The last one may be its own issuer.
  while (
    next !== undefined &&
    chain.length < MAX_CERTIFICATES &&
    next.fingerprint256 !== chain.at(-1)?.fingerprint256
  ) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
