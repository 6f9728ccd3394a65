import { expect, test } from 'vitest';
import { idOf } from './fakes.ts';
import { MAX_FRAME_BYTES } from './frames.ts';
import { decodeMessage, encodeMessage, type Message } from './messages.ts';
import { Outbox } from './outbox.ts';

test('whatever there is fits into frames, in order, and is said once', () => {
  const sent: Message[] = [];
  const outbox = new Outbox(new Uint8Array(32), (message) => sent.push(message));
  const names = Array.from({ length: 5000 }, (_, i) => idOf(`a-service-account-${i}`));
  outbox.wanted.push(...names);
  outbox.withdrawn.push(...names.map((identity) => ({ identity, code: 'AUTH_IDENTITY_WITHDRAWN' })));
  const certificate = new Uint8Array(8000);
  for (const identity of names.slice(0, 20))
    outbox.proofs.push({
      identity,
      serial: '01',
      chain: [certificate, certificate],
      expires: 1,
      signature: new Uint8Array(512),
    });
  outbox.accepted.push({ identity: 'x', serial: '01' });
  outbox.flush();
  for (const message of sent) {
    const bytes = encodeMessage(message);
    expect(bytes.length).toBeLessThanOrEqual(MAX_FRAME_BYTES);
    expect(decodeMessage(bytes).kind).toBe(message.kind);
  }
  expect(sent.flatMap((message) => (message.kind === 'want' ? message.identities : []))).toEqual(names);
  const kinds = sent.map(({ kind }) => kind).filter((kind, index, all) => kind !== all[index - 1]);
  expect(kinds).toEqual(['withdraw', 'accepted', 'prove', 'want']);
  const before = sent.length;
  outbox.flush();
  expect(sent.length).toBe(before);
});
