/** When a node's tunnel gets another key, and what becomes of it when it cannot. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { TunnelKeys } from '../encryption/keys.ts';
import { SidestepError } from '../model/error.ts';
import { settle } from '../model/fake-clock.ts';
import { TunnelRotation } from './tunnel-rotation.ts';

const AGE_MS = 1_000_000;
const SINCE = 5_000_000;

let tunnel: { publicKey: Uint8Array; keySince: number; rotate(keys: TunnelKeys): Promise<void> };
let refusals: SidestepError[];
let failures: Map<string, unknown>;
let events: string[];
let warnings: string[];
let pauses: number[];

beforeEach(() => {
  tunnel = {
    publicKey: new Uint8Array(32),
    keySince: SINCE,
    rotate: async (keys) => {
      events.push('device');
      tunnel.publicKey = keys.publicKey;
    },
  };
  refusals = [];
  failures = new Map();
  events = [];
  warnings = [];
  pauses = [];
});

function rotation({ ageMs = AGE_MS, random = 0 } = {}): TunnelRotation {
  return new TunnelRotation({
    tunnel,
    binding: { nodes: ['b', 'c'], rotated: () => events.push('bound') },
    sessions: {
      rotateKey: async (nodes, _, change) => {
        events.push(`ask ${nodes}`);
        const refusal = refusals.shift();
        if (refusal) throw refusal;
        await change();
        events.push('switch');
        return failures;
      },
    },
    announce: () => events.push('announce'),
    log: { info: () => undefined, warn: (_, message) => warnings.push(message) },
    ageMs,
    random: () => random,
    pause: async (ms) => pauses.push(ms),
  });
}

const busy = (): SidestepError => new SidestepError('AUTH_KEY_BUSY', 'not now');
const away = (): SidestepError => new SidestepError('AUTH_NO_SESSION', 'b is away');

describe('a key that grows old', () => {
  test('is replaced when its time has come, and not before', async () => {
    const due = rotation();
    due.tick(SINCE + AGE_MS - 1);
    await settle();
    expect(events).toEqual([]);
    due.tick(SINCE + AGE_MS);
    await settle();
    expect(events).toEqual(['ask b,c', 'device', 'bound', 'switch', 'announce']);
  });

  test('is replaced up to a tenth earlier, so that nodes which were set up together do not meet', async () => {
    const due = rotation({ random: 0.5 });
    due.tick(SINCE + AGE_MS * 0.95 - 1);
    await settle();
    expect(events).toEqual([]);
    due.tick(SINCE + AGE_MS * 0.95);
    await settle();
    expect(events).not.toEqual([]);
  });

  test('is never replaced by itself where that is not wanted', async () => {
    rotation({ ageMs: 0 }).tick(Number.MAX_SAFE_INTEGER);
    await settle();
    expect(events).toEqual([]);
  });

  test('stays while it cannot be replaced, which is said, and is tried again after ten minutes', async () => {
    refusals = [away()];
    const due = rotation();
    due.tick(SINCE + AGE_MS);
    await settle();
    due.tick(SINCE + AGE_MS + 599_999);
    await settle();
    expect(events).toEqual(['ask b,c']);
    expect(warnings).toEqual([expect.stringContaining('b is away')]);
    due.tick(SINCE + AGE_MS + 600_000);
    await settle();
    expect(events).toContain('announce');
  });
});

describe('asked to replace it', () => {
  test('says with whom it is in use, and with whom not yet', async () => {
    failures = new Map([['c', away()]]);
    expect(await rotation().rotate()).toEqual({
      publicKey: Buffer.from(tunnel.publicKey).toString('base64'),
      nodes: ['b'],
      failed: [{ node: 'c', message: 'b is away' }],
    });
  });

  test('twice at a time does it once', async () => {
    const one = rotation();
    const [first, second] = await Promise.all([one.rotate(), one.rotate()]);
    expect(first).toBe(second);
    expect(events.filter((event) => event === 'device')).toHaveLength(1);
    await one.rotate();
    expect(events.filter((event) => event === 'device')).toHaveLength(2);
  });

  test('steps back while neighbours replace theirs, and gives up some time', async () => {
    refusals = [busy(), busy()];
    await rotation({ random: 0.25 }).rotate();
    expect(pauses).toEqual([250, 250]);
    refusals = Array.from({ length: 100 }, busy);
    await expect(rotation().rotate()).rejects.toMatchObject({ code: 'AUTH_KEY_BUSY' });
    expect(refusals).toHaveLength(88);
  });

  test('has no second try for what is no matter of turns', async () => {
    refusals = [away()];
    await expect(rotation().rotate()).rejects.toMatchObject({ code: 'AUTH_NO_SESSION' });
    expect([events, pauses]).toEqual([['ask b,c'], []]);
  });

  test('changes nothing when the key cannot be stored', async () => {
    tunnel.rotate = () => Promise.reject(new SidestepError('STATE_UNUSABLE', 'the disk is full'));
    await expect(rotation().rotate()).rejects.toMatchObject({ code: 'STATE_UNUSABLE' });
    expect(events).toEqual(['ask b,c']);
  });

  test('goes on when it is stored and the device does not take it: there is no way back', async () => {
    tunnel.rotate = async (keys) => {
      tunnel.publicKey = keys.publicKey;
      throw new SidestepError('TUNNEL_FAILED', 'no device');
    };
    await rotation().rotate();
    expect(events).toEqual(['ask b,c', 'bound', 'switch', 'announce']);
    expect(warnings).toHaveLength(1);
  });
});
