/** One session for a pair of nodes, whoever dials when, whatever arrives in which order. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { settle } from '../../model/fake-clock.ts';
import { account, failureOf, idOf } from './fakes.ts';
import { TestCa } from './test-ca.ts';
import { MemoryWorld, need } from './test-world.ts';
import { isLower, takes } from './tie-break.ts';

const FIRST = { boot: 'one', ordinal: 1 };
const LATER = { boot: 'one', ordinal: 2 };
const REBORN = { boot: 'two', ordinal: 1 };

describe('a session that the other end has dialled', () => {
  test.each([
    ['is taken when there is none', { weAreLower: true, current: undefined, ownHelloIsOut: false }, FIRST, true],
    [
      'is left by the lower node that has dialled',
      { weAreLower: true, current: undefined, ownHelloIsOut: true },
      FIRST,
      false,
    ],
    [
      'is taken by the higher node that has dialled',
      { weAreLower: false, current: undefined, ownHelloIsOut: true },
      FIRST,
      true,
    ],
    [
      'replaces one that the other end has lost',
      { weAreLower: true, current: FIRST, ownHelloIsOut: false },
      LATER,
      true,
    ],
    ['is left when it was begun before', { weAreLower: true, current: LATER, ownHelloIsOut: false }, FIRST, false],
    ['is left by the higher node, too', { weAreLower: false, current: LATER, ownHelloIsOut: false }, FIRST, false],
    ['replaces one of an agent that is gone', { weAreLower: true, current: LATER, ownHelloIsOut: false }, REBORN, true],
  ])('%s', (_, standing, begun, taken) => {
    expect(takes(standing, begun)).toBe(taken);
  });
});

test('names are ordered by code units', () => {
  expect(isLower('Node', 'node')).toBe(true);
  expect(isLower('node-10', 'node-9')).toBe(true);
  expect(isLower('node-a', 'node-a')).toBe(false);
});

const action = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      kind: fc.constant('deliver' as const),
      pick: fc.double({ min: 0, max: 0.999, noNaN: true }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('demand' as const), first: fc.boolean(), which: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(10, 100, 1500) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), first: fc.boolean() }) },
);

describe('two agents', () => {
  let ca: TestCa;
  beforeAll(async () => {
    ca = await TestCa.create();
  });

  test('agree on one session and lose no proof, in any order of events', async () => {
    const template = new MemoryWorld(ca);
    const sources = [
      await template.add('node-a', ['w0', 'w1', 'w2']),
      await template.add('node-b', ['d0', 'd1', 'd2']),
    ];

    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 120 }), async (actions) => {
        const world = new MemoryWorld(ca);
        const [a, b] = [world.adopt(sources[0]), world.adopt(sources[1])];
        world.network.isPrompt = false;
        await world.start();
        a.sessions.want([need('node-b', ['w0'], ['d0'])]);
        b.sessions.want([need('node-a', ['d0'], ['w0'])]);
        for (const each of actions) {
          if (each.kind === 'deliver') world.network.deliverOne(each.pick);
          else if (each.kind === 'wait') await world.clock.advance(each.ms);
          else if (each.kind === 'cut') world.network.cut();
          else if (each.kind === 'restart') {
            await (each.first ? a : b).restart();
            world.introduce();
          } else {
            const [from, ours, theirs] = each.first ? [a, 'w', 'd'] : [b, 'd', 'w'];
            const other = from === a ? b : a;
            // Some time out, as time passes without a message being delivered.
            void failureOf(
              from.sessions.demand(other.name, account(ours + each.which), account(theirs + each.which)),
            ).catch(() => undefined);
          }
          await settle();
        }
        world.network.isPrompt = true;
        world.network.deliverAll();
        // Longer than anything waits for anything.
        await world.clock.advance(60_000);
        await world.quiesce();
        const last = [
          a.sessions.demand('node-b', account('w1'), account('d1')),
          b.sessions.demand('node-a', account('d2'), account('w2')),
        ];
        await world.quiesce();
        await Promise.all(last);
        const [atA, atB] = [a.sessions.peers()[0], b.sessions.peers()[0]];
        expect([atA?.state, atB?.state]).toEqual(['open', 'open']);
        expect(new Set([atA?.dialledBy, atB?.dialledBy])).toEqual(new Set(['us', 'them']));
        expect(atA?.epoch).toBe(atB?.epoch);
        expect(world.network.links).toBe(1);
        expect(a.sink.committed.get('node-b')?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
        expect(a.sink.committed.get('node-b')?.epoch).toBe(atA?.epoch);
        for (const identity of ['w1', 'w2']) {
          expect(b.sink.theirs.has(`node-a ${idOf(identity)}`)).toBe(true);
          expect(a.sink.ours.has(`node-b ${idOf(identity)}`)).toBe(true);
        }
        // What one end says was accepted, the other has.
        for (const [one, other] of [
          [a, b],
          [b, a],
        ] as const)
          for (const { spiffeId } of one.sink.ours.values())
            expect(other.sink.theirs.has(`${one.name} ${spiffeId}`)).toBe(true);
        await world.close();
      }),
      { seed: 4250, numRuns: 60 },
    );
  }, 60_000);

  test('that dial at the same moment end up with the one that the lower node has dialled', async () => {
    const world = new MemoryWorld(ca);
    const a = await world.add('node-a', ['web']);
    const b = await world.add('node-b', ['db']);
    await world.start();
    world.network.isPrompt = false;
    const both = [
      a.sessions.demand('node-b', account('web'), account('db')),
      b.sessions.demand('node-a', account('db'), account('web')),
    ];
    await settle();
    // Both connections are there before either has said anything.
    world.network.deliverOne(0);
    world.network.deliverOne(0.999);
    await settle();
    world.network.isPrompt = true;
    world.network.deliverAll();
    await Promise.all(both);
    expect(a.sessions.peers()[0]?.dialledBy).toBe('us');
    expect(b.sessions.peers()[0]?.dialledBy).toBe('them');
    expect(a.sessions.counters.handshakes.ok).toBe(1);
    expect(a.sessions.peers()[0]?.lastError).toBeUndefined();
    await world.close();
  });
});
