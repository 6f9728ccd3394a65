/** What SPIRE's agent is asked and what it answers, as our own types. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { SPIRE_TABLE, type SpireMessages } from '../../generated/spire.ts';
import { Codec } from '../../xds/codec.ts';
import type { ServiceAccountRef } from '../svid.ts';

const DELEGATED = 'spire.api.agent.delegatedidentity.v1';
/** SPIFFE Workload API; a server refuses a call without this metadata, so that nobody is made to call it by accident. */
export const WORKLOAD_HEADER = 'workload.spiffe.io';
export const FETCH_SVIDS = '/SpiffeWorkloadAPI/FetchX509SVID';
export const SUBSCRIBE_SVIDS = `/${DELEGATED}.DelegatedIdentity/SubscribeToX509SVIDs`;
export const SUBSCRIBE_BUNDLES = `/${DELEGATED}.DelegatedIdentity/SubscribeToX509Bundles`;

const codec = new Codec<SpireMessages>(SPIRE_TABLE);

/** One certificate as SPIRE gives it: nothing about it is checked yet. */
export interface Given {
  readonly spiffeId: string;
  /** DER, one behind the other. */
  readonly chain: Uint8Array;
  readonly privateKey: KeyObject;
}

export function fetchSvids(): Uint8Array {
  return codec.encode('X509SVIDRequest', {});
}

export function subscribeBundles(): Uint8Array {
  return codec.encode(`${DELEGATED}.SubscribeToX509BundlesRequest`, {});
}

/** By the selectors that SPIRE's own attestor for Kubernetes gives to a pod. */
export function subscribeSvids({ namespace, serviceAccount }: ServiceAccountRef): Uint8Array {
  const selectors = [`ns:${namespace}`, `sa:${serviceAccount}`].map((value) => ({ type: 'k8s', value }));
  return codec.encode(`${DELEGATED}.SubscribeToX509SVIDsRequest`, { selectors });
}

/** @throws for bytes that are no such message, a key that is none */
export function readFetched(bytes: Uint8Array): readonly Given[] {
  const { svids = [] } = codec.decode('X509SVIDResponse', bytes);
  return svids.map(({ spiffe_id: spiffeId = '', x509_svid: chain = new Uint8Array(), x509_svid_key: key }) => ({
    spiffeId,
    chain,
    privateKey: parseKey(key),
  }));
}

/** @throws for bytes that are no such message, a key that is none */
export function readDelegated(bytes: Uint8Array): readonly Given[] {
  const { x509_svids: svids = [] } = codec.decode(`${DELEGATED}.SubscribeToX509SVIDsResponse`, bytes);
  return svids.map(({ x509_svid: svid, x509_svid_key: key }) => ({
    spiffeId: `spiffe://${svid?.id?.trust_domain ?? ''}${svid?.id?.path ?? ''}`,
    chain: Buffer.concat(svid?.cert_chain ?? []),
    privateKey: parseKey(key),
  }));
}

/** @returns DER by trust domain. @throws for bytes that are no such message */
export function readBundles(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const { ca_certificates: bundles = {} } = codec.decode(`${DELEGATED}.SubscribeToX509BundlesResponse`, bytes);
  return new Map(Object.entries(bundles).map(([name, der]) => [name.replace(/^spiffe:\/\//, ''), der]));
}

function parseKey(der: Uint8Array | undefined): KeyObject {
  return createPrivateKey({ key: Buffer.from(der ?? []), type: 'pkcs8', format: 'der' });
}
