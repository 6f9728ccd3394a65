import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { HOUR, NOW } from '../samples.ts';
import { JoinTokens, proofOfToken } from './join-tokens.ts';

const request = Buffer.from('a signing request');
/** What both ends of one connection export. */
const here = Buffer.alloc(32, 1);
let path: string;
let tokens: JoinTokens;

beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), 'sidestep-tokens-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  path = join(folder, 'tokens.json');
  tokens = new JoinTokens(path);
});

function codeOf(redeem: () => void): unknown {
  try {
    redeem();
    return 'joined';
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

const redeem = (token: string, node = 'b', exported = here, now = NOW) =>
  codeOf(() => tokens.redeem({ node, request, proof: proofOfToken(token, node, request, exported) }, exported, now));

describe('a join token', () => {
  it('is good for one join', () => {
    const token = tokens.create('b', HOUR, NOW);
    expect(redeem(token)).toBe('joined');
    expect(redeem(token)).toBe('CA_TOKEN_USED');
  });

  it('is used up on disk before anything is signed, and not stored in the clear', () => {
    const token = tokens.create('b', HOUR, NOW);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).not.toContain(token);
    tokens = new JoinTokens(path);
    expect(redeem(token)).toBe('joined');
    tokens = new JoinTokens(path);
    expect(redeem(token)).toBe('CA_TOKEN_USED');
  });

  it('ends', () => {
    const token = tokens.create('b', HOUR, NOW);
    expect(redeem(token, 'b', here, NOW + HOUR + 1)).toBe('CA_TOKEN_EXPIRED');
    expect(redeem(token, 'b', here, NOW + HOUR)).toBe('joined');
  });

  it('is for one node: with its own token a node cannot join as another', () => {
    const token = tokens.create('b', HOUR, NOW);
    tokens.create('c', HOUR, NOW);
    expect(redeem(token, 'c')).toBe('CA_TOKEN_REFUSED');
    expect(redeem(token, 'd')).toBe('CA_TOKEN_REFUSED');
    // The proof of one name under another.
    const proof = proofOfToken(token, 'b', request, here);
    expect(codeOf(() => tokens.redeem({ node: 'c', request, proof }, here, NOW))).toBe('CA_TOKEN_REFUSED');
    expect(redeem(token)).toBe('joined');
  });

  it('proves nothing on another connection', () => {
    const token = tokens.create('b', HOUR, NOW);
    const proof = proofOfToken(token, 'b', request, here);
    const elsewhere = Buffer.alloc(32, 2);
    expect(codeOf(() => tokens.redeem({ node: 'b', request, proof }, elsewhere, NOW))).toBe('CA_TOKEN_REFUSED');
  });

  it('proves nothing for another key', () => {
    const token = tokens.create('b', HOUR, NOW);
    const proof = proofOfToken(token, 'b', request, here);
    const other = { node: 'b', request: Buffer.from('the request of somebody else'), proof };
    expect(codeOf(() => tokens.redeem(other, here, NOW))).toBe('CA_TOKEN_REFUSED');
  });

  it('is void when there is a newer one', () => {
    const old = tokens.create('b', HOUR, NOW);
    const token = tokens.create('b', HOUR, NOW);
    expect(redeem(old)).toBe('CA_TOKEN_REFUSED');
    expect(redeem(token)).toBe('joined');
  });

  it('tells whoever does not have it nothing about whether there is one', () => {
    const token = tokens.create('b', HOUR, NOW);
    redeem(token);
    for (const proof of [Buffer.alloc(0), Buffer.alloc(31), Buffer.alloc(32), Buffer.alloc(33)])
      for (const node of ['b', 'nobody'])
        expect(codeOf(() => tokens.redeem({ node, request, proof }, here, NOW + 2 * HOUR))).toBe('CA_TOKEN_REFUSED');
  });

  it('is not made for what cannot be a name', () => {
    for (const name of ['', '..', 'a/b', 'a b', 'ä'])
      expect(codeOf(() => void tokens.create(name, HOUR, NOW))).toBe('INPUT_INVALID');
  });

  it('is forgotten long after its end', () => {
    tokens.create('b', HOUR, NOW);
    tokens.create('c', HOUR, NOW + 30 * 24 * HOUR);
    expect(readFileSync(path, 'utf8')).not.toContain('"b"');
  });

  it('is not redeemed when that cannot be written down', () => {
    const token = tokens.create('b', HOUR, NOW);
    rmSync(join(path, '..'), { recursive: true });
    expect(redeem(token)).toBe('STATE_UNUSABLE');
  });

  it('is nothing that a broken file could hold', () => {
    writeFileSync(path, '{"version":1,"tokens":[{"node":"b"}]}');
    expect(codeOf(() => void new JoinTokens(path))).toBe('STATE_UNUSABLE');
  });
});
