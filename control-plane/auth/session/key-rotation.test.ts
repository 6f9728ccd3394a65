/** Which step may come when, and that both ends mean the same two keys. */
import { beforeEach, describe, expect, test } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import { settle } from '../../model/fake-clock.ts';
import { failureOf } from './fakes.ts';
import { KeyRotation, type RotationPorts } from './key-rotation.ts';

const KEPT_MS = 10_000;
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const [FIRST, SECOND, PEERS, PEERS_NEXT] = [key(1), key(2), key(3), key(4)];

let events: string[];
let over: AbortController;
let now: number;
let isBusy: boolean;
let refusal: SidestepError | undefined;
let commits: (() => void)[];
let rotation: KeyRotation;

beforeEach(() => {
  events = [];
  commits = [];
  over = new AbortController();
  now = 1_000_000;
  isBusy = false;
  refusal = undefined;
  const ports: RotationPorts = {
    peer: 'peer',
    over: over.signal,
    now: () => now,
    keptMs: KEPT_MS,
    send: (step, of) => events.push(`${step} ${of[0]}`),
    isBusy: () => isBusy,
    claim: () => refusal,
    prepare: async () => {
      events.push(`prepare ${rotation.ours[0]} ${rotation.theirs[0]}`);
    },
    commit: () => {
      events.push(`commit ${rotation.ours[0]} ${rotation.theirs[0]}`);
      return new Promise((resolve) => commits.push(resolve));
    },
  };
  rotation = new KeyRotation(ports);
  rotation.begin(FIRST, PEERS);
});

describe('the node that gets another key', () => {
  test('asks first, and has its preshared key in place before the other end can begin a handshake', async () => {
    const asked = rotation.announce(SECOND);
    expect(events).toEqual(['NEXT 2']);
    expect(rotation.ours).toBe(FIRST);
    expect(await rotation.receive({ kind: 'rotate', step: 'KNOWN', key: SECOND })).toBe(false);
    await asked;
    expect(rotation.isPending).toBe(true);
    const used = rotation.use(SECOND);
    await settle();
    expect(events).toEqual(['NEXT 2', 'prepare 2 3', 'SWITCHED 2', 'commit 2 3']);
    expect(rotation.isPending).toBe(true);
    commits[0]?.();
    await used;
    expect(rotation.isPending).toBe(false);
    expect(rotation.ours).toBe(SECOND);
  });

  test('has changed nothing when the other end is busy, and may ask again', async () => {
    const asked = failureOf(rotation.announce(SECOND));
    await rotation.receive({ kind: 'rotate', step: 'BUSY', key: SECOND });
    expect((await asked).code).toBe('AUTH_KEY_BUSY');
    expect([rotation.isPending, rotation.ours]).toEqual([false, FIRST]);
    const again = rotation.announce(SECOND);
    await rotation.receive({ kind: 'rotate', step: 'KNOWN', key: SECOND });
    await again;
  });

  test('tells the other end that it keeps its key, answered or not', async () => {
    const answered = rotation.announce(SECOND);
    await rotation.receive({ kind: 'rotate', step: 'KNOWN', key: SECOND });
    await answered;
    rotation.drop();
    const waiting = failureOf(rotation.announce(SECOND));
    rotation.drop();
    expect((await waiting).code).toBe('AUTH_KEY_BUSY');
    expect(events).toEqual(['NEXT 2', 'DROPPED 2', 'NEXT 2', 'DROPPED 2']);
    rotation.drop();
    expect(events).toHaveLength(4);
    expect(rotation.isPending).toBe(false);
  });

  test.each(['KNOWN', 'BUSY'] as const)(
    'takes no harm from a %s that comes too late or is of another key',
    async (step) => {
      await rotation.receive({ kind: 'rotate', step, key: SECOND });
      const asked = rotation.announce(SECOND);
      await rotation.receive({ kind: 'rotate', step, key: PEERS_NEXT });
      let answered = false;
      void asked.then(() => {
        answered = true;
      });
      await settle();
      expect(answered).toBe(false);
      await rotation.receive({ kind: 'rotate', step: 'KNOWN', key: SECOND });
      await asked;
    },
  );

  test('hears that the session has ended, before and while it asks', async () => {
    const asked = failureOf(rotation.announce(SECOND));
    over.abort();
    expect((await asked).code).toBe('AUTH_NO_SESSION');
    expect((await failureOf(rotation.announce(SECOND))).code).toBe('AUTH_NO_SESSION');
    expect([rotation.isPending, events]).toEqual([false, ['NEXT 2']]);
  });
});

describe('the other end', () => {
  const next = () => rotation.receive({ kind: 'rotate', step: 'NEXT', key: PEERS_NEXT });

  test('says that it knows, changes nothing until the key is in use, and then waits until packets go through', async () => {
    await next();
    expect([events, rotation.theirs]).toEqual([['KNOWN 4'], PEERS]);
    const switched = rotation.receive({ kind: 'rotate', step: 'SWITCHED', key: PEERS_NEXT });
    await settle();
    expect(events).toEqual(['KNOWN 4', 'prepare 1 4', 'commit 1 4']);
    expect(rotation.isPending).toBe(true);
    commits[0]?.();
    expect(await switched).toBe(true);
    expect([rotation.isPending, rotation.theirs]).toEqual([false, PEERS_NEXT]);
  });

  test('is busy while it asks itself, while its key is changed, and while another key is agreed upon', async () => {
    isBusy = true;
    await next();
    isBusy = false;
    const asked = rotation.announce(SECOND);
    await next();
    await rotation.receive({ kind: 'rotate', step: 'KNOWN', key: SECOND });
    await asked;
    await next();
    const used = rotation.use(SECOND);
    await settle();
    await next();
    commits[0]?.();
    await used;
    await next();
    expect(events.filter((event) => event.endsWith(' 4'))).toEqual(['BUSY 4', 'BUSY 4', 'BUSY 4', 'BUSY 4', 'KNOWN 4']);
  });

  test('asks for nothing itself until the key is in use or dropped', async () => {
    await next();
    expect((await failureOf(rotation.announce(SECOND))).code).toBe('AUTH_KEY_BUSY');
    await rotation.receive({ kind: 'rotate', step: 'DROPPED', key: SECOND });
    expect(rotation.isPending).toBe(true);
    await rotation.receive({ kind: 'rotate', step: 'DROPPED', key: PEERS_NEXT });
    expect(rotation.isPending).toBe(false);
    expect((await failureOf(rotation.receive({ kind: 'rotate', step: 'SWITCHED', key: PEERS_NEXT }))).code).toBe(
      'AUTH_PROTOCOL',
    );
  });

  test('does not wait for ever for a key that it was told of', async () => {
    await next();
    now += KEPT_MS - 1;
    expect(rotation.isPending).toBe(true);
    now += 1;
    expect(rotation.isPending).toBe(false);
  });

  test('takes no key that is another node’s', async () => {
    refusal = new SidestepError('AUTH_TUNNEL_KEY_TAKEN', 'another has it');
    expect((await failureOf(next())).code).toBe('AUTH_TUNNEL_KEY_TAKEN');
    expect([rotation.isPending, events]).toEqual([false, []]);
  });

  test('takes no key that was not spoken of, and keeps the one that it has', async () => {
    const unannounced = failureOf(rotation.receive({ kind: 'rotate', step: 'SWITCHED', key: PEERS_NEXT }));
    expect((await unannounced).code).toBe('AUTH_PROTOCOL');
    await next();
    const another = failureOf(rotation.receive({ kind: 'rotate', step: 'SWITCHED', key: SECOND }));
    expect((await another).code).toBe('AUTH_PROTOCOL');
    expect(rotation.theirs).toBe(PEERS);
  });
});
