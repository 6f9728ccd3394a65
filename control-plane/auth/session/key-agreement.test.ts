/** Which step may come when, and what the sink hears. */
import { beforeEach, describe, expect, test } from 'vitest';
import { RecordingSink } from './fakes.ts';
import { KeyAgreement, type KeyStep } from './key-agreement.ts';

let sink: RecordingSink;
let sent: string[];
let agreed: number[];

function agreement(weAreLower: boolean, last = 4): KeyAgreement {
  let highest = last;
  sink = new RecordingSink();
  sent = [];
  agreed = [];
  return new KeyAgreement({
    weAreLower,
    peer: 'peer',
    sink,
    keyOf: (epoch) => ({
      node: 'peer',
      publicKey: new Uint8Array(32),
      presharedKey: new Uint8Array(32),
      epoch,
      endpoint: { address: '192.0.2.1', port: 51_871 },
    }),
    lastEpoch: () => highest,
    used: (epoch) => {
      highest = Math.max(highest, epoch);
    },
    send: (step, epoch) => sent.push(`${step} ${epoch}`),
    over: new AbortController().signal,
    began: () => undefined,
    agreed: (epoch) => agreed.push(epoch),
  });
}

const heard = () => sink.events.map((event) => event.kind);

describe('the lower node', () => {
  let keys: KeyAgreement;
  beforeEach(async () => {
    keys = agreement(true);
    await keys.propose();
  });

  test('proposes the next epoch, commits when the other has it, and is done when both have', async () => {
    expect(sent).toEqual(['PREPARE 5']);
    expect(heard()).toEqual(['prepareKey']);
    await keys.receive('PREPARED', 5);
    expect(sent).toEqual(['PREPARE 5', 'COMMIT 5', 'COMMITTED 5']);
    expect(agreed).toEqual([]);
    await keys.receive('COMMITTED', 5);
    expect(agreed).toEqual([5]);
    await keys.propose();
    expect(sent.at(-1)).toBe('PREPARE 6');
  });

  test.each<readonly [KeyStep, number]>([
    ['PREPARE', 5],
    ['PREPARE', 6],
    ['PREPARED', 4],
    ['PREPARED', 6],
    ['COMMIT', 5],
    ['COMMITTED', 4],
  ])('takes no %s of %d', async (step, epoch) => {
    await expect(keys.receive(step, epoch)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
    expect(heard()).toEqual(['prepareKey']);
  });

  test('commits once', async () => {
    await keys.receive('PREPARED', 5);
    await expect(keys.receive('PREPARED', 5)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
    await keys.receive('COMMITTED', 5);
    await expect(keys.receive('COMMITTED', 5)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
  });
});

describe('the higher node', () => {
  let keys: KeyAgreement;
  beforeEach(() => {
    keys = agreement(false);
  });

  test('answers each step when it is done', async () => {
    await keys.receive('PREPARE', 5);
    expect(sent).toEqual(['PREPARED 5']);
    await keys.receive('COMMIT', 5);
    expect(sent).toEqual(['PREPARED 5', 'COMMITTED 5']);
    await keys.receive('COMMITTED', 5);
    expect(agreed).toEqual([5]);
    expect(heard()).toEqual(['prepareKey', 'commitKey']);
  });

  test('takes no epoch that was there before', async () => {
    await expect(keys.receive('PREPARE', 4)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
    expect(heard()).toEqual([]);
  });

  test.each<readonly [KeyStep, number]>([
    ['PREPARED', 5],
    ['COMMIT', 5],
    ['COMMITTED', 5],
  ])('takes no %s before there is a key', async (step, epoch) => {
    await expect(keys.receive(step, epoch)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
    expect(heard()).toEqual([]);
  });

  test('takes no second PREPARE while it has one, and no COMMIT of another', async () => {
    await keys.receive('PREPARE', 5);
    await expect(keys.receive('PREPARE', 6)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
    await expect(keys.receive('COMMIT', 6)).rejects.toMatchObject({ code: 'AUTH_PROTOCOL' });
    expect(heard()).toEqual(['prepareKey']);
  });
});

test('there is a last epoch', async () => {
  await expect(agreement(true, 2 ** 32 - 1).propose()).rejects.toMatchObject({ code: 'AUTH_LIMIT' });
});
