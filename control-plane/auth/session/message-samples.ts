/** For tests: one message of each kind. */
import type { Message } from './messages.ts';

const PROOF = {
  identity: 'spiffe://cluster.local/ns/shop/sa/web',
  serial: '00AF',
  chain: [new Uint8Array([1, 2, 3])],
  expires: 1_900_000_000_000,
  signature: new Uint8Array([9]),
};
export const SAMPLES: readonly Message[] = [
  {
    kind: 'hello',
    version: 1,
    oldest: 1,
    node: 'node-a',
    boot: new Uint8Array(16).fill(1),
    ordinal: 4_000_000_000,
    key: new Uint8Array(32).fill(2),
    port: 51_871,
    epoch: 0,
  },
  { kind: 'bye', code: 'AUTH_LIMIT' },
  { kind: 'ping' },
  { kind: 'key', step: 'COMMITTED', epoch: 3 },
  { kind: 'rotate', step: 'SWITCHED', key: new Uint8Array(32).fill(4) },
  { kind: 'prove', session: new Uint8Array(32).fill(3), proofs: [PROOF, { ...PROOF, serial: '01' }] },
  { kind: 'want', identities: [PROOF.identity, 'x'] },
  { kind: 'accepted', proofs: [{ identity: PROOF.identity, serial: '00AF' }] },
  { kind: 'refused', proofs: [{ identity: PROOF.identity, serial: '00AF', code: 'AUTH_PROOF_FORGED' }] },
  { kind: 'withdraw', identities: [{ identity: PROOF.identity, code: 'AUTH_SVID_MISSING' }] },
];
