/** What our side of a TLS connection shows and accepts. */
import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import type { Svid } from '../svid.ts';

/** Of both ends: TLS 1.3 and nothing else, no tickets. */
export function contextOf(svid: Svid): SecureContextOptions {
  return {
    cert: svid.chain.map((certificate) => certificate.toString()).join(''),
    key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // Without it the server hands out tickets that resume; with it they lead to a cache that there is none of.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
