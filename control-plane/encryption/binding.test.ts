/** What the device is told when a session agrees on a key: for a new peer, for one with another key, and after this node's own. */
import { beforeEach, describe, expect, test } from 'vitest';
import { type AgreedKey, TunnelBinding } from './binding.ts';
import { parseTunnelPrefix, prefixText } from './prefixes.ts';
import type { Tunnel, TunnelPeer, TunnelPeerState } from './tunnel.ts';

const OURS = 'node-b';
const PODS = ['10.1.0.1/32', '10.1.0.2/32'];
const bytes = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const agreed = (node: string, byte: number, epoch = 1): AgreedKey => ({
  node,
  publicKey: bytes(byte),
  presharedKey: bytes(byte + 100),
  epoch,
  endpoint: { address: '192.0.2.1', port: 51_871 },
});

/** A handshake is done as soon as a key is set, unless it is told otherwise. */
class MemoryTunnel implements Tunnel {
  readonly kind = 'kernel';
  readonly ifindex = 1;
  readonly name = 'swg-test';
  readonly publicKey = bytes(1);
  readonly port = 51_871;
  readonly calls: string[] = [];
  readonly there = new Map<number, TunnelPeer & { lastHandshake: number }>();
  shakesHands = true;
  /** What comes in between two looks, in bytes; the last one for ever. */
  incoming = [0];
  #received = 0;

  async ensure(): Promise<readonly string[]> {
    return [];
  }
  async setPeer(peer: TunnelPeer): Promise<void> {
    this.calls.push(`set ${peer.publicKey[0]} with ${peer.allowed.length}`);
    this.#put(peer);
  }
  async succeed(olds: readonly Uint8Array[], peer: TunnelPeer, wake: boolean): Promise<void> {
    this.calls.push(`succeed ${olds.map(([byte]) => byte)} by ${peer.publicKey[0]}${wake ? ', wake' : ''}`);
    for (const [byte = 0] of olds) {
      const old = this.there.get(byte);
      if (old) this.there.set(byte, { ...old, allowed: [] });
    }
    this.#put(peer);
  }
  async removePeer(publicKey: Uint8Array): Promise<void> {
    this.calls.push(`remove ${publicKey[0]}`);
    this.there.delete(publicKey[0] ?? 0);
  }
  async peers(): Promise<readonly TunnelPeerState[]> {
    this.calls.push('look');
    this.#received += (this.incoming.length > 1 ? this.incoming.shift() : this.incoming[0]) ?? 0;
    return [...this.there.values()].map((peer) => ({ ...peer, received: this.#received, sent: 0 }));
  }
  close(): void {}

  #put(peer: TunnelPeer): void {
    const [byte = 0] = peer.publicKey;
    const before = this.there.get(byte)?.lastHandshake ?? 0;
    this.there.set(byte, { ...peer, lastHandshake: this.shakesHands ? Date.now() : before });
  }
}

let tunnel: MemoryTunnel;
let binding: TunnelBinding;
let over: AbortController;

beforeEach(async () => {
  tunnel = new MemoryTunnel();
  over = new AbortController();
  await start();
});

/** An agent. */
async function start(): Promise<void> {
  binding = new TunnelBinding(tunnel, OURS);
  await binding.allow(new Map([['node-a', PODS.map(parseTunnelPrefix)]]));
}

async function agree(key: AgreedKey): Promise<void> {
  await binding.prepare(key);
  await binding.commit(key.node, key.epoch, over.signal);
}

const there = (): object =>
  Object.fromEntries([...tunnel.there].map(([byte, { allowed }]) => [byte, allowed.map(prefixText).join(' ')]));

describe('a key that a session has agreed on', () => {
  test('is made known in the first phase, and in use after the second', async () => {
    await agree(agreed('node-a', 2));
    expect(there()).toEqual({ 2: PODS.join(' ') });
    expect(tunnel.there.get(2)?.presharedKey).toEqual(bytes(102));
    expect(tunnel.calls.some((call) => call.startsWith('succeed') || call.startsWith('remove'))).toBe(false);
  });

  test('is not known to the device before the second phase where another has its addresses, and then gets them', async () => {
    await agree(agreed('node-a', 2));
    await binding.prepare(agreed('node-a', 3, 2));
    expect(there()).toEqual({ 2: PODS.join(' ') });
    await binding.commit('node-a', 2, over.signal);
    expect(there()).toEqual({ 3: PODS.join(' ') });
    expect(tunnel.calls).toContain('succeed 2 by 3, wake');
    expect(binding.publicKeyOf('node-a')).toEqual(bytes(3));
  });

  test.each([
    ['until nothing comes under the old one any more', [0, 0, 9, 9, 0], 5],
    ['not for ever', [1], 12],
  ])('waits with that %s', async (_, incoming, looks) => {
    await agree(agreed('node-a', 2));
    await binding.prepare(agreed('node-a', 3, 2));
    tunnel.incoming = incoming;
    tunnel.calls.length = 0;
    await binding.commit('node-a', 2, over.signal);
    expect(tunnel.calls.indexOf('succeed 2 by 3, wake')).toBe(looks);
  });

  test('takes the place of one that an earlier agent had agreed on', async () => {
    await agree(agreed('node-a', 2));
    await start();
    await agree(agreed('node-a', 3));
    expect(there()).toEqual({ 3: PODS.join(' ') });
  });

  test('of epoch 2 is not put in use where that of epoch 1 was prepared', async () => {
    await binding.prepare(agreed('node-a', 2));
    await expect(binding.commit('node-a', 2, over.signal)).rejects.toMatchObject({ code: 'AUTH_KEY_FAILED' });
  });

  test('is waited for until its session ends; the old one is gone all the same', async () => {
    await agree(agreed('node-a', 2));
    tunnel.shakesHands = false;
    await binding.prepare(agreed('node-a', 3, 2));
    const waiting = binding.commit('node-a', 2, over.signal);
    over.abort();
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
    expect(there()).toEqual({ 3: PODS.join(' ') });
  });

  test('takes along what an agent was about to remove when it was killed, and nothing that is in use', async () => {
    await agree(agreed('node-c', 5));
    await tunnel.setPeer({ ...agreed('node-a', 2), allowed: [] });
    await binding.prepare(agreed('node-d', 6));
    await agree(agreed('node-a', 3));
    expect(there()).toEqual({ 3: PODS.join(' '), 5: '', 6: '' });
  });
});

describe('after another key of this node', () => {
  test('a peer’s preshared key is told at once, and a handshake of before counts for nothing', async () => {
    await agree(agreed('node-a', 2));
    tunnel.shakesHands = false;
    const peer = tunnel.there.get(2);
    if (peer) peer.lastHandshake = Date.now() - 1000;
    binding.rotated();
    const key = { ...agreed('node-a', 2), presharedKey: bytes(7) };
    await binding.prepare(key);
    expect(tunnel.there.get(2)?.presharedKey).toEqual(bytes(7));
    let done = false;
    const waiting = binding.commit('node-a', 1, over.signal).then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(done).toBe(false);
    const now = tunnel.there.get(2);
    if (now) now.lastHandshake = Date.now();
    await waiting;
  });
});
