import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import type { ErrorCode } from '../../model/error-codes.ts';
import { settle } from '../../model/fake-clock.ts';
import { account, failureOf, hello, idOf, nodeIdOf, Puppet } from './fakes.ts';
import type { Message, MessageKind } from './messages.ts';
import { TestCa } from './test-ca.ts';
import { MemoryWorld, need, type TestNode } from './test-world.ts';

let ca: TestCa;
let world: MemoryWorld;
let a: TestNode;
let b: TestNode;

beforeAll(async () => {
  ca = await TestCa.create();
});

beforeEach(() => build());
afterEach(() => world.close());

async function build(options: ConstructorParameters<typeof MemoryWorld>[1] = {}): Promise<void> {
  world = new MemoryWorld(ca, options);
  a = await world.add('node-a', ['web', 'api']);
  b = await world.add('node-b', ['db', 'cache']);
  await world.start();
}

function sent(kind: MessageKind, from?: TestNode): Message[] {
  return world.network.sent
    .filter((each) => each.message.kind === kind && (from === undefined || each.from === from.name))
    .map(({ message }) => message);
}

function proofsSent(from?: TestNode): string[] {
  return sent('prove', from).flatMap((message) =>
    message.kind === 'prove' ? message.proofs.map(({ identity }) => identity) : [],
  );
}

async function rebuild(options: ConstructorParameters<typeof MemoryWorld>[1]): Promise<void> {
  await world.close();
  await build(options);
}

/** While time passes. */
async function meanwhile<T>(ms: number, promise: Promise<T>): Promise<T> {
  await world.clock.advance(ms);
  return await promise;
}

const demand = (node: TestNode, peer: TestNode, ours: string, theirs: string) =>
  node.sessions.demand(peer.name, account(ours), account(theirs));
const stateOf = (node: TestNode) => node.sessions.peers()[0]?.state;
const has = (node: TestNode, side: 'ours' | 'theirs', peer: TestNode, name: string) =>
  node.sink[side].has(`${peer.name} ${idOf(name)}`);

describe('a pair that a packet waits for', () => {
  test('is proven at both ends when the demand resolves', async () => {
    await demand(a, b, 'web', 'db');
    expect(has(a, 'ours', b, 'web')).toBe(true);
    expect(has(a, 'theirs', b, 'db')).toBe(true);
    // The other end has written both before its last message left.
    expect(has(b, 'theirs', a, 'web')).toBe(true);
    expect(has(b, 'ours', a, 'db')).toBe(true);
  });

  test('is written before the answer leaves, at the end that answers', async () => {
    const written: string[] = [];
    b.sink.before = () => settle();
    world.network.fate = (message, from) => {
      if (from === b.name && message.kind === 'accepted') written.push(`accepted ${has(b, 'theirs', a, 'web')}`);
      if (from === b.name && message.kind === 'prove') written.push(`prove ${has(b, 'ours', a, 'db')}`);
      return 'deliver';
    };
    await demand(a, b, 'web', 'db');
    expect(written).toEqual(['accepted true', 'prove true']);
  });

  test('may be demanded by either node, and by both at once', async () => {
    await Promise.all([demand(a, b, 'web', 'db'), demand(b, a, 'db', 'web')]);
    expect(has(b, 'ours', a, 'db') && has(a, 'ours', b, 'web')).toBe(true);
    await demand(b, a, 'cache', 'api');
    expect(has(b, 'theirs', a, 'api')).toBe(true);
    expect(a.sessions.counters.handshakes.ok).toBe(1);
  });

  test('is asked for once, however many packets wait', async () => {
    const first = demand(a, b, 'web', 'db');
    expect(demand(a, b, 'web', 'db')).toBe(first);
    await first;
    await demand(a, b, 'web', 'db');
    expect(proofsSent().sort()).toEqual([idOf('db'), idOf('web')]);
  });

  test('costs nothing where its identities are proven in other pairs', async () => {
    await demand(a, b, 'web', 'db');
    await demand(a, b, 'api', 'cache');
    const before = world.network.sent.length;
    await demand(a, b, 'web', 'cache');
    await demand(a, b, 'api', 'db');
    expect(world.network.sent.length).toBe(before);
  });

  test('of a node that nobody knows', async () => {
    const failure = await failureOf(a.sessions.demand('node-x', account('web'), account('db')));
    expect(failure.code).toBe('AUTH_NODE_UNKNOWN');
  });

  test('of which this node has no certificate, with the words of the source', async () => {
    a.source.trouble.set(idOf('none'), new SidestepError('AUTH_UNREACHABLE', 'the authority is away'));
    const failure = await meanwhile(5000, failureOf(demand(a, b, 'none', 'db')));
    expect(failure).toMatchObject({ code: 'AUTH_SVID_MISSING', message: expect.stringContaining('authority is away') });
  });

  test('whose certificate comes while it waits', async () => {
    const waiting = demand(a, b, 'late', 'db');
    await world.clock.advance(1000);
    world.whereabouts.put(a.name, account('late'));
    a.source.workloads.set(idOf('late'), await ca.issue(idOf('late')));
    a.source.changed();
    await waiting;
    expect(has(b, 'theirs', a, 'late')).toBe(true);
  });

  test('of a node that cannot be reached: why, when time is up', async () => {
    world.network.leave(b.name);
    const failure = await meanwhile(5000, failureOf(demand(a, b, 'web', 'db')));
    expect(failure).toMatchObject({ code: 'AUTH_NO_SESSION', message: expect.stringContaining('AUTH_UNREACHABLE') });
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_UNREACHABLE');
  });

  test('that the other node refuses: at once, with its reason', async () => {
    // The other node's bundle has another authority for workloads' certificates than this one was issued by.
    const other = await TestCa.create();
    a.source.workloads.set(idOf('web'), await other.issue(idOf('web')));
    const failure = await failureOf(demand(a, b, 'web', 'db'));
    expect(failure).toMatchObject({ code: 'AUTH_REFUSED_BY_PEER', message: expect.stringContaining('SVID_') });
    expect(has(a, 'ours', b, 'web')).toBe(false);
  });

  /** One of each node's, from an authority that the other does not trust. @returns proofs sent by then */
  async function refusedOnce(): Promise<number> {
    const other = await TestCa.create();
    a.source.workloads.set(idOf('web'), await other.issue(idOf('web')));
    b.source.workloads.set(idOf('cache'), await other.issue(idOf('cache')));
    await failureOf(demand(a, b, 'web', 'db'));
    await failureOf(demand(a, b, 'api', 'cache'));
    return proofsSent().length;
  }

  test('that was refused a moment ago is not tried again, and later it is', async () => {
    const before = await refusedOnce();
    expect((await failureOf(demand(a, b, 'web', 'db'))).code).toBe('AUTH_REFUSED_BY_PEER');
    expect((await failureOf(demand(a, b, 'api', 'cache'))).code).toBe('SVID_SIGNATURE_INVALID');
    expect(proofsSent().length).toBe(before);
    await world.clock.advance(1000);
    await failureOf(demand(a, b, 'web', 'db'));
    await failureOf(demand(a, b, 'api', 'cache'));
    await world.quiesce();
    expect(proofsSent().length).toBe(before + 2);
  });

  test('that was refused before the clock was set back is tried again', async () => {
    const before = await refusedOnce();
    world.clock.set(-60_000);
    await failureOf(demand(a, b, 'web', 'db'));
    await failureOf(demand(a, b, 'api', 'cache'));
    await world.quiesce();
    expect(proofsSent().length).toBe(before + 2);
  });

  test('whose proof this node refuses: with the reason', async () => {
    const other = await TestCa.create();
    b.source.workloads.set(idOf('db'), await other.issue(idOf('db')));
    expect((await failureOf(demand(a, b, 'web', 'db'))).code).toBe('SVID_SIGNATURE_INVALID');
    // Written ahead of the answer, and taken back.
    await world.quiesce();
    expect(b.sink.count('accepted')).toBe(1);
    expect(has(b, 'ours', a, 'db')).toBe(false);
  });

  test('whose pod the other node does not know yet: proven as soon as it does', async () => {
    world.whereabouts.take(a.name, account('web'));
    const waiting = demand(a, b, 'web', 'db');
    await world.quiesce();
    world.whereabouts.put(a.name, account('web'));
    b.sessions.recheck();
    await waiting;
    expect(has(b, 'theirs', a, 'web')).toBe(true);
  });

  test('that nobody answers for', async () => {
    b.sink.before = (kind) => (kind === 'proven' ? new Promise(() => undefined) : Promise.resolve());
    const failure = await meanwhile(5000, failureOf(demand(a, b, 'web', 'db')));
    expect(failure.code).toBe('AUTH_DEMAND_TIMEOUT');
  });

  test('is one of so many at most', async () => {
    await rebuild({ limits: { demands: 2 } });
    world.network.leave(b.name);
    const waiting = ['u', 'v', 'w'].map((ours) => failureOf(demand(a, b, ours, 'db')));
    expect((await waiting[2])?.code).toBe('AUTH_LIMIT');
    await meanwhile(5000, Promise.all(waiting));
  });
});

describe('what is wanted ahead of traffic', () => {
  test('is proven by both, each identity once, in few frames', async () => {
    const ours = Array.from({ length: 100 }, (_, i) => `our-${i}`);
    const theirs = Array.from({ length: 100 }, (_, i) => `their-${i}`);
    await world.close();
    world = new MemoryWorld(ca);
    a = await world.add('node-a', ours);
    b = await world.add('node-b', theirs);
    await world.start();
    a.sessions.want([need('node-b', ours, theirs)]);
    b.sessions.want([need('node-a', theirs, ours)]);
    await world.clock.advance(100);
    await world.quiesce();
    expect(a.sink.theirs.size + a.sink.ours.size + b.sink.theirs.size + b.sink.ours.size).toBe(400);
    expect(proofsSent().length).toBe(200);
    expect(world.network.sent.length).toBeLessThan(40);
    expect(a.sessions.counters.proofs).toMatchObject({ made: 100, verified: 100 });
    await demand(a, b, 'our-7', 'their-93');
    expect(proofsSent().length).toBe(200);
  });

  test('is proven when only one of both wants it', async () => {
    b.sessions.want([need('node-a', ['db'], ['web'])]);
    // The lower node has a head start to dial, and does not use it.
    await world.clock.advance(1000);
    await world.quiesce();
    expect(has(a, 'theirs', b, 'db') && has(b, 'theirs', a, 'web')).toBe(true);
    expect(b.sessions.peers()[0]?.dialledBy).toBe('us');
  });

  test('counts also for a node that comes later', async () => {
    a.sessions.want([need('node-c', ['web'], ['job'])]);
    const c = await world.add('node-c', ['job']);
    await c.sessions.start();
    world.introduce();
    await world.quiesce();
    expect(has(a, 'theirs', c, 'job')).toBe(true);
    await c.sessions.close();
  });

  test('may be a tunnel only: a session without any identity', async () => {
    a.sessions.want([need('node-b', [], [])]);
    await world.quiesce();
    expect(a.sessions.peers()[0]).toMatchObject({ state: 'open' });
    expect(a.sink.committed.has('node-b') && b.sink.committed.has('node-a')).toBe(true);
    expect(proofsSent()).toEqual([]);
  });

  test('may be other things later', async () => {
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.quiesce();
    a.sessions.want([need('node-b', ['web', 'api'], ['db'])]);
    await world.quiesce();
    expect(proofsSent().sort()).toEqual([idOf('api'), idOf('db'), idOf('web')]);
  });
});

describe('the tunnel key', () => {
  test('is the same at both ends, prepared at both before either commits, and there before any proof', async () => {
    const order: string[] = [];
    for (const node of [a, b])
      node.sink.before = async (kind) => {
        order.push(`${node.name} ${kind}`);
      };
    await demand(a, b, 'web', 'db');
    const ours = a.sink.committed.get('node-b');
    const theirs = b.sink.committed.get('node-a');
    expect(ours?.presharedKey).toEqual(theirs?.presharedKey);
    expect([...(ours?.publicKey ?? [])]).toEqual([...b.tunnel.publicKey]);
    expect(ours?.endpoint).toEqual({ address: '192.0.2.1', port: 51_871 });
    const firstOf = (kind: string) => order.findIndex((each) => each.endsWith(kind));
    const lastOf = (kind: string) => order.findLastIndex((each) => each.endsWith(kind));
    expect(lastOf('prepareKey')).toBeLessThan(firstOf('commitKey'));
    expect(lastOf('commitKey')).toBeLessThan(firstOf('proven'));
    expect(lastOf('commitKey')).toBeLessThan(firstOf('accepted'));
  });

  test('is another one after its time, and the session goes on', async () => {
    await rebuild({ times: { rekeyMs: 600_000 } });
    await demand(a, b, 'web', 'db');
    const first = a.sink.committed.get('node-b');
    await world.clock.advance(599_000);
    expect(a.sink.committed.get('node-b')).toBe(first);
    await world.clock.advance(2000);
    await world.quiesce();
    const second = a.sink.committed.get('node-b');
    expect(second?.epoch).toBe(2);
    expect(second?.presharedKey).not.toEqual(first?.presharedKey);
    expect(second?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
    expect(a.sessions.counters.handshakes.ok).toBe(1);
    expect(a.sessions.peers()[0]?.epoch).toBe(2);
  });

  test.each(['prepareKey', 'commitKey'] as const)(
    'stays the old one when %s fails, and is tried again',
    async (step) => {
      await demand(a, b, 'web', 'db');
      b.sink.before = (kind) => (kind === step ? Promise.reject(new Error('no device')) : Promise.resolve());
      a.sessions.rekey();
      await world.quiesce();
      expect(b.sink.committed.get('node-a')?.epoch).toBe(1);
      expect(b.sessions.peers()[0]?.lastError).toMatchObject({
        code: 'AUTH_KEY_FAILED',
        text: expect.stringContaining('no device'),
      });
      // What was proven stands.
      expect(has(a, 'theirs', b, 'db') && has(b, 'theirs', a, 'web')).toBe(true);
      b.sink.before = () => Promise.resolve();
      await world.clock.advance(1000);
      await world.quiesce();
      expect(a.sink.committed.get('node-b')?.epoch).toBeGreaterThan(2);
      expect(a.sink.committed.get('node-b')?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
    },
  );

  test('is given up after 10 s, and the sink hears it', async () => {
    let heard = false;
    b.sink.before = (kind, over) => {
      if (kind !== 'commitKey') return Promise.resolve();
      return new Promise((_, reject) =>
        over?.addEventListener('abort', () => {
          heard = true;
          reject(new Error('over'));
        }),
      );
    };
    const failure = failureOf(demand(a, b, 'web', 'db'));
    await world.quiesce();
    await world.clock.advance(11_000);
    expect((await failure).code).toBe('AUTH_NO_SESSION');
    expect(heard).toBe(true);
    // Whoever notices first tells the other.
    const codes = [a, b].map((node) => node.sessions.peers()[0]?.lastError?.code);
    expect(codes).toContain('AUTH_KEY_TIMEOUT');
  });

  test('never has the number of an earlier one, also when one end has forgotten them', async () => {
    await demand(a, b, 'web', 'db');
    a.sessions.rekey();
    await world.quiesce();
    await b.restart();
    world.introduce();
    await world.clock.advance(2000);
    await world.quiesce();
    expect(b.sink.committed.get('node-a')?.epoch).toBe(3);
    await a.restart();
    world.introduce();
    b.sessions.want([need('node-a', ['db'], ['web'])]);
    await world.clock.advance(2000);
    await world.quiesce();
    expect(a.sink.committed.get('node-b')?.epoch).toBe(4);
  });

  test('is of a new session when this node has another public key', async () => {
    await demand(a, b, 'web', 'db');
    b.tunnel.publicKey = new Uint8Array(32).fill(9);
    b.sessions.rekey();
    await world.clock.advance(2000);
    await world.quiesce();
    expect([...(a.sink.committed.get('node-b')?.publicKey ?? [])]).toEqual([...b.tunnel.publicKey]);
    expect(a.sink.committed.get('node-b')?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
  });
});

describe('what is proven ends', () => {
  beforeEach(async () => {
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    b.sessions.want([need('node-a', ['db'], ['web'])]);
    await demand(a, b, 'web', 'db');
  });

  test('when its certificate is taken away, at both ends', async () => {
    a.source.workloads.delete(idOf('web'));
    a.source.changed();
    await world.quiesce();
    expect(a.sink.events.at(-1)).toMatchObject({ kind: 'withdrawn', cause: 'AUTH_SVID_MISSING' });
    expect(b.sink.events.at(-1)).toMatchObject({ kind: 'withdrawn', cause: 'AUTH_IDENTITY_WITHDRAWN' });
    expect(has(a, 'ours', b, 'web') || has(b, 'theirs', a, 'web')).toBe(false);
    expect(has(a, 'theirs', b, 'db')).toBe(true);
  });

  test('also when there was no session to say so: then in the next', async () => {
    world.network.cut();
    a.source.workloads.delete(idOf('web'));
    a.source.changed();
    expect(has(a, 'ours', b, 'web')).toBe(false);
    expect(has(b, 'theirs', a, 'web')).toBe(true);
    await world.clock.advance(2000);
    await world.quiesce();
    expect(has(b, 'theirs', a, 'web')).toBe(false);
    expect(b.sink.events).toContainEqual(expect.objectContaining({ cause: 'AUTH_IDENTITY_WITHDRAWN' }));
  });

  test('not when it was gone only while there was no session', async () => {
    const svid = a.source.workloads.get(idOf('web'));
    world.network.cut();
    a.source.workloads.delete(idOf('web'));
    a.source.changed();
    if (svid) a.source.workloads.set(idOf('web'), svid);
    a.source.changed();
    await world.pass(2000);
    expect(has(a, 'ours', b, 'web')).toBe(true);
    expect(b.sink.count('withdrawn')).toBe(0);
  });

  test('not because an agent that has just started has no certificates yet', async () => {
    const svid = a.source.workloads.get(idOf('web'));
    a.source.workloads.delete(idOf('web'));
    await a.restart();
    world.introduce();
    await world.clock.advance(2000);
    await world.quiesce();
    expect(stateOf(b)).toBe('open');
    expect(has(b, 'theirs', a, 'web')).toBe(true);
    if (svid) a.source.workloads.set(idOf('web'), svid);
    a.source.changed();
    await world.quiesce();
    expect(has(a, 'ours', b, 'web')).toBe(true);
  });

  test('and begins anew when it is there again', async () => {
    const svid = a.source.workloads.get(idOf('web'));
    a.source.workloads.delete(idOf('web'));
    a.source.changed();
    await world.quiesce();
    if (svid) a.source.workloads.set(idOf('web'), svid);
    a.source.changed();
    await world.quiesce();
    expect(has(a, 'ours', b, 'web') && has(b, 'theirs', a, 'web')).toBe(true);
  });

  test('at once when no pod of it is on the node any more', async () => {
    world.whereabouts.take(b.name, account('db'));
    a.sessions.recheck();
    expect(a.sink.events.at(-1)).toMatchObject({ kind: 'withdrawn', cause: 'AUTH_IDENTITY_ELSEWHERE' });
    await world.quiesce();
    expect(has(b, 'ours', a, 'db')).toBe(false);
    const wants = sent('want', a).length;
    a.sessions.recheck();
    await world.quiesce();
    expect(sent('want', a).length).toBe(wants);
    world.whereabouts.put(b.name, account('db'));
    a.sessions.recheck();
    await world.quiesce();
    expect(has(a, 'theirs', b, 'db') && has(b, 'ours', a, 'db')).toBe(true);
  });

  test('also when that is found out while it is written', async () => {
    await demand(a, b, 'api', 'db');
    let release: () => void = () => undefined;
    b.sink.before = (kind) =>
      kind === 'proven'
        ? new Promise((resolve) => {
            release = resolve;
          })
        : Promise.resolve();
    a.source.workloads.set(idOf('late'), await ca.issue(idOf('late')));
    world.whereabouts.put(a.name, account('late'));
    const waiting = meanwhile(5000, failureOf(demand(a, b, 'late', 'db')));
    await world.quiesce();
    world.whereabouts.take(a.name, account('late'));
    b.sessions.recheck();
    release();
    await waiting;
    expect(b.sessions.list().filter(({ spiffeId }) => spiffeId === idOf('late'))).toEqual([]);
    expect(has(a, 'ours', b, 'late')).toBe(false);
  });

  test('when the node has left: session and all proofs', async () => {
    a.sessions.setPeers([]);
    expect(a.sink.theirs.size + a.sink.ours.size).toBe(0);
    expect(a.sink.events.filter((event) => event.kind === 'withdrawn')).toMatchObject([
      { cause: 'AUTH_NODE_GONE' },
      { cause: 'AUTH_NODE_GONE' },
    ]);
    await world.quiesce();
    expect(stateOf(b)).not.toBe('open');
    // Its own are as they were: the other has lost a session, not a node.
    expect(has(b, 'theirs', a, 'web')).toBe(true);
  });

  test('when it expires, and not before', async () => {
    world.network.cut();
    world.network.leave(a.name);
    world.network.leave(b.name);
    const expires = a.sessions.list()[0]?.expires ?? 0;
    await world.clock.advance(expires - world.clock.now() - 10_000);
    expect(has(a, 'theirs', b, 'db')).toBe(true);
    await world.clock.advance(11_000);
    expect(a.sink.theirs.size + a.sink.ours.size + b.sink.theirs.size + b.sink.ours.size).toBe(0);
    expect(a.sink.events.at(-1)).toMatchObject({ kind: 'withdrawn', cause: 'AUTH_PROOF_EXPIRED' });
  });

  test('when its authority is not trusted any more; the session too, if its node is of the same', async () => {
    const other = await TestCa.create('cluster.local', 'other');
    a.source.bundle = other.bundle;
    a.source.changed();
    expect(has(a, 'theirs', b, 'db')).toBe(false);
    expect(a.sink.events.at(-1)).toMatchObject({ kind: 'withdrawn', cause: 'SVID_AUTHORITY_UNKNOWN' });
    expect(stateOf(a)).not.toBe('open');
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('SVID_AUTHORITY_UNKNOWN');
  });

  test('not when an authority is added', async () => {
    const other = await TestCa.create('cluster.local', 'other');
    a.source.bundle = {
      trustDomain: 'cluster.local',
      authorities: [...other.bundle.authorities, ...ca.bundle.authorities],
    };
    a.source.changed();
    await world.quiesce();
    expect(stateOf(a)).toBe('open');
    expect(has(a, 'theirs', b, 'db')).toBe(true);
  });
});

describe('what is proven is proven again', () => {
  beforeEach(async () => {
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    b.sessions.want([need('node-a', ['db'], ['web'])]);
    await demand(a, b, 'web', 'db');
  });

  const serialOf = (node: TestNode, side: 'ours' | 'theirs', peer: TestNode, name: string) =>
    node.sink[side].get(`${peer.name} ${idOf(name)}`)?.serial;

  test('with the renewed certificate, when a third of its life is left', async () => {
    const old = a.source.workloads.get(idOf('web'));
    const fresh = await ca.issue(idOf('web'), { notAfter: Date.now() + 7_200_000 });
    a.source.workloads.set(idOf('web'), fresh);
    a.source.changed();
    await world.clock.advance(2_300_000);
    expect(serialOf(b, 'theirs', a, 'web')).toBe(old?.serial);
    await world.clock.advance(150_000);
    await world.quiesce();
    expect(serialOf(b, 'theirs', a, 'web')).toBe(fresh.serial);
    expect(serialOf(a, 'ours', b, 'web')).toBe(fresh.serial);
    expect(a.sink.count('withdrawn') + b.sink.count('withdrawn')).toBe(0);
  });

  test('and keeps the old proof when the new one is refused', async () => {
    const other = await TestCa.create();
    a.source.workloads.set(idOf('web'), await other.issue(idOf('web'), { notAfter: Date.now() + 7_200_000 }));
    a.source.changed();
    await world.clock.advance(2_500_000);
    await world.quiesce();
    expect(b.sessions.counters.proofs.failed.size).toBe(1);
    expect(has(b, 'theirs', a, 'web') && has(a, 'ours', b, 'web')).toBe(true);
  });

  test('in a new session, all of it, with the key of that session', async () => {
    world.network.cut();
    expect(has(a, 'theirs', b, 'db') && has(b, 'theirs', a, 'web')).toBe(true);
    await world.clock.advance(1000);
    await world.quiesce();
    expect(proofsSent().length).toBe(4);
    expect(a.sink.theirs.get(`node-b ${idOf('db')}`)?.epoch).toBe(2);
    expect(a.sink.count('withdrawn') + b.sink.count('withdrawn')).toBe(0);
  });

  test('when the other agent was started again, also if it is the one that dials', async () => {
    for (const node of [a, b]) {
      const boot = (node === a ? b : a).sessions.peers()[0]?.boot;
      const other = node === a ? b : a;
      await node.restart();
      world.introduce();
      a.sessions.want([need('node-b', ['web'], ['db'])]);
      b.sessions.want([need('node-a', ['db'], ['web'])]);
      await world.clock.advance(3000);
      await world.quiesce();
      expect(other.sessions.peers()[0]?.boot).not.toBe(boot);
      expect(node.sink.theirs.size).toBe(1);
      expect(node.sink.ours.size).toBe(1);
    }
  });
});

describe('a session that stands', () => {
  beforeEach(async () => {
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await demand(a, b, 'web', 'db');
  });

  test('says something every 5 s, and stays', async () => {
    await world.clock.advance(60_000);
    expect(stateOf(a)).toBe('open');
    expect(sent('ping', a).length).toBeGreaterThanOrEqual(9);
    expect(sent('ping', a).length).toBeLessThanOrEqual(13);
  });

  test('is dead when nothing is heard for 15 s, and another is opened', async () => {
    let silent = true;
    const { network } = world;
    network.fate = (message, from) => (silent && from === b.name && message.kind === 'ping' ? 'lose' : 'deliver');
    await world.clock.advance(14_000);
    expect(stateOf(a)).toBe('open');
    await world.clock.advance(2000);
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_PEER_SILENT');
    silent = false;
    await world.clock.advance(1000);
    await world.quiesce();
    expect(stateOf(a)).toBe('open');
  });

  test('says something, and notices silence, also when the clock was set back', async () => {
    world.clock.set(-60_000);
    const before = sent('ping', a).length;
    await world.clock.advance(12_000);
    expect(sent('ping', a).length).toBeGreaterThan(before);
    world.network.fate = (message, from) => (from === b.name && message.kind === 'ping' ? 'lose' : 'deliver');
    await world.clock.advance(16_000);
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_PEER_SILENT');
  });

  test('ends when the other end does not read', async () => {
    world.network.backlog = 17 * 1024 * 1024;
    await world.clock.advance(1000);
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_PEER_SLOW');
  });

  test('ends with the certificate of its node, and another is opened at once', async () => {
    a.source.node = await ca.issue(nodeIdOf('node-a'), { notAfter: Date.now() + 100_000_000 });
    b.source.node = await ca.issue(nodeIdOf('node-b'), { notAfter: Date.now() + 100_000_000 });
    a.source.changed();
    b.source.changed();
    await world.clock.advance(3_590_000);
    expect(a.sessions.counters.handshakes.ok).toBe(1);
    await world.clock.advance(12_000);
    await world.quiesce();
    expect(a.sessions.counters.handshakes.ok).toBe(2);
    expect(stateOf(a)).toBe('open');
  });

  test('ends when the node has left the address', async () => {
    a.sessions.setPeers([{ ...b.peer, addresses: ['192.0.2.7'] }]);
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_NODE_GONE');
  });

  test('ends when the sink cannot write, with its words', async () => {
    b.sink.before = () => Promise.reject(new Error('map is full'));
    const failure = failureOf(demand(a, b, 'api', 'db'));
    await world.clock.advance(5000);
    await failure;
    expect(b.sessions.peers()[0]?.lastError).toMatchObject({ text: expect.stringContaining('map is full') });
    expect(b.sessions.list().filter(({ spiffeId }) => spiffeId === idOf('api'))).toEqual([]);
  });

  test('is shown with its proofs', () => {
    expect(a.sessions.peers()).toMatchObject([
      { node: 'node-b', state: 'open', dialledBy: 'us', epoch: 1, waiting: 0 },
    ]);
    expect(b.sessions.peers()).toMatchObject([{ node: 'node-a', state: 'open', dialledBy: 'them', epoch: 1 }]);
    const svid = a.source.workloads.get(idOf('web'));
    expect(a.sessions.list()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ spiffeId: idOf('web'), side: 'ours', serial: svid?.serial, expires: svid?.notAfter }),
        expect.objectContaining({ spiffeId: idOf('db'), side: 'theirs', confirmed: true }),
      ]),
    );
  });
});

describe('dialling', () => {
  test('pauses longer each time, up to 30 s, and not for a packet of a new pair', async () => {
    world.network.leave(b.name);
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.clock.advance(100);
    const pauses: number[] = [];
    for (let i = 0; i < 14; i++) {
      const { retryAt = 0 } = a.sessions.peers()[0] ?? {};
      pauses.push(retryAt - world.clock.now());
      await world.clock.advance(retryAt - world.clock.now());
    }
    expect(Math.max(...pauses)).toBe(22_500);
    const failed = () => a.sessions.counters.handshakes.failed.get('AUTH_UNREACHABLE') ?? 0;
    const before = failed();
    const waiting = ['u', 'v', 'w'].map((ours) => failureOf(demand(a, b, ours, 'db')));
    await world.clock.advance(0);
    expect(failed()).toBe(before + 1);
    await world.clock.advance(5000);
    await Promise.all(waiting);
  });

  test('is hurried by packets of new pairs, once a second', async () => {
    await rebuild({ times: { firstPauseMs: 600 } });
    world.network.leave(b.name);
    const failed = () => a.sessions.counters.handshakes.failed.get('AUTH_UNREACHABLE') ?? 0;
    const demands: Promise<unknown>[] = [];
    const after: number[] = [];
    for (const [ours, ms] of [
      ['u', 100],
      ['v', 300],
      // The pause of 450 ms has ended, and another of 900 ms began.
      ['w', 800],
      ['x', 100],
    ] as const) {
      demands.push(failureOf(demand(a, b, ours, 'db')));
      await world.pass(ms);
      after.push(failed());
    }
    expect(after).toEqual([1, 1, 2, 3]);
    await world.pass(6000);
    await Promise.all(demands);
  });

  test('goes on by itself when the other node is there again', async () => {
    world.network.leave(b.name);
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.clock.advance(1000);
    await b.restart();
    world.introduce();
    await world.clock.advance(5000);
    expect(stateOf(a)).toBe('open');
  });

  test('forgets failures when a session has stood for a while', async () => {
    world.network.leave(b.name);
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.pass(3000);
    await b.restart();
    world.introduce();
    await world.pass(5000);
    expect(stateOf(a)).toBe('open');
    const pause = () => (a.sessions.peers()[0]?.retryAt ?? 0) - world.clock.now();
    world.network.cut();
    expect(pause()).toBeGreaterThan(100);
    await world.pass(10_000);
    expect(stateOf(a)).toBe('open');
    await world.pass(6000);
    world.network.cut();
    expect(pause()).toBe(37.5);
  });

  test('is left to the lower node for a second, unless a packet waits', async () => {
    await demand(a, b, 'web', 'db');
    world.network.cut();
    const pause = () => (b.sessions.peers()[0]?.retryAt ?? 0) - world.clock.now();
    expect(pause()).toBeGreaterThan(1000);
    await world.pass(2000);
    b.sink.before = () => new Promise(() => undefined);
    const waiting = failureOf(demand(b, a, 'cache', 'api'));
    await world.quiesce();
    world.network.leave(a.name);
    world.network.cut();
    expect(pause()).toBeLessThan(100);
    await world.pass(6000);
    await waiting;
  });

  test('begins with so many nodes at once', async () => {
    await rebuild({ limits: { handshakes: 1 } });
    await world.add('node-c', ['job']);
    world.introduce();
    world.network.isPrompt = false;
    a.sessions.want([need('node-b', ['web'], ['db']), need('node-c', ['web'], ['job'])]);
    await world.quiesce();
    expect(a.sessions.peers().map(({ state, lastError }) => lastError?.code ?? state)).toEqual([
      'dialling',
      'AUTH_LIMIT',
    ]);
  });

  test('waits for a certificate of this node', async () => {
    const { node } = a.source;
    a.source.node = undefined;
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.clock.advance(1000);
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_SVID_MISSING');
    a.source.node = node;
    a.source.changed();
    await world.quiesce();
    expect(stateOf(a)).toBe('open');
  });

  test('opens no more sessions than are allowed', async () => {
    await rebuild({ limits: { sessions: 1 } });
    const c = await world.add('node-c', ['job']);
    await c.sessions.start();
    world.introduce();
    await demand(a, b, 'web', 'db');
    const failure = await meanwhile(5000, failureOf(demand(a, c, 'web', 'job')));
    expect(failure).toMatchObject({ code: 'AUTH_NO_SESSION', message: expect.stringContaining('AUTH_LIMIT') });
    await c.sessions.close();
  });
});

describe('a peer that is not honest', () => {
  /** Node b, by hand: what it says is up to the test. */
  async function asNodeB(): Promise<Puppet> {
    await b.sessions.close();
    const puppet = new Puppet(b.name, world.network, b.source, world.clock);
    await puppet.start();
    return puppet;
  }

  test('is heard for so many identities', async () => {
    await rebuild({ limits: { identities: 1 } });
    a.sessions.want([need('node-b', ['web', 'api'], ['db', 'cache'])]);
    await world.quiesce();
    expect(a.sink.theirs.size).toBe(1);
    expect(a.sessions.counters.proofs.failed.get('AUTH_LIMIT')).toBeUndefined();
    b.sessions.want([need('node-a', ['db', 'cache'], [])]);
    await world.quiesce();
    expect(a.sink.theirs.size).toBe(1);
    expect(a.sessions.counters.proofs.failed.get('AUTH_LIMIT')).toBe(1);
  });

  test('has so many connections without a Hello', async () => {
    const puppet = await asNodeB();
    for (let i = 0; i < 5; i++) await puppet.dial(a.peer);
    await world.quiesce();
    expect(puppet.heard).toEqual(['AUTH_REFUSED_BY_PEER']);
  });

  test('is not read while there is too much to do, and does not count as dead', async () => {
    await rebuild({ limits: { inbox: 2 } });
    await demand(a, b, 'web', 'db');
    let release: () => void = () => undefined;
    const stuck = new Promise<void>((resolve) => {
      release = resolve;
    });
    b.sink.before = (kind) => (kind === 'proven' ? stuck : Promise.resolve());
    const waiting = failureOf(demand(a, b, 'api', 'cache'));
    await world.quiesce();
    const channel = world.network.channelOf('node-a');
    for (let i = 0; i < 10; i++) channel?.send({ kind: 'want', identities: [idOf('db')] });
    await world.quiesce();
    expect(world.network.unread('node-a')).toBeGreaterThan(5);
    await world.clock.advance(14_000);
    await waiting;
    await world.clock.advance(3000);
    expect(b.sessions.counters.handshakes.ok).toBe(1);
    expect(stateOf(b)).toBe('open');
    release();
    await world.quiesce();
    expect(world.network.unread('node-a')).toBe(0);
    expect(has(b, 'theirs', a, 'api')).toBe(true);
  });

  test('proves nothing while this node has no bundle of its trust domain', async () => {
    await demand(a, b, 'web', 'db');
    a.source.bundle = { ...ca.bundle, trustDomain: 'elsewhere.test' };
    a.source.changed();
    await meanwhile(5000, failureOf(demand(a, b, 'web', 'cache')));
    expect(a.sessions.counters.proofs.failed.get('AUTH_SVID_MISSING')).toBe(1);
    expect(has(a, 'theirs', b, 'db')).toBe(true);
  });

  test('is not read while it speaks too fast, and loses nothing', async () => {
    await rebuild({ limits: { rate: 2, burst: 4 } });
    a.sessions.want([need('node-b', ['web', 'api'], ['db', 'cache'])]);
    await world.quiesce();
    expect(a.sink.theirs.size).toBe(0);
    await world.clock.advance(10_000);
    await world.quiesce();
    expect(a.sink.theirs.size).toBe(2);
    expect(stateOf(a)).toBe('open');
  });

  test.each<readonly [string, Message, ErrorCode]>([
    ['a proof before the tunnel has its key', { kind: 'want', identities: [] }, 'AUTH_PROTOCOL'],
    ['a phase out of turn', { kind: 'key', step: 'COMMIT', epoch: 1 }, 'AUTH_PROTOCOL'],
    ['a second Hello', { ...hello('node-b'), ordinal: 2 }, 'AUTH_PROTOCOL'],
  ])('is cut off: %s', async (_, message, code) => {
    const puppet = await asNodeB();
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.quiesce();
    puppet.say(hello('node-b'));
    puppet.say(message);
    await world.quiesce();
    expect(a.sessions.peers()[0]?.lastError?.code).toBe(code);
    expect(puppet.heard.at(-1)).toBe(`AUTH_REFUSED_BY_PEER`);
    expect(a.sink.count('proven') + a.sink.count('commitKey')).toBe(0);
  });

  test.each<readonly [string, Message, ErrorCode]>([
    ['another name', hello('node-c'), 'AUTH_WRONG_NODE'],
    ['no common version', { ...hello('node-b'), version: 9, oldest: 8 }, 'AUTH_VERSION_MISMATCH'],
    ['something else', { kind: 'ping' }, 'AUTH_PROTOCOL'],
  ])('is cut off when its Hello has %s', async (_, message, code) => {
    const puppet = await asNodeB();
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.quiesce();
    puppet.say(message);
    await world.quiesce();
    expect(a.sessions.peers()[0]?.lastError?.code).toBe(code);
    expect(a.sink.events).toEqual([]);
  });

  test('is given up when it says no Hello', async () => {
    await asNodeB();
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await world.quiesce();
    await world.clock.advance(5000);
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_HANDSHAKE_TIMEOUT');
  });

  test('cannot make us take what we have not sent', async () => {
    a.sessions.want([need('node-b', ['web'], ['db'])]);
    await demand(a, b, 'web', 'db');
    const events = a.sink.events.length;
    const channel = world.network.channelOf('node-b');
    channel?.send({
      kind: 'accepted',
      proofs: [
        { identity: idOf('api'), serial: '0011' },
        { identity: idOf('web'), serial: 'FF' },
      ],
    });
    channel?.send({ kind: 'refused', proofs: [{ identity: idOf('web'), serial: 'FF', code: 'AUTH_LIMIT' }] });
    channel?.send({ kind: 'withdraw', identities: [{ identity: idOf('nobody'), code: 'AUTH_IDENTITY_WITHDRAWN' }] });
    await world.quiesce();
    expect(a.sink.events.length).toBe(events);
    expect(stateOf(a)).toBe('open');
  });

  test('gets no proof of what is not asked for rightly', async () => {
    await demand(a, b, 'web', 'db');
    const before = proofsSent(a).length;
    const channel = world.network.channelOf('node-b');
    channel?.send({
      kind: 'want',
      identities: [nodeIdOf('node-a'), 'spiffe://other/ns/shop/sa/web', 'web', idOf('nobody')],
    });
    await world.quiesce();
    expect(proofsSent(a).length).toBe(before);
    expect(sent('withdraw', a)).toMatchObject([
      {
        identities: [
          { code: 'AUTH_NOT_A_WORKLOAD' },
          { code: 'AUTH_NOT_A_WORKLOAD' },
          { code: 'AUTH_NOT_A_WORKLOAD' },
          { code: 'AUTH_SVID_MISSING' },
        ],
      },
    ]);
  });

  test('cannot name the tunnel key of another node, nor ours', async () => {
    await demand(a, b, 'web', 'db');
    const c = await world.add('node-c', ['job']);
    await c.sessions.start();
    world.introduce();
    for (const { tunnel } of [b, a]) {
      c.tunnel.publicKey = tunnel.publicKey;
      const failure = await meanwhile(5000, failureOf(demand(c, a, 'job', 'web')));
      expect(failure).toMatchObject({ message: expect.stringContaining('AUTH_TUNNEL_KEY_TAKEN') });
    }
    expect(a.sink.prepared.has('node-c')).toBe(false);
    expect(stateOf(a)).toBe('open');
    await c.sessions.close();
  });

  test('cannot keep another from its tunnel key by naming it first', async () => {
    const c = await world.add('node-c', ['job']);
    c.tunnel.publicKey = b.tunnel.publicKey;
    await c.sessions.start();
    world.introduce();
    // It does not hold the private key: no packet comes through.
    const stuck = new Promise<void>(() => undefined);
    a.sink.before = (kind) => (kind === 'commitKey' && stateOf(a) !== 'keys' ? stuck : Promise.resolve());
    const waiting = failureOf(demand(c, a, 'job', 'web'));
    await world.quiesce();
    await demand(a, b, 'web', 'db');
    await world.pass(5000);
    await waiting;
    expect([...(a.sink.committed.get('node-b')?.publicKey ?? [])]).toEqual([...b.tunnel.publicKey]);
    expect(a.sessions.peers().find(({ node }) => node === 'node-c')?.lastError?.code).toBe('AUTH_TUNNEL_KEY_TAKEN');
    await c.sessions.close();
  });
});
