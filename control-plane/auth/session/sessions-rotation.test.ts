/** A node gets another tunnel key while its sessions stand: whole sessions at both ends, messages lost and agents killed between. */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SidestepError } from '../../model/error.ts';
import { account, failureOf, idOf } from './fakes.ts';
import type { MessageOf } from './messages.ts';
import { TestCa } from './test-ca.ts';
import { MemoryWorld, type TestNode } from './test-world.ts';

let ca: TestCa;
let world: MemoryWorld;
let a: TestNode;
let b: TestNode;
let c: TestNode;

beforeAll(async () => {
  ca = await TestCa.create();
});

beforeEach(async () => {
  world = new MemoryWorld(ca);
  a = await world.add('node-a', ['web']);
  b = await world.add('node-b', ['db']);
  c = await world.add('node-c', ['log']);
  await world.start();
  await a.sessions.demand(b.name, account('web'), account('db'));
  await b.sessions.demand(c.name, account('db'), account('log'));
  await c.sessions.demand(a.name, account('log'), account('web'));
  await world.quiesce();
});
afterEach(() => world.close());

const keyNumber = (bytes: Uint8Array | undefined): number | undefined => bytes?.[0];
const next = (byte: number): Uint8Array<ArrayBuffer> => new Uint8Array(32).fill(byte);
const othersOf = (node: TestNode): string[] => world.nodes.filter((each) => each !== node).map(({ name }) => name);

/** As the agent does it: the device gets the key in between. Nothing is on its way any more when it resolves. */
async function rotate(node: TestNode, byte: number): Promise<ReadonlyMap<string, unknown>> {
  const failures = await node.sessions.rotateKey(othersOf(node), next(byte), async () => {
    node.tunnel.publicKey = next(byte);
  });
  await world.quiesce();
  return failures;
}

/** The keys that a node has in use with its peers. */
const inUse = (node: TestNode): object =>
  Object.fromEntries([...node.sink.committed].map(([peer, { publicKey }]) => [peer, keyNumber(publicKey)]));

/** Both ends of each pair have each other's key and the same preshared key. */
function expectAgreement(): void {
  for (const node of world.nodes)
    for (const peer of world.nodes.filter((each) => each !== node)) {
      const [ours, theirs] = [node.sink.committed.get(peer.name), peer.sink.committed.get(node.name)];
      expect(keyNumber(ours?.publicKey)).toBe(keyNumber(peer.tunnel.publicKey));
      expect(ours?.presharedKey).toEqual(theirs?.presharedKey);
    }
}

describe('a node that gets another tunnel key', () => {
  test('has it in use with all others, in the sessions of before, with other preshared keys', async () => {
    const before = b.sink.committed.get(a.name)?.presharedKey;
    const since = a.sessions.peers().map((peer) => peer.since);
    await world.clock.advance(1000);
    expect(await rotate(a, 7)).toEqual(new Map());
    expect(inUse(b)).toMatchObject({ 'node-a': 7 });
    expect(inUse(c)).toMatchObject({ 'node-a': 7 });
    expect(b.sink.committed.get(a.name)?.presharedKey).not.toEqual(before);
    expectAgreement();
    expect(a.sessions.peers().map((peer) => peer.since)).toEqual(since);
    expect(b.sink.theirs.has(`node-a ${idOf('web')}`)).toBe(true);
  });

  test('may get a second one, and the hourly keys go on', async () => {
    await rotate(a, 7);
    await rotate(a, 8);
    await rotate(c, 9);
    expectAgreement();
    a.sessions.rekey();
    b.sessions.rekey();
    await world.quiesce();
    expect(a.sink.committed.get(b.name)?.epoch).toBe(2);
    expectAgreement();
    await rotate(b, 10);
    expectAgreement();
  });

  test('has asked all of them before its device gets it', async () => {
    const known: string[] = [];
    world.network.fate = (message, from) => {
      if (message.kind === 'rotate') known.push(`${message.step} ${from}`);
      return 'deliver';
    };
    await a.sessions.rotateKey(othersOf(a), next(7), async () => {
      expect(known.toSorted()).toEqual(['KNOWN node-b', 'KNOWN node-c', 'NEXT node-a', 'NEXT node-a']);
      a.tunnel.publicKey = next(7);
    });
  });

  test.each(['an answer that is lost', 'a device that does not take it', 'a node without a session'])(
    'keeps the one of before, and so do the others: %s',
    async (why) => {
      let changed = 0;
      const change = async (): Promise<void> => {
        changed++;
        throw new SidestepError('STATE_UNUSABLE', 'the disk is full');
      };
      if (why.startsWith('an answer'))
        world.network.fate = (message, from) =>
          message.kind === 'rotate' && message.step === 'KNOWN' && from === b.name ? 'lose' : 'deliver';
      const nodes = why.startsWith('a node') ? [...othersOf(a), 'node-x'] : othersOf(a);
      const failure = failureOf(a.sessions.rotateKey(nodes, next(7), change));
      await world.quiesce();
      await world.clock.advance(6000);
      const expected = {
        an: 'AUTH_HANDSHAKE_TIMEOUT',
        'a ': why.startsWith('a n') ? 'AUTH_NO_SESSION' : 'STATE_UNUSABLE',
      };
      expect((await failure).code).toBe(expected[why.slice(0, 2) as keyof typeof expected]);
      expect(changed).toBe(why.startsWith('a device') ? 1 : 0);
      await world.quiesce();
      expectAgreement();
      expect(inUse(b)).toMatchObject({ 'node-a': 'a'.charCodeAt(0) });
      // Nobody waits for it: others may rotate at once, and so may this one.
      world.network.fate = () => 'deliver';
      await rotate(b, 8);
      await rotate(a, 9);
      expectAgreement();
    },
  );

  test('is asked to wait while a neighbour gets one: never both at a time', async () => {
    let rotating = 0;
    let most = 0;
    const turns = world.nodes.map(async (node, i) => {
      for (let turn = 0; ; turn++) {
        try {
          await node.sessions.rotateKey(othersOf(node), next(20 + i), async () => {
            most = Math.max(most, ++rotating);
            node.tunnel.publicKey = next(20 + i);
          });
          rotating--;
          return;
        } catch (error) {
          expect((error as SidestepError).code).toBe('AUTH_KEY_BUSY');
          await new Promise((resolve) => setTimeout(resolve, (turn + 1) * (i + 1) * 3));
        }
      }
    });
    await Promise.all(turns);
    await world.quiesce();
    expect(most).toBe(1);
    expectAgreement();
  });

  test('is asked to wait while another preshared key is agreed upon, and the other way round', async () => {
    let proceed: () => void = () => undefined;
    b.sink.before = (kind) =>
      kind === 'commitKey' ? new Promise((resolve) => (proceed = resolve)) : Promise.resolve();
    a.sessions.rekey();
    await world.quiesce();
    expect((await failureOf(rotate(a, 7))).code).toBe('AUTH_KEY_BUSY');
    expect((await failureOf(rotate(b, 8))).code).toBe('AUTH_KEY_BUSY');
    proceed();
    await world.quiesce();
    const rotating = rotate(a, 9);
    await world.quiesce();
    a.sessions.rekey();
    await world.quiesce();
    proceed();
    await rotating;
    await world.quiesce();
    proceed();
    await world.quiesce();
    expectAgreement();
  });

  test('lets neither a second rotation nor an hourly key come between the question and the switch', async () => {
    const steps = (): number =>
      world.network.sent.filter(({ message }) => message.kind === 'key' && message.step !== 'COMMITTED').length;
    const before = steps();
    const failures = await b.sessions.rotateKey(othersOf(b), next(7), async () => {
      expect((await failureOf(rotate(b, 8))).code).toBe('AUTH_KEY_BUSY');
      expect((await failureOf(a.sessions.rotateKey([], next(9), async () => undefined))).code).toBe('AUTH_KEY_BUSY');
      for (const node of world.nodes) node.sessions.rekey();
      await world.quiesce();
      // Of a and c, whose keys stay.
      expect(steps() - before).toBe(3);
      b.tunnel.publicKey = next(7);
    });
    await world.quiesce();
    expect(failures).toEqual(new Map());
    expectAgreement();
  });

  test('ends sessions in which no packet goes through under it in time; the next ones bring it', async () => {
    a.sink.before = (kind, over) =>
      kind === 'commitKey'
        ? new Promise((_, reject) => over?.addEventListener('abort', () => reject(new Error('over'))))
        : Promise.resolve();
    const rotating = rotate(a, 7);
    await world.quiesce();
    a.sink.before = () => Promise.resolve();
    await world.clock.advance(11_000);
    expect([...(await rotating).keys()]).toEqual([b.name, c.name]);
    await world.pass(3000);
    expectAgreement();
  });
});

const STEPS: readonly (readonly [MessageOf<'rotate'>['step'], 'a' | 'b'])[] = [
  ['NEXT', 'a'],
  ['NEXT', 'b'],
  ['KNOWN', 'a'],
  ['KNOWN', 'b'],
  ['SWITCHED', 'a'],
  ['SWITCHED', 'b'],
];

describe('an agent that is killed', () => {
  test.each(STEPS)('at %s (node-%s): all agree again, and keys can be replaced again', async (step, who) => {
    const victim = who === 'a' ? a : b;
    let killed: Promise<void> | undefined;
    world.network.fate = (message) => {
      if (message.kind !== 'rotate' || message.step !== step || killed !== undefined) return 'deliver';
      killed = victim.restart();
      return 'lose';
    };
    const rotating = rotate(a, 7).then(
      () => undefined,
      (error: unknown) => error,
    );
    await world.quiesce();
    await killed;
    world.network.fate = () => 'deliver';
    world.introduce();
    await world.pass(20_000);
    await rotating;
    await a.sessions.demand(b.name, account('web'), account('db'));
    await b.sessions.demand(c.name, account('db'), account('log'));
    await c.sessions.demand(a.name, account('log'), account('web'));
    await world.quiesce();
    expectAgreement();
    await rotate(b, 8);
    await rotate(a, 9);
    expectAgreement();
  });
});
