/** A proof holds in its session, from its prover, to its verifier, for its certificate, until it expires; and nowhere else. */
import { createHmac } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import type { Svid } from '../svid.ts';
import { idOf, MemoryWhereabouts, nodeIdOf } from './fakes.ts';
import { type Binding, bindingOf, makeProof, statement, verifyProof } from './identity-proof.ts';
import type { WireProof } from './messages.ts';
import { type KeyKind, TestCa } from './test-ca.ts';

const NOW = Date.now();
const HOUR = 3_600_000;
const end = (secret: string, dialledBy: 'us' | 'them') => ({
  dialledBy,
  exporter: (label: string, context: Uint8Array) => createHmac('sha256', secret).update(label).update(context).digest(),
});

let ca: TestCa;
let web: Svid;
let whereabouts: MemoryWhereabouts;
/** As node-a, who dialled, makes it, and as node-b verifies it. */
const making = bindingOf(end('session', 'us'), 'us', 'node-a', 'node-b');
const verifying = bindingOf(end('session', 'them'), 'them', 'node-b', 'node-a');

beforeAll(async () => {
  ca = await TestCa.create();
  web = await ca.issue(idOf('web'));
  whereabouts = new MemoryWhereabouts();
  whereabouts.put('node-a', { namespace: 'shop', serviceAccount: 'web' });
});

function outcome(proof: WireProof, binding: Binding = verifying, now = NOW): string {
  try {
    verifyProof(proof, binding, { bundle: ca.bundle, whereabouts, now });
    return 'taken';
  } catch (error) {
    if (error instanceof SidestepError) return error.code;
    throw error;
  }
}

test('both ends mean the same by a proof', () => {
  expect(statement(making, idOf('web'), new Uint8Array([1]), NOW)).toEqual(
    statement(verifying, idOf('web'), new Uint8Array([1]), NOW),
  );
  expect(outcome(makeProof(web, making))).toBe('taken');
});

test.each<KeyKind>(['P-256', 'P-384', 'Ed25519', 'RSA'])('is made and verified with a key on %s', async (key) => {
  expect(outcome(makeProof(await ca.issue(idOf('web'), { key }), making))).toBe('taken');
});

test('carries its intermediates', async () => {
  const below = await (await ca.intermediate('one')).intermediate('two');
  const proof = makeProof(await below.issue(idOf('web')), making);
  expect(proof.chain.length).toBe(3);
  expect(outcome(proof)).toBe('taken');
});

test('expires with its certificate or when it says, whichever comes first', async () => {
  const soon = await ca.issue(idOf('web'), { notAfter: NOW + 60_000 });
  const view = { bundle: ca.bundle, whereabouts, now: NOW };
  const proof = makeProof(soon, making);
  expect(verifyProof(proof, verifying, view).expires).toBe(soon.notAfter);
  // Signed for longer than its certificate.
  const longer = makeProof({ ...soon, notAfter: NOW + HOUR }, making);
  expect(longer.expires).toBe(NOW + HOUR);
  expect(verifyProof(longer, verifying, view).expires).toBe(soon.notAfter);
  const shorter = makeProof({ ...web, notAfter: NOW + 1000 }, making);
  expect(verifyProof(shorter, verifying, view).expires).toBe(NOW + 1000);
});

describe('is refused', () => {
  test('with the certificate of another key', async () => {
    const other = await ca.issue(idOf('web'));
    expect(outcome(makeProof({ ...web, privateKey: other.privateKey }, making))).toBe('AUTH_PROOF_FORGED');
  });

  test('with a signature that was changed, or none worth the name', () => {
    const proof = makeProof(web, making);
    const signature = Uint8Array.from(proof.signature);
    signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1;
    expect(outcome({ ...proof, signature })).toBe('AUTH_PROOF_FORGED');
    expect(outcome({ ...proof, signature: new Uint8Array(1) })).toBe('AUTH_PROOF_FORGED');
  });

  test.each<readonly [string, Binding]>([
    ['in another session', bindingOf(end('another', 'them'), 'them', 'node-b', 'node-a')],
    ['from the other side of the same session', bindingOf(end('session', 'us'), 'them', 'node-b', 'node-a')],
    ['to another node', bindingOf(end('session', 'them'), 'them', 'node-c', 'node-a')],
  ])('%s', (_, binding) => {
    expect(outcome(makeProof(web, making), binding)).toBe('AUTH_PROOF_FORGED');
  });

  test('from another node that runs the identity, too', () => {
    whereabouts.put('node-c', { namespace: 'shop', serviceAccount: 'web' });
    expect(outcome(makeProof(web, making), { ...verifying, prover: 'node-c' })).toBe('AUTH_PROOF_FORGED');
  });

  test('when the other side plays it back', () => {
    whereabouts.put('node-b', { namespace: 'shop', serviceAccount: 'web' });
    const back = bindingOf(end('session', 'us'), 'them', 'node-a', 'node-b');
    expect(outcome(makeProof(web, making), back)).toBe('AUTH_PROOF_FORGED');
  });

  test('with another expiry than was signed', () => {
    const proof = makeProof(web, making);
    expect(outcome({ ...proof, expires: proof.expires + 1 })).toBe('AUTH_PROOF_FORGED');
  });

  test('when it has expired, by what it says and by its certificate', async () => {
    const proof = makeProof(web, making);
    expect(outcome(proof, verifying, web.notAfter)).toBe('AUTH_PROOF_EXPIRED');
    const old = await ca.issue(idOf('web'), { notAfter: NOW - 1000 });
    expect(outcome(makeProof({ ...old, notAfter: NOW + HOUR }, making))).toBe('SVID_EXPIRED');
  });

  test('under another name than its certificate has', async () => {
    whereabouts.put('node-a', { namespace: 'shop', serviceAccount: 'db' });
    const proof = makeProof(web, making);
    expect(outcome({ ...proof, identity: idOf('db') })).toBe('AUTH_PROOF_MISNAMED');
    expect(outcome({ ...proof, serial: '0F' })).toBe('AUTH_PROOF_MISNAMED');
  });

  test('for an identity that runs elsewhere, with the right certificate and key', async () => {
    whereabouts.put('node-b', { namespace: 'shop', serviceAccount: 'db' });
    whereabouts.take('node-a', { namespace: 'shop', serviceAccount: 'db' });
    expect(outcome(makeProof(await ca.issue(idOf('db')), making))).toBe('AUTH_IDENTITY_ELSEWHERE');
  });

  test('of another trust domain, by its name and by its authority', async () => {
    const other = await TestCa.create('elsewhere.test');
    const foreign = await other.issue('spiffe://elsewhere.test/ns/shop/sa/web');
    expect(outcome(makeProof(foreign, making))).toBe('AUTH_NOT_A_WORKLOAD');
    expect(outcome({ ...makeProof(foreign, making), identity: idOf('web') })).toBe('SVID_OTHER_TRUST_DOMAIN');
    const pretender = await TestCa.create('cluster.local', 'pretender');
    expect(outcome(makeProof(await pretender.issue(idOf('web')), making))).toBe('SVID_AUTHORITY_UNKNOWN');
  });

  test('for a node, or for anything else', async () => {
    expect(outcome(makeProof(await ca.issue(nodeIdOf('node-a')), making))).toBe('AUTH_NOT_A_WORKLOAD');
    expect(outcome(makeProof(await ca.issue('spiffe://cluster.local/x'), making))).toBe('AUTH_NOT_A_WORKLOAD');
  });

  test('without certificates that can be read', () => {
    expect(outcome({ ...makeProof(web, making), chain: [new Uint8Array([1, 2])] })).toBe('AUTH_PROOF_MALFORMED');
  });
});

test('is not made with what does not fit into a frame', async () => {
  const long = { ...web, chain: Array.from({ length: 9 }, () => web.chain[0]).filter((each) => each !== undefined) };
  expect(() => makeProof(long, making)).toThrow(expect.objectContaining({ code: 'AUTH_SVID_UNUSABLE' }));
});
