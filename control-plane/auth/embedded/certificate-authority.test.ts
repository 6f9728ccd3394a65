import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { readCertificate } from '../certificate.ts';
import { FakeClock } from '../fakes.ts';
import { HOUR, NOW, newKeys, TRUST_DOMAIN } from '../samples.ts';
import { verifySvid } from '../verify.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import { proofOfToken } from './join-tokens.ts';
import { makeRequest, readRequest } from './request.ts';

/** Made by `openssl req` for a CA, with CN=root and the URI spiffe://cluster.local/node/other. */
const GREEDY = Buffer.from(
  'MIIBGzCBwQIBADAPMQ0wCwYDVQQDDARyb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjCSNKCTsTLO3FPLDr4pFKQfPnrYg8nm7F7HARQSRs0qYKtwgTpEhgJgsUnzhl27y3cWAv8d7EibWjx5hlCfG9aBQME4GCSqGSIb3DQEJDjFBMD8wLAYDVR0RBCUwI4Yhc3BpZmZlOi8vY2x1c3Rlci5sb2NhbC9ub2RlL290aGVyMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAL1Cs/Kg3h2M6YOVMQo9XDindnXc/Y0eATWoRIQ2ztjKAiEApOSG+I3Pe+ZPjj9zLXGc3n6TXfHXSEInxL4sPgMNp2U=',
  'base64',
);
const WEB = { namespace: 'shop', serviceAccount: 'web' };
const exported = Buffer.alloc(32, 1);
const request = makeRequest(newKeys());
let places: Set<string>;
let admitted: Set<string>;
let authority: CertificateAuthority;
const clock = new FakeClock();

beforeEach(() => {
  const stateDir = mkdtempSync(join(tmpdir(), 'sidestep-ca-'));
  onTestFinished(() => rmSync(stateDir, { recursive: true }));
  places = new Set(['b shop web']);
  admitted = new Set(['a', 'b', 'c']);
  authority = new CertificateAuthority({
    stateDir,
    trustDomain: TRUST_DOMAIN,
    clock,
    mesh: {
      runs: (node, namespace, serviceAccount) => places.has(`${node} ${namespace} ${serviceAccount}`),
      admits: (node) => admitted.has(node),
    },
  });
});

function codeOf(action: () => unknown): unknown {
  try {
    action();
    return 'signed';
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

const joinAs = (token: string, node: string, der = request) =>
  authority.join({ node, request: der, proof: proofOfToken(token, node, der, exported) }, exported);

describe('a node', () => {
  it('joins with its token and is valid for a day', () => {
    const { chain, authorities } = joinAs(authority.createJoinToken('b', HOUR), 'b');
    const verified = verifySvid(chain, { trustDomain: TRUST_DOMAIN, authorities }, NOW);
    expect(verified).toMatchObject({ spiffeId: 'spiffe://cluster.local/node/b', notAfter: NOW + 24 * HOUR });
  });

  it('does not lose its token over a bad request', () => {
    const token = authority.createJoinToken('b', HOUR);
    const forged = makeRequest({ publicKey: newKeys().publicKey, privateKey: newKeys().privateKey });
    expect(codeOf(() => joinAs(token, 'b', forged))).toBe('CA_REQUEST_FORGED');
    expect(codeOf(() => joinAs(token, 'b'))).toBe('signed');
  });

  it('renews as itself, as long as it is a node of the mesh', () => {
    const { chain } = authority.renewNode('b', request);
    expect(verifySvid(chain, authority.bundle, NOW).spiffeId).toBe('spiffe://cluster.local/node/b');
    admitted.delete('b');
    expect(codeOf(() => authority.renewNode('b', request))).toBe('CA_NODE_REFUSED');
    expect(codeOf(() => authority.signWorkload('b', WEB, request))).toBe('CA_NODE_REFUSED');
  });
});

describe("a workload's certificate", () => {
  it('is given to the node that it runs on, for an hour', () => {
    const { chain } = authority.signWorkload('b', WEB, request);
    expect(verifySvid(chain, authority.bundle, NOW)).toMatchObject({
      spiffeId: 'spiffe://cluster.local/ns/shop/sa/web',
      notAfter: NOW + HOUR,
    });
  });

  it('is not given to another node, nor once the workload has moved', () => {
    expect(codeOf(() => authority.signWorkload('c', WEB, request))).toBe('CA_WORKLOAD_ELSEWHERE');
    places = new Set(['c shop web']);
    expect(codeOf(() => authority.signWorkload('b', WEB, request))).toBe('CA_WORKLOAD_ELSEWHERE');
    expect(codeOf(() => authority.signWorkload('c', WEB, request))).toBe('signed');
  });

  it('is not given for names that would make it another ID', () => {
    const names = ['web/../../../node/a', 'web?x', '', '..', 'a b'];
    places = new Set(names.map((name) => `b shop ${name}`));
    for (const serviceAccount of names)
      expect(codeOf(() => authority.signWorkload('b', { namespace: 'shop', serviceAccount }, request))).toBe(
        'CA_WORKLOAD_ELSEWHERE',
      );
  });

  it('has nothing of the request in it but its key', () => {
    const [leaf] = authority.signWorkload('b', WEB, GREEDY).chain;
    const { uris, isCa } = readCertificate(leaf as X509Certificate);
    expect(uris).toEqual(['spiffe://cluster.local/ns/shop/sa/web']);
    expect(isCa).toBe(false);
    expect(leaf?.subject).toBe('O=Sidestep');
    expect(leaf?.publicKey.equals(readRequest(GREEDY))).toBe(true);
  });
});

describe('the authority', () => {
  it('shows itself with a certificate of its own, never with its key', () => {
    const svid = authority.newServerSvid();
    expect(verifySvid(svid.chain, authority.bundle, NOW).spiffeId).toBe('spiffe://cluster.local/ca');
    expect(authority.bundle.authorities[0]?.checkPrivateKey(svid.privateKey)).toBe(false);
  });

  it('gives its bundle with everything it signs, both keys during a change', () => {
    authority.rotation.stage();
    const { chain, authorities } = authority.signWorkload('b', WEB, request);
    expect(authorities).toHaveLength(2);
    authority.rotation.promote();
    const later = authority.signWorkload('b', WEB, request);
    for (const each of [chain, later.chain])
      expect(codeOf(() => verifySvid(each, { trustDomain: TRUST_DOMAIN, authorities }, NOW))).toBe('signed');
    authority.rotation.retire();
    expect(new X509Certificate(authority.bundlePem).serialNumber).toBe(later.authorities[0]?.serialNumber);
  });
});
