/** The port between a node and the authority. Real: LocalLink (this process holds the key), RemoteLink (the network). */
import type { X509Certificate } from 'node:crypto';
import type { ServiceAccountRef, Svid } from '../svid.ts';

export interface Issued {
  /** Leaf first; no root. */
  readonly chain: readonly X509Certificate[];
  /** The whole trust bundle as the authority has it now. */
  readonly authorities: readonly X509Certificate[];
}

export interface AuthorityLink {
  /**
   * This node's own certificate: a renewal where there is a current one, else a join.
   * @param request DER of the signing request
   * @throws CA_*, SVID_*
   */
  node(request: Buffer, current: Svid | undefined): Promise<Issued>;
  /** @throws CA_*, SVID_* */
  workload(of: ServiceAccountRef, request: Buffer, node: Svid | undefined): Promise<Issued>;
  close(): void;
}
