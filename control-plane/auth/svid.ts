/**
 * The port to where identities' certificates come from (SPIFFE X.509-SVID). Real: embedded/ (our own CA), files/ (a folder
 * in the layout of a Kubernetes secret), spire/ (SPIRE's APIs). What a source cannot have now it has later, and says so.
 */
import type { KeyObject, X509Certificate } from 'node:crypto';
import type { SidestepError } from '../model/error.ts';

/** A workload's identity for certificates: `spiffe://<trust domain>/ns/<namespace>/sa/<serviceAccount>`. */
export interface ServiceAccountRef {
  readonly namespace: string;
  readonly serviceAccount: string;
}

export interface Svid {
  readonly spiffeId: string;
  /** Leaf first, then intermediates; no root. */
  readonly chain: readonly X509Certificate[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch: the earliest of the chain. */
  readonly notAfter: number;
  /** Of the leaf, upper-case hexadecimal without colons, as X509Certificate.serialNumber has it. */
  readonly serial: string;
}

export interface TrustBundle {
  /** Without scheme, e.g. `cluster.local`. */
  readonly trustDomain: string;
  readonly authorities: readonly X509Certificate[];
}

export interface SvidSource {
  readonly kind: 'embedded' | 'files' | 'spire';
  /** What is known of the trust domain; undefined until the source has answered. */
  readonly bundle: TrustBundle | undefined;
  /** This node's own, `spiffe://<trust domain>/node/<name>`; undefined while there is none. */
  readonly node: Svid | undefined;
  /** Which workloads' are needed on this node; one that is no longer named is forgotten. */
  want(workloads: readonly ServiceAccountRef[]): void;
  /** undefined while there is none: `trouble` says why. */
  workload(of: ServiceAccountRef): Svid | undefined;
  /** Why something is missing or not renewed, by SPIFFE ID; '' stands for the source itself. */
  readonly trouble: ReadonlyMap<string, SidestepError>;
  /** Called after any change of the above: a new SVID, one that is gone, another bundle. @returns stops the calls */
  subscribe(changed: () => void): () => void;
  close(): Promise<void>;
}
