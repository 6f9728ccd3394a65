/**
 * Proof that a node holds the key of one workload's certificate, in one session: the identity's own key signs a statement that
 * can be true in no other session, from no other prover, to no other verifier, for no other certificate.
 */
import { constants, createHash, type KeyObject, sign, verify, X509Certificate } from 'node:crypto';
import { SidestepError } from '../../model/error.ts';
import type { Whereabouts } from '../peers.ts';
import { parseSpiffeId } from '../spiffe-id.ts';
import type { Svid, TrustBundle } from '../svid.ts';
import { verifySvid } from '../verify.ts';
import { lengthPrefixed } from './encoding.ts';
import { MAX_CERTIFICATE, MAX_CHAIN, SERIAL, type WireProof } from './messages.ts';
import type { Channel } from './ports.ts';

const PROTOCOL = 'sidestep identity proof 1';
const PROOF_LABEL = 'EXPERIMENTAL-sidestep-identity-proof';
const SESSION_LABEL = 'EXPERIMENTAL-sidestep-session';
/** With room for the rest of the frame that it travels in. */
const MAX_CHAIN_BYTES = 32 * 1024;

/** What ties a proof to a session and to the side that speaks. */
export interface Binding {
  readonly prover: string;
  readonly verifier: string;
  /** Names the session; not secret. */
  readonly session: Uint8Array;
  /** Known to both ends only, and another one for each of them as the prover. */
  readonly exported: Uint8Array;
}

/** @param prover who will speak: we, or the node at the other end */
export function bindingOf(
  channel: Pick<Channel, 'exporter' | 'dialledBy'>,
  prover: 'us' | 'them',
  ourNode: string,
  theirNode: string,
): Binding {
  const role = channel.dialledBy === prover ? 'dialler' : 'acceptor';
  return {
    prover: prover === 'us' ? ourNode : theirNode,
    verifier: prover === 'us' ? theirNode : ourNode,
    session: channel.exporter(SESSION_LABEL, Buffer.alloc(0)),
    exported: channel.exporter(PROOF_LABEL, Buffer.from(role)),
  };
}

/** What is signed. @param expires milliseconds since the epoch */
export function statement(binding: Binding, identity: string, leaf: Uint8Array, expires: number): Buffer {
  const until = Buffer.alloc(8);
  until.writeBigUInt64BE(BigInt(expires));
  const certificate = createHash('sha256').update(leaf).digest();
  const { exported, prover, verifier } = binding;
  return lengthPrefixed([PROTOCOL, exported, prover, verifier, identity, certificate, until]);
}

/** @throws AUTH_SVID_UNUSABLE for a key of a kind that is not signed with here, or a chain that does not fit */
export function makeProof(svid: Svid, binding: Binding): WireProof {
  const chain = svid.chain.map(({ raw }) => raw);
  const [leaf] = chain;
  const bytes = chain.reduce((sum, { length }) => sum + length, 0);
  if (leaf === undefined || chain.length > MAX_CHAIN || bytes > MAX_CHAIN_BYTES || chain.some(isTooLong))
    throw new SidestepError('AUTH_SVID_UNUSABLE', `${svid.spiffeId}: ${chain.length} certificates of ${bytes} bytes`);
  if (!SERIAL.test(svid.serial))
    throw new SidestepError('AUTH_SVID_UNUSABLE', `${svid.spiffeId}: the serial number ${svid.serial}`);
  const said = statement(binding, svid.spiffeId, leaf, svid.notAfter);
  const { digest, options } = signatureOf(svid.privateKey, svid.spiffeId);
  const signature = sign(digest, said, { key: svid.privateKey, ...options });
  return { identity: svid.spiffeId, serial: svid.serial, chain, expires: svid.notAfter, signature };
}

function isTooLong({ length }: Uint8Array): boolean {
  return length > MAX_CERTIFICATE;
}

export interface VerifierView {
  readonly bundle: TrustBundle;
  readonly whereabouts: Whereabouts;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export interface VerifiedProof {
  readonly chain: readonly X509Certificate[];
  /** Milliseconds since the epoch: the earlier of what the prover said and its certificate. */
  readonly expires: number;
}

/**
 * What costs least comes first.
 * @throws AUTH_NOT_A_WORKLOAD, AUTH_IDENTITY_ELSEWHERE, AUTH_PROOF_EXPIRED, AUTH_PROOF_MALFORMED, SVID_*,
 *   AUTH_PROOF_MISNAMED, AUTH_SVID_UNUSABLE, AUTH_PROOF_FORGED
 */
export function verifyProof(proof: WireProof, binding: Binding, view: VerifierView): VerifiedProof {
  const { identity } = proof;
  checkPlace(identity, binding.prover, view);
  if (proof.expires <= view.now)
    throw new SidestepError('AUTH_PROOF_EXPIRED', `${shown(identity)}: until ${isoTime(proof.expires)}`);
  const chain = parse(proof);
  const { spiffeId, notAfter, serial, publicKey } = verifySvid(chain, view.bundle, view.now);
  if (spiffeId !== identity || serial !== proof.serial) {
    const claim = `${shown(identity)} ${proof.serial} is claimed`;
    throw new SidestepError('AUTH_PROOF_MISNAMED', `${claim} with the certificate ${serial} of ${spiffeId}`);
  }
  const said = statement(binding, identity, proof.chain[0] ?? new Uint8Array(), proof.expires);
  const { digest, options } = signatureOf(publicKey, identity);
  if (!verify(digest, said, { key: publicKey, ...options }, proof.signature))
    throw new SidestepError('AUTH_PROOF_FORGED', `${identity}: ${binding.prover} does not have the certificate's key`);
  return { chain, expires: Math.min(notAfter, proof.expires) };
}

/**
 * May this node speak for this identity at all?
 * @throws AUTH_NOT_A_WORKLOAD, AUTH_IDENTITY_ELSEWHERE
 */
export function checkPlace(identity: string, node: string, { bundle, whereabouts }: Omit<VerifierView, 'now'>): void {
  const id = parseSpiffeId(identity);
  if (id?.kind !== 'workload' || id.trustDomain !== bundle.trustDomain)
    throw new SidestepError('AUTH_NOT_A_WORKLOAD', `${shown(identity)}, in the trust domain ${bundle.trustDomain}`);
  if (!whereabouts.runs(node, id.namespace, id.serviceAccount))
    throw new SidestepError('AUTH_IDENTITY_ELSEWHERE', `${node} has no pod of ${identity}`);
}

/** @throws AUTH_PROOF_MALFORMED */
function parse({ identity, chain }: WireProof): X509Certificate[] {
  try {
    return chain.map((der) => new X509Certificate(der));
  } catch (cause) {
    throw new SidestepError('AUTH_PROOF_MALFORMED', `${shown(identity)}: not X.509`, { cause });
  }
}

/** @throws AUTH_SVID_UNUSABLE */
function signatureOf(key: KeyObject, identity: string): { digest: string | null; options: object } {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'ed25519') return { digest: null, options: {} };
  // As TLS 1.3 pairs them (RFC 8446 §4.2.3).
  if (type === 'ec') return { digest: DIGESTS.get(details?.namedCurve ?? '') ?? 'sha256', options: {} };
  if (type === 'rsa') return { digest: 'sha256', options: PSS };
  throw new SidestepError('AUTH_SVID_UNUSABLE', `${identity} has a key of the kind ${type}`);
}

const DIGESTS: ReadonlyMap<string, string> = new Map([
  ['secp384r1', 'sha384'],
  ['secp521r1', 'sha512'],
]);
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

/** A peer's words in ours: printable and short. */
function shown(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

function isoTime(ms: number): string {
  // Beyond what a Date can say.
  return ms > 8.64e15 ? String(ms) : new Date(ms).toISOString();
}
