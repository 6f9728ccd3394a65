/** A connection that breaks, or an agent that dies, at every single message: what one end has is true at the other, and is mended. */
import { beforeAll, expect, test } from 'vitest';
import type { Proof } from '../peers.ts';
import { account, idOf, type RecordingSink } from './fakes.ts';
import { TestCa } from './test-ca.ts';
import { MemoryWorld, need, type TestNode } from './test-world.ts';

let sources: TestNode[];
let ca: TestCa;

beforeAll(async () => {
  ca = await TestCa.create();
  const template = new MemoryWorld(ca);
  sources = [await template.add('node-a', ['web', 'api']), await template.add('node-b', ['db', 'cache'])];
});

async function begin(): Promise<{ world: MemoryWorld; a: TestNode; b: TestNode }> {
  const world = new MemoryWorld(ca);
  const a = world.adopt(sources[0]);
  const b = world.adopt(sources[1]);
  await world.start();
  return { world, a, b };
}

const BEGINNINGS = {
  'both want it': (a: TestNode, b: TestNode) => {
    a.sessions.want([need('node-b', ['web', 'api'], ['db', 'cache'])]);
    b.sessions.want([need('node-a', ['db', 'cache'], ['web', 'api'])]);
  },
  // The other end writes before it answers.
  'one asks, the lower': (a: TestNode) => a.sessions.want([need('node-b', ['web', 'api'], ['db', 'cache'])]),
  'one asks, the higher': (_: TestNode, b: TestNode) =>
    b.sessions.want([need('node-a', ['db', 'cache'], ['web', 'api'])]),
} as const;
type Beginning = keyof typeof BEGINNINGS;

/** What one end may rely on: that the other has it written. */
function expectBacked(ours: ReadonlyMap<string, Proof>, one: string, theirs: ReadonlyMap<string, Proof>): void {
  for (const { spiffeId } of ours.values()) expect([...theirs.keys()]).toContain(`${one} ${spiffeId}`);
}

function expectConsistent(atA: RecordingSink, atB: RecordingSink): void {
  expectBacked(atA.ours, 'node-a', atB.theirs);
  expectBacked(atB.ours, 'node-b', atA.theirs);
  const [keyA, keyB] = [atA.committed.get('node-b'), atB.committed.get('node-a')];
  // Nobody uses a key that the other does not have at hand.
  if (keyA) expect(atB.prepared.get('node-a')?.epoch).toBeGreaterThanOrEqual(keyA.epoch);
  if (keyB) expect(atA.prepared.get('node-b')?.epoch).toBeGreaterThanOrEqual(keyB.epoch);
}

test('there are some twenty messages in a whole conversation', async () => {
  const { world, a, b } = await begin();
  BEGINNINGS['both want it'](a, b);
  await world.quiesce();
  expect(world.network.sent.length).toBeGreaterThan(12);
  expect(world.network.sent.length).toBeLessThan(24);
  await world.close();
});

const INTERRUPTIONS = ['connection', 'node-a', 'node-b'] as const;

test.each(
  (Object.keys(BEGINNINGS) as Beginning[]).flatMap((beginning) =>
    INTERRUPTIONS.map((interruption) => [beginning, interruption] as const),
  ),
)(
  '%s; interruption of %s, at each message',
  async (beginning, what) => {
    const want = BEGINNINGS[beginning];
    for (let at = 0; at < 24; at++) {
      const { world, a, b } = await begin();
      const [sinkA, sinkB] = [a.sink, b.sink];
      let count = 0;
      let reached = false;
      let restarted: Promise<void> = Promise.resolve();
      world.network.fate = () => {
        if (count++ !== at) return 'deliver';
        reached = true;
        if (what === 'connection') return 'cut';
        restarted = (what === 'node-a' ? a : b).restart();
        return 'cut';
      };
      want(a, b);
      // The higher node leaves the lower one time to dial.
      if (beginning === 'one asks, the higher') await world.clock.advance(750);
      await world.quiesce();
      await restarted;
      world.network.fate = () => 'deliver';
      // Before anything else is begun.
      expectConsistent(sinkA, sinkB);
      world.introduce();
      want(a, b);
      await world.pass(5000);
      for (const [node, other, names] of [
        [a, b, ['web', 'api']],
        [b, a, ['db', 'cache']],
      ] as const)
        for (const name of names) {
          expect(node.sink.ours.has(`${other.name} ${idOf(name)}`)).toBe(true);
          expect(other.sink.theirs.has(`${node.name} ${idOf(name)}`)).toBe(true);
        }
      expect(a.sink.committed.get('node-b')?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
      expectConsistent(a.sink, b.sink);
      await world.close();
      if (!reached) return;
    }
    throw new Error('the conversation has no end');
  },
  60_000,
);

test('a packet that waits is served by the next session', async () => {
  const { world, a, b } = await begin();
  let cuts = 0;
  world.network.fate = ({ kind }) => (kind === 'accepted' && cuts++ === 0 ? 'cut' : 'deliver');
  const waiting = a.sessions.demand('node-b', account('web'), account('db'));
  await world.pass(1000);
  await waiting;
  expect(b.sink.theirs.has(`node-a ${idOf('web')}`)).toBe(true);
  expect(cuts).toBeGreaterThan(1);
  await world.close();
});
