/**
 * SidestepNode (sidestep.dev/v1alpha1): how agents find each other. One schema reads it, and makes its page in
 * docs/reference and the CustomResourceDefinition (scripts/generate-crds.ts).
 */
import { X509Certificate } from 'node:crypto';
import { stringify } from 'yaml';
import * as z from 'zod/mini';
import { formatAddress, isMappedIpv4, parseAddress } from '../model/address.ts';
import { type ErrorCode, SidestepError } from '../model/error.ts';
import type { MeshNode } from '../model/objects.ts';
import type { Issue } from '../model/snapshot.ts';
import { formatPath, issue, type Manifest, nameProblems, type Path } from './document.ts';
import type { Parsed } from './object-reader.ts';

export const SIDESTEP_NODE = { apiVersion: 'sidestep.dev/v1alpha1', kind: 'SidestepNode' } as const;
export const SESSION_PORT = 4250;
export const TUNNEL_PORT = 51871;

const MAX_ADDRESSES = 16;
const MAX_BUNDLE_CHARACTERS = 65536;
const MAX_AUTHORITIES = 16;
/** SPIFFE-ID §2.3. */
const MAX_SPIFFE_ID_BYTES = 2048;
/** SPIFFE-ID §2.1 and §2.2: lower-case trust domain; segments of letters, digits and .-_ that are not dots alone. */
const SPIFFE_ID = /^spiffe:\/\/[a-z0-9._-]{1,255}(\/(?!\.{1,2}(?:\/|$))[a-zA-Z0-9._-]+)+$/;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

const text = (meaning: string, isValid: (value: string) => boolean, wrong: string): z.ZodMiniString =>
  z.string('must be a string').check(z.refine(isValid, { error: wrong, abort: true }), z.describe(meaning));
const port = (meaning: string): z.ZodMiniNumber =>
  z
    .int('must be a whole number')
    .check(z.minimum(1, 'must be 1 to 65535'), z.maximum(65535, 'must be 1 to 65535'), z.describe(meaning));
const address = (meaning: string): z.ZodMiniString =>
  text(meaning, isReachable, 'must be an IPv4 or IPv6 address that one can connect to');

export const MeshNodeSpec = z.strictObject(
  {
    addresses: z
      .array(address('IPv4 or IPv6.'), 'must be a list')
      .check(
        z.minLength(1, 'at least one address is required'),
        z.maxLength(MAX_ADDRESSES, `at most ${MAX_ADDRESSES} addresses`),
        z.describe('Where other nodes reach its agent and its tunnel, in order of preference.'),
      ),
    port: z._default(port('TCP port of sessions between agents.'), SESSION_PORT),
    tunnelPort: z._default(port('UDP port of the tunnel.'), TUNNEL_PORT),
    publicKey: text(
      'WireGuard public key, base64 of 32 bytes. Informational: the key that counts is exchanged in a session of both agents, never taken from here.',
      isKey,
      'must be base64 of 32 bytes',
    ),
    spiffeID: text(
      'The SPIFFE ID that its agent proves. Informational as well: what a session accepts follows from the name of the node.',
      (value) => value.length <= MAX_SPIFFE_ID_BYTES && SPIFFE_ID.test(value),
      'must be a SPIFFE ID with a path, such as spiffe://cluster.local/node/NAME',
    ),
    certificateAuthority: z.optional(
      z
        .strictObject(
          {
            address: address('Where it listens.'),
            port: port('TCP port.'),
            bundle: text(
              'Its certificates, PEM.',
              isBundle,
              `must be 1 to ${MAX_AUTHORITIES} certificates in PEM and nothing else`,
            ),
          },
          { error: 'must be a mapping' },
        )
        .check(
          z.describe(
            'Only of the node whose agent holds the key of the embedded CA: where certificates are to be had.',
          ),
        ),
    ),
  },
  { error: 'must be a mapping' },
);

const Shape = z.strictObject({
  apiVersion: z.unknown(),
  kind: z.unknown(),
  metadata: z.unknown(),
  spec: MeshNodeSpec,
  status: z.optional(z.unknown()),
});

export function parseMeshNode(manifest: Manifest): Parsed<MeshNode> {
  const issues: Issue[] = [];
  const object = [manifest.kind, manifest.namespace, manifest.name].filter((part) => part !== '').join('/');
  const refuse = (code: ErrorCode, path: Path, message: string): void => {
    const where = formatPath(path);
    issues.push(issue(code, where, `${where}: ${message}`, manifest.originOf(path), object));
  };
  for (const { path, code, message } of nameProblems(manifest)) refuse(code, path, message);
  if (manifest.namespace !== '') refuse('FIELD_INVALID', ['metadata', 'namespace'], 'a node belongs to no namespace');
  const { data, error } = Shape.safeParse(manifest.value);
  for (const each of error?.issues ?? []) {
    const path = each.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
    if (each.code === 'unrecognized_keys')
      for (const key of each.keys) refuse('FIELD_UNKNOWN', [...path, key], 'unknown field');
    else if (isMissing(manifest.value, path)) refuse('FIELD_REQUIRED', path, 'is required');
    else refuse('FIELD_INVALID', path, each.message);
  }
  if (data === undefined || issues.length > 0) return { object: undefined, issues };
  const { addresses, port: sessionPort, tunnelPort, publicKey, spiffeID, certificateAuthority } = data.spec;
  const authority = certificateAuthority && {
    ...certificateAuthority,
    address: canonical(certificateAuthority.address),
  };
  const node = {
    name: manifest.name,
    addresses: [...new Set(addresses.map(canonical))],
    port: sessionPort,
    tunnelPort,
    publicKey,
    spiffeId: spiffeID,
    ...(authority ? { certificateAuthority: authority } : {}),
  };
  return { object: node, issues };
}

/** As a manifest that parseMeshNode reads. */
export function renderMeshNode(node: MeshNode): string {
  const { name, spiffeId, certificateAuthority, ...rest } = node;
  const { addresses, port: sessionPort, tunnelPort, publicKey } = rest;
  return stringify(
    {
      ...SIDESTEP_NODE,
      metadata: { name },
      spec: {
        addresses,
        port: sessionPort,
        tunnelPort,
        publicKey,
        spiffeID: spiffeId,
        ...(certificateAuthority ? { certificateAuthority } : {}),
      },
    },
    { lineWidth: 0 },
  );
}

function isMissing(value: unknown, path: Path): boolean {
  let found = value;
  for (const part of path) found = (found as Record<string | number, unknown> | null | undefined)?.[part];
  return found === undefined || found === null;
}

function canonical(value: string): string {
  return formatAddress(parseAddress(value));
}

/** Neither unspecified, nor of several (multicast, broadcast), nor good on one link only. */
function isReachable(value: string): boolean {
  let bytes: Uint8Array;
  try {
    bytes = parseAddress(value);
  } catch (error) {
    if (error instanceof SidestepError) return false;
    throw error;
  }
  const [first = 0, second = 0] = isMappedIpv4(bytes) ? bytes.subarray(12) : bytes;
  if (isMappedIpv4(bytes)) return first !== 0 && first < 224 && !(first === 169 && second === 254);
  const isLinkLocal = first === 0xfe && (second & 0xc0) === 0x80;
  return first !== 0xff && !isLinkLocal && bytes.some((byte) => byte !== 0);
}

function isKey(value: string): boolean {
  const bytes = Buffer.from(value, 'base64');
  return bytes.length === 32 && bytes.toString('base64') === value;
}

function isBundle(value: string): boolean {
  if (value.length > MAX_BUNDLE_CHARACTERS) return false;
  const blocks = value.match(CERTIFICATE) ?? [];
  return (
    blocks.length > 0 &&
    blocks.length <= MAX_AUTHORITIES &&
    value.replaceAll(CERTIFICATE, '').trim() === '' &&
    blocks.every(isCertificate)
  );
}

function isCertificate(block: string): boolean {
  try {
    return new X509Certificate(block).raw.length > 0;
  } catch {
    return false;
  }
}
