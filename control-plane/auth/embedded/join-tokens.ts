/**
 * Which nodes may get their first certificate, and have they? A token is text for one node, good once. It never travels: what
 * does is an HMAC over the TLS exporter (RFC 8446 §7.5) of the connection, the node's name and the request, so what is
 * overheard or relayed is of no use on another connection, for another name or another key. Of the token the file holds the
 * HMAC's key, a hash of it; the file lies beside the authority's own key and is guarded as that one is.
 */
import { createHash, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as z from 'zod/mini';
import { SidestepError } from '../../model/error.ts';
import { writeSecretFile } from '../secret-file.ts';
import { isSegment } from '../spiffe-id.ts';

const TOKEN_BYTES = 32;
const HASH_BYTES = 32;
/** A used or expired token is remembered so long: whoever comes with it is told which of the two it is. */
const REMEMBER_MS = 7 * 86_400_000;
const MAX_TOKENS = 10_000;
/** The label of the exporter that goes into a proof. */
export const JOIN_EXPORTER = 'EXPORTER-sidestep-join';

const Stored = z.object({
  version: z.literal(1),
  tokens: z.array(
    z.object({
      node: z.string(),
      hash: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
      expires: z.number(),
      used: z.boolean(),
    }),
  ),
});
type Token = z.infer<typeof Stored>['tokens'][number];

export interface JoinRequest {
  readonly node: string;
  /** DER of the signing request. */
  readonly request: Uint8Array;
  /** What {@link proofOfToken} made. */
  readonly proof: Uint8Array;
}

/** @param exported 32 bytes of the connection's exporter under {@link JOIN_EXPORTER} */
export function proofOfToken(token: string, node: string, request: Uint8Array, exported: Uint8Array): Buffer {
  return proof(hashOf(token), node, request, exported);
}

export class JoinTokens {
  readonly #path: string;
  /** By node: a new one takes the place of the one before. */
  readonly #tokens = new Map<string, Token>();

  /** @throws STATE_UNUSABLE when the file was not written by us */
  constructor(path: string) {
    this.#path = path;
    for (const token of read(path)) this.#tokens.set(token.node, token);
  }

  /**
   * @returns the token, which is nowhere else
   * @throws INPUT_INVALID for a name that cannot be part of an ID, or too many tokens; STATE_UNUSABLE
   */
  create(node: string, ttlMs: number, now: number): string {
    if (!isSegment(node)) throw new SidestepError('INPUT_INVALID', `${JSON.stringify(node)} cannot be a node's name`);
    for (const { node: other, expires } of this.#tokens.values())
      if (now > expires + REMEMBER_MS) this.#tokens.delete(other);
    if (this.#tokens.size >= MAX_TOKENS)
      throw new SidestepError('INPUT_INVALID', `there are ${this.#tokens.size} tokens already`);
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    this.#put({ node, hash: hashOf(token).toString('hex'), expires: now + ttlMs, used: false });
    return token;
  }

  /**
   * Uses the token up; that is on disk when it returns. Why a token is refused is told only to who has it.
   * @throws CA_TOKEN_REFUSED, CA_TOKEN_USED, CA_TOKEN_EXPIRED, STATE_UNUSABLE
   */
  redeem({ node, request, proof: presented }: JoinRequest, exported: Uint8Array, now: number): void {
    const token = this.#tokens.get(node);
    const expected = token && proof(Buffer.from(token.hash, 'hex'), node, request, exported);
    if (expected === undefined || presented.length !== expected.length || !timingSafeEqual(presented, expected))
      throw new SidestepError('CA_TOKEN_REFUSED', `the token is not the one that was made for the node ${node}`);
    if (token?.used) throw new SidestepError('CA_TOKEN_USED', `the token of the node ${node} was used before`);
    if (token === undefined || now > token.expires)
      throw new SidestepError('CA_TOKEN_EXPIRED', `the token of the node ${node} has expired`);
    this.#put({ ...token, used: true });
  }

  #put(token: Token): void {
    const before = this.#tokens.get(token.node);
    this.#tokens.set(token.node, token);
    try {
      writeSecretFile(this.#path, JSON.stringify({ version: 1, tokens: [...this.#tokens.values()] }));
    } catch (error) {
      if (before === undefined) this.#tokens.delete(token.node);
      else this.#tokens.set(token.node, before);
      throw error;
    }
  }
}

/** 32 random bytes need no slow hash. */
function hashOf(token: string): Buffer {
  return Buffer.from(hkdfSync('sha256', token, '', 'sidestep join token', HASH_BYTES));
}

function proof(key: Uint8Array, node: string, request: Uint8Array, exported: Uint8Array): Buffer {
  const digest = createHash('sha256').update(request).digest();
  // Both hashes have a fixed length, so the name needs no mark where it ends.
  return createHmac('sha256', key).update(exported).update(digest).update(node).digest();
}

function read(path: string): readonly Token[] {
  try {
    return z.parse(Stored, JSON.parse(readFileSync(path, 'utf8'))).tokens;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new SidestepError('STATE_UNUSABLE', `${path} does not hold join tokens: ${(cause as Error).message}`, {
      cause,
      path,
    });
  }
}
