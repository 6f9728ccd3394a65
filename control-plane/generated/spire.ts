// Generated from proto/spire by scripts/generate-spire.ts; do not edit.

/** Message -> field -> `number[|oneof] [repeated |map ]type`; enum -> word -> number. See xds/message-table.ts. */
export const SPIRE_TABLE = {
  messages: {
    'X509SVID': { spiffe_id: '1 string', x509_svid: '2 bytes', x509_svid_key: '3 bytes', bundle: '4 bytes' },
    'X509SVIDRequest': { },
    'X509SVIDResponse': { svids: '1 repeated X509SVID' },
    'spire.api.agent.delegatedidentity.v1.SubscribeToX509BundlesRequest': { },
    'spire.api.agent.delegatedidentity.v1.SubscribeToX509BundlesResponse': { ca_certificates: '1 map bytes' },
    'spire.api.agent.delegatedidentity.v1.SubscribeToX509SVIDsRequest': { selectors: '1 repeated spire.api.types.Selector' },
    'spire.api.agent.delegatedidentity.v1.SubscribeToX509SVIDsResponse': { x509_svids: '1 repeated spire.api.agent.delegatedidentity.v1.X509SVIDWithKey' },
    'spire.api.agent.delegatedidentity.v1.X509SVIDWithKey': { x509_svid: '1 spire.api.types.X509SVID', x509_svid_key: '2 bytes' },
    'spire.api.types.SPIFFEID': { trust_domain: '1 string', path: '2 string' },
    'spire.api.types.Selector': { type: '1 string', value: '2 string' },
    'spire.api.types.X509SVID': { cert_chain: '1 repeated bytes', id: '2 spire.api.types.SPIFFEID' },
  },
  enums: {
  },
} as const;

/** Field names are those of the protos and of their owners' documentation; 64-bit integers are numbers. */
export interface SpireMessages {
  'X509SVID': {
    readonly spiffe_id?: string;
    readonly x509_svid?: Uint8Array;
    readonly x509_svid_key?: Uint8Array;
    readonly bundle?: Uint8Array;
  };
  'X509SVIDRequest': {
  };
  'X509SVIDResponse': {
    readonly svids?: readonly SpireMessages['X509SVID'][];
  };
  'spire.api.agent.delegatedidentity.v1.SubscribeToX509BundlesRequest': {
  };
  'spire.api.agent.delegatedidentity.v1.SubscribeToX509BundlesResponse': {
    readonly ca_certificates?: Readonly<Record<string, Uint8Array>>;
  };
  'spire.api.agent.delegatedidentity.v1.SubscribeToX509SVIDsRequest': {
    readonly selectors?: readonly SpireMessages['spire.api.types.Selector'][];
  };
  'spire.api.agent.delegatedidentity.v1.SubscribeToX509SVIDsResponse': {
    readonly x509_svids?: readonly SpireMessages['spire.api.agent.delegatedidentity.v1.X509SVIDWithKey'][];
  };
  'spire.api.agent.delegatedidentity.v1.X509SVIDWithKey': {
    readonly x509_svid?: SpireMessages['spire.api.types.X509SVID'];
    readonly x509_svid_key?: Uint8Array;
  };
  'spire.api.types.SPIFFEID': {
    readonly trust_domain?: string;
    readonly path?: string;
  };
  'spire.api.types.Selector': {
    readonly type?: string;
    readonly value?: string;
  };
  'spire.api.types.X509SVID': {
    readonly cert_chain?: readonly Uint8Array[];
    readonly id?: SpireMessages['spire.api.types.SPIFFEID'];
  };
}
