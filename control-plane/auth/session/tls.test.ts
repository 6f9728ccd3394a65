/** Sessions over TLS on loopback, and what an attacker on the network, or with a node, can try. */

import { constants, randomBytes } from 'node:crypto';
import net, { type AddressInfo, type Socket } from 'node:net';
import { type ConnectionOptions, connect, createSecureContext, createServer, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../model/error-codes.ts';
import type { Svid } from '../svid.ts';
import {
  account,
  failureOf,
  hello,
  idOf,
  MemorySource,
  MemoryWhereabouts,
  nodeIdOf,
  quiet,
  RecordingSink,
  TRUST_DOMAIN,
} from './fakes.ts';
import { FrameReader, frame } from './frames.ts';
import { bindingOf, makeProof } from './identity-proof.ts';
import { decodeMessage, encodeMessage, type Message } from './messages.ts';
import { APPLICATION, nodeAtOtherEnd } from './node-certificate.ts';
import { Sessions } from './sessions.ts';
import { TestCa } from './test-ca.ts';
import { contextOf } from './tls-context.ts';
import { TlsTransport } from './tls-transport.ts';

const LOOPBACK = '127.0.0.1';

interface Node {
  readonly name: string;
  readonly source: MemorySource;
  readonly sink: RecordingSink;
  readonly sessions: Sessions;
  readonly port: number;
}

let ca: TestCa;
let whereabouts: MemoryWhereabouts;
let ends: (() => unknown)[];

beforeAll(async () => {
  ca = await TestCa.create();
});

beforeEach(() => {
  whereabouts = new MemoryWhereabouts();
  ends = [];
});

afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

type Changes = {
  readonly node?: Svid;
  readonly handshakeMs?: number;
  readonly nodeOf?: (spiffeId: string) => string | undefined;
};

async function start(name: string, accounts: readonly string[], changes: Changes = {}): Promise<Node> {
  const workloads = await Promise.all(accounts.map((each) => ca.issue(idOf(each))));
  for (const each of accounts) whereabouts.put(name, account(each));
  const source = new MemorySource(ca.bundle, changes.node ?? (await ca.issue(nodeIdOf(name))), workloads);
  const sink = new RecordingSink();
  const times = { handshakeMs: changes.handshakeMs ?? 5000 };
  const sessions = new Sessions({
    node: name,
    trustDomain: TRUST_DOMAIN,
    tunnel: { publicKey: new Uint8Array(32).fill(name.charCodeAt(name.length - 1)), port: 51_871 },
    source,
    whereabouts,
    sink,
    transport: new TlsTransport({ source, listen: { address: LOOPBACK, port: 0 }, times }),
    log: quiet,
    times,
    ...(changes.nodeOf ? { nodeOf: changes.nodeOf } : {}),
  });
  const { port } = await sessions.start();
  ends.push(() => sessions.close());
  return { name, source, sink, sessions, port };
}

/** @param at the port where the other is looked for, if not at its own */
function introduce(one: Node, other: { readonly name: string; readonly port: number }, at = other.port): void {
  one.sessions.setPeers([{ name: other.name, addresses: [LOOPBACK], port: at }]);
}

async function pair(changes: Changes = {}): Promise<[Node, Node]> {
  const a = await start('node-a', ['web'], changes);
  const b = await start('node-b', ['db'], changes);
  introduce(a, b);
  introduce(b, a);
  return [a, b];
}

const demand = (node: Node, peer: string, ours: string, theirs: string) =>
  node.sessions.demand(peer, account(ours), account(theirs));

/** Until it is so: the test's own time limit is the only one. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const failures = (node: Node, code: ErrorCode) => node.sessions.counters.handshakes.failed.get(code) ?? 0;

/** A TLS connection that is ours to misuse. */
interface Rogue {
  readonly socket: TLSSocket;
  readonly heard: Message[];
  readonly session: Promise<Buffer>;
  say(message: Message): void;
  ended: Promise<void>;
}

async function dial(port: number, own: Svid | undefined, options: ConnectionOptions = {}): Promise<Rogue> {
  const secureContext = createSecureContext(own ? contextOf(own) : {});
  const socket = connect({
    host: LOOPBACK,
    port,
    secureContext,
    servername: '',
    ALPNProtocols: [APPLICATION],
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...options,
  });
  ends.push(() => void socket.destroy());
  return await rogue(socket, 'secureConnect');
}

async function rogue(socket: TLSSocket, ready?: 'secureConnect'): Promise<Rogue> {
  const heard: Message[] = [];
  const reader = new FrameReader();
  socket.on('data', (chunk) => heard.push(...reader.push(chunk).map(decodeMessage)));
  socket.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const session = new Promise<Buffer>((resolve) => socket.once('session', resolve));
  if (ready) await new Promise<void>((resolve, reject) => socket.once(ready, resolve).once('error', reject));
  return { socket, heard, ended, session, say: (message) => void socket.write(frame(encodeMessage(message))) };
}

/** Somebody who listens in place of a node, with a certificate of their own. */
async function listen(own: Svid, each: (end: Rogue) => void, changes: object = {}): Promise<number> {
  const server = createServer({
    ...contextOf(own),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: [APPLICATION],
    ...changes,
  });
  server.on('secureConnection', (socket) => void rogue(socket).then(each));
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  ends.push(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

describe('two honest nodes', () => {
  test('prove a pair to each other, with one tunnel key', async () => {
    const [a, b] = await pair();
    await demand(a, 'node-b', 'web', 'db');
    expect(a.sink.theirs.has(`node-b ${idOf('db')}`)).toBe(true);
    expect(b.sink.theirs.has(`node-a ${idOf('web')}`)).toBe(true);
    const key = a.sink.committed.get('node-b');
    expect(key?.presharedKey.length).toBe(32);
    expect(key?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
    expect(key?.endpoint).toEqual({ address: LOOPBACK, port: 51_871 });
    expect(a.sessions.peers()[0]).toMatchObject({ state: 'open', address: LOOPBACK });
  });

  test('prove pairs from both sides at once', async () => {
    const [a, b] = await pair();
    await Promise.all([demand(a, 'node-b', 'web', 'db'), demand(b, 'node-a', 'db', 'web')]);
    await until(() => a.sessions.peers()[0]?.state === 'open' && b.sessions.peers()[0]?.state === 'open');
    expect(a.sink.committed.get('node-b')?.presharedKey).toEqual(b.sink.committed.get('node-a')?.presharedKey);
  });

  test('with certificates of intermediates', async () => {
    const below = await (await ca.intermediate('one')).intermediate('two');
    const a = await start('node-a', ['web'], { node: await below.issue(nodeIdOf('node-a')) });
    const b = await start('node-b', ['db']);
    introduce(a, b);
    introduce(b, a);
    await demand(a, 'node-b', 'web', 'db');
  });

  test('with a root that is sent along', async () => {
    const node = await ca.issue(nodeIdOf('node-a'));
    const a = await start('node-a', ['web'], { node: { ...node, chain: [...node.chain, ...ca.bundle.authorities] } });
    const b = await start('node-b', ['db']);
    introduce(a, b);
    introduce(b, a);
    await demand(a, 'node-b', 'web', 'db');
  });

  test('with certificates that a mapping says are those of nodes', async () => {
    const nodeOf = (id: string) => /^spiffe:\/\/cluster\.local\/spire\/agent\/(node-.)$/.exec(id)?.[1];
    const of = async (name: string) => ({ node: await ca.issue(`spiffe://cluster.local/spire/agent/${name}`), nodeOf });
    const a = await start('node-a', ['web'], await of('node-a'));
    const b = await start('node-b', ['db'], await of('node-b'));
    introduce(a, b);
    introduce(b, a);
    await demand(b, 'node-a', 'db', 'web');
  });

  test('open the next session with a renewed certificate', async () => {
    const [a, b] = await pair();
    await demand(a, 'node-b', 'web', 'db');
    const fresh = await ca.issue(nodeIdOf('node-a'));
    a.source.node = fresh;
    a.source.changed();
    b.sessions.setPeers([]);
    introduce(b, a);
    a.sessions.want([{ node: 'node-b', ours: [account('web')], theirs: [account('db')] }]);
    await until(() => a.sessions.counters.handshakes.ok === 2);
    const probe = await dial(a.port, await ca.issue(nodeIdOf('node-b')));
    expect(probe.socket.getPeerX509Certificate()?.serialNumber).toBe(fresh.serial);
  });

  test('go on when the agent of one has stopped and is started again', async () => {
    const [a, b] = await pair();
    await demand(a, 'node-b', 'web', 'db');
    await b.sessions.close();
    await until(() => a.sessions.peers()[0]?.state !== 'open');
    expect(a.sessions.peers()[0]?.lastError?.code).toBe('AUTH_AGENT_STOPS');
    expect(a.sink.theirs.size).toBe(1);
    const again = await start('node-b', ['db']);
    introduce(again, a);
    introduce(a, again);
    await demand(again, 'node-a', 'db', 'web');
    expect(a.sink.count('withdrawn')).toBe(0);
  });

  test('100 identities each: 200 proofs, in few frames', async () => {
    const names = (prefix: string) => Array.from({ length: 100 }, (_, i) => `${prefix}-${i}`);
    const a = await start('node-a', names('web'));
    const b = await start('node-b', names('db'));
    introduce(a, b);
    introduce(b, a);
    const refs = (prefix: string) => names(prefix).map(account);
    a.sessions.want([{ node: 'node-b', ours: refs('web'), theirs: refs('db') }]);
    b.sessions.want([{ node: 'node-a', ours: refs('db'), theirs: refs('web') }]);
    await until(() => a.sink.theirs.size + a.sink.ours.size + b.sink.theirs.size + b.sink.ours.size === 400);
    expect(a.sessions.counters.proofs.made + b.sessions.counters.proofs.made).toBe(200);
  });
});

describe('whoever dials is turned away', () => {
  test.each<readonly [string, () => Promise<Svid | undefined>, ErrorCode]>([
    ['without a certificate', async () => undefined, 'AUTH_CERTIFICATE_MISSING'],
    [
      'with one of another trust domain',
      async () => await (await TestCa.create('elsewhere.test')).issue('spiffe://elsewhere.test/node/node-b'),
      'SVID_OTHER_TRUST_DOMAIN',
    ],
    [
      'with one of an authority that is not ours',
      async () => await (await TestCa.create('cluster.local', 'pretender')).issue(nodeIdOf('node-b')),
      'SVID_AUTHORITY_UNKNOWN',
    ],
    ['with one that has expired', () => ca.issue(nodeIdOf('node-b'), { notAfter: Date.now() - 1000 }), 'SVID_EXPIRED'],
    [
      'with one that is not valid yet',
      () => ca.issue(nodeIdOf('node-b'), { notBefore: Date.now() + 60_000 }),
      'SVID_NOT_YET_VALID',
    ],
    ["with a workload's", () => ca.issue(idOf('db')), 'AUTH_NOT_A_NODE'],
    ['as a node that nobody knows', () => ca.issue(nodeIdOf('node-x')), 'AUTH_NODE_UNKNOWN'],
    ['as this very node', () => ca.issue(nodeIdOf('node-a')), 'AUTH_WRONG_NODE'],
  ])('%s', async (_, certificate, code) => {
    const [a] = await pair();
    const attacker = await dial(a.port, await certificate());
    await attacker.ended;
    expect(failures(a, code)).toBe(1);
    expect(attacker.heard).toEqual([{ kind: 'bye', code }]);
    expect(a.sink.events).toEqual([]);
  });

  test('who talks all the time: and still hears why', async () => {
    const [a] = await pair();
    const attacker = await dial(a.port, await ca.issue(nodeIdOf('node-x')));
    attacker.socket.write(Buffer.alloc(4 * 1024 * 1024, 1));
    await attacker.ended;
    expect(attacker.heard).toEqual([{ kind: 'bye', code: 'AUTH_NODE_UNKNOWN' }]);
  });

  test('with TLS 1.2', async () => {
    const [a] = await pair();
    const own = contextOf(await ca.issue(nodeIdOf('node-b')));
    const secureContext = createSecureContext({ ...own, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' });
    await expect(dial(a.port, undefined, { secureContext })).rejects.toThrow(/protocol version/);
    await until(() => failures(a, 'AUTH_TLS_VERSION') === 1);
  });

  test('who speaks another protocol inside of TLS', async () => {
    const [a] = await pair();
    const attacker = await dial(a.port, await ca.issue(nodeIdOf('node-b')), { ALPNProtocols: [] });
    await attacker.ended;
    expect(failures(a, 'AUTH_TLS_APPLICATION')).toBe(1);
  });

  test('who speaks no TLS at all', async () => {
    const [a] = await pair();
    const socket = net.connect(a.port, LOOPBACK);
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await until(() => failures(a, 'AUTH_TLS_FAILED') === 1);
    socket.destroy();
  });

  test('who says nothing', async () => {
    const [a] = await pair({ handshakeMs: 50 });
    const socket = net.connect(a.port, LOOPBACK);
    await new Promise((resolve) => socket.once('close', resolve));
    expect(failures(a, 'AUTH_HANDSHAKE_TIMEOUT')).toBe(1);
  });

  test('with more connections than one address may have at their handshake', async () => {
    const [a, b] = await pair();
    const sockets: Socket[] = [];
    for (let i = 0; i < 9; i++) sockets.push(net.connect(a.port, LOOPBACK));
    await until(() => failures(a, 'AUTH_LIMIT') > 0);
    for (const socket of sockets) socket.destroy();
    await demand(b, 'node-a', 'db', 'web');
  });

  test('with frames that are too long', async () => {
    const [a] = await pair();
    const attacker = await dial(a.port, await ca.issue(nodeIdOf('node-b')));
    attacker.socket.write(Buffer.from([0x7f, 0xff, 0xff, 0xff]));
    await attacker.ended;
    expect(attacker.heard).toEqual([{ kind: 'bye', code: 'AUTH_FRAME_INVALID' }]);
    expect(failures(a, 'AUTH_FRAME_INVALID')).toBe(1);
  });

  test('with a certificate of theirs, calling itself another', async () => {
    const [a] = await pair();
    const attacker = await dial(a.port, await ca.issue(nodeIdOf('node-b')));
    attacker.say(hello('node-c'));
    await attacker.ended;
    expect(attacker.heard.at(-1)).toEqual({ kind: 'bye', code: 'AUTH_WRONG_NODE' });
  });
});

describe('an earlier TLS session', () => {
  test('is not resumed by who has kept it', async () => {
    const [a] = await pair();
    const own = await ca.issue(nodeIdOf('node-b'));
    const first = await dial(a.port, own);
    const session = await first.session;
    first.socket.destroy();
    const second = await dial(a.port, own, { session });
    expect(second.socket.isSessionReused()).toBe(false);
    second.say(hello('node-b'));
    await until(() => second.heard.length > 0);
  });

  test('is refused when the other end resumes one', () => {
    const facts = {
      isSessionReused: () => true,
      getProtocol: () => 'TLSv1.3',
      alpnProtocol: APPLICATION,
      getPeerX509Certificate: () => undefined,
    };
    const view = { bundle: ca.bundle, nodeOf: () => 'node-b', now: Date.now() };
    expect(() => nodeAtOtherEnd(facts, view)).toThrow(expect.objectContaining({ code: 'AUTH_TLS_RESUMED' }));
  });
});

describe('whoever is dialled is left alone', () => {
  const reached = async (a: Node): Promise<ErrorCode | undefined> => {
    a.sessions.want([{ node: 'node-b', ours: [account('web')], theirs: [account('db')] }]);
    await until(() => a.sessions.peers()[0]?.lastError !== undefined);
    return a.sessions.peers()[0]?.lastError?.code;
  };

  test('when it is another node, in between or at the address', async () => {
    const a = await start('node-a', ['web']);
    const heard: Rogue[] = [];
    const port = await listen(await ca.issue(nodeIdOf('node-m')), (end) => heard.push(end));
    introduce(a, { name: 'node-b', port });
    expect(await reached(a)).toBe('AUTH_WRONG_NODE');
    await until(() => heard.length > 0);
    await heard[0]?.ended;
    // Not even our Hello has left.
    expect(heard[0]?.heard).toEqual([{ kind: 'bye', code: 'AUTH_WRONG_NODE' }]);
    expect(a.sink.events).toEqual([]);
  });

  test('when it speaks no more than TLS 1.2', async () => {
    const a = await start('node-a', ['web']);
    const port = await listen(await ca.issue(nodeIdOf('node-b')), () => undefined, {
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
    });
    introduce(a, { name: 'node-b', port });
    expect(await reached(a)).toBe('AUTH_TLS_VERSION');
  });

  test('when it shows a certificate of another trust domain', async () => {
    const a = await start('node-a', ['web']);
    const other = await TestCa.create('elsewhere.test');
    const port = await listen(await other.issue('spiffe://elsewhere.test/node/node-b'), () => undefined);
    introduce(a, { name: 'node-b', port });
    expect(await reached(a)).toBe('SVID_OTHER_TRUST_DOMAIN');
  });

  test('when it sends no byte', async () => {
    const a = await start('node-a', ['web'], { handshakeMs: 500 });
    const silent = net.createServer((socket) => ends.push(() => void socket.destroy()));
    await new Promise<void>((resolve) => silent.listen(0, LOOPBACK, resolve));
    ends.push(() => void silent.close());
    introduce(a, { name: 'node-b', port: (silent.address() as AddressInfo).port });
    expect(await reached(a)).toBe('AUTH_HANDSHAKE_TIMEOUT');
  });

  test('when nobody listens', async () => {
    const a = await start('node-a', ['web']);
    introduce(a, { name: 'node-b', port: 1 });
    expect(await reached(a)).toBe('AUTH_UNREACHABLE');
  });
});

describe('a node that is bad and has its own certificate', () => {
  /** Node b, by hand, as far as the tunnel's key. */
  async function openAs(a: Node, own: Svid): Promise<Rogue & { proofs: ReturnType<typeof bindingOf> }> {
    const end = await dial(a.port, own);
    const { socket, heard } = end;
    // Each time another agent.
    end.say({ ...hello('node-b'), boot: randomBytes(16) });
    const epochOf = async (step: string): Promise<number> => {
      const find = () => heard.find((message) => message.kind === 'key' && message.step === step);
      await until(() => find() !== undefined);
      const message = find();
      return message?.kind === 'key' ? message.epoch : 0;
    };
    const epoch = await epochOf('PREPARE');
    end.say({ kind: 'key', step: 'PREPARED', epoch });
    await epochOf('COMMIT');
    end.say({ kind: 'key', step: 'COMMITTED', epoch });
    await epochOf('COMMITTED');
    const exporter = (label: string, context: Uint8Array) =>
      socket.exportKeyingMaterial(32, label, Buffer.from(context));
    return { ...end, proofs: bindingOf({ exporter, dialledBy: 'us' }, 'us', 'node-b', a.name) };
  }

  async function refusal(end: Rogue): Promise<string | undefined> {
    await until(() => end.heard.some(({ kind }) => kind === 'refused' || kind === 'accepted'));
    const answer = end.heard.find(({ kind }) => kind === 'refused');
    return answer?.kind === 'refused' ? answer.proofs[0]?.code : undefined;
  }

  async function victim(): Promise<{ a: Node; db: Svid; nodeB: Svid }> {
    const a = await start('node-a', ['web']);
    introduce(a, { name: 'node-b', port: 1 });
    whereabouts.put('node-b', account('db'));
    return { a, db: await ca.issue(idOf('db')), nodeB: await ca.issue(nodeIdOf('node-b')) };
  }

  test('is taken while it is good', async () => {
    const { a, db, nodeB } = await victim();
    const end = await openAs(a, nodeB);
    end.say({ kind: 'prove', session: end.proofs.session, proofs: [makeProof(db, end.proofs)] });
    expect(await refusal(end)).toBeUndefined();
    expect(a.sink.theirs.size).toBe(1);
  });

  test('cannot use a certificate without its key', async () => {
    const { a, db, nodeB } = await victim();
    const end = await openAs(a, nodeB);
    const { privateKey } = await ca.issue(idOf('db'));
    end.say({ kind: 'prove', session: end.proofs.session, proofs: [makeProof({ ...db, privateKey }, end.proofs)] });
    expect(await refusal(end)).toBe('AUTH_PROOF_FORGED');
    expect(a.sink.count('proven')).toBe(0);
  });

  test('cannot use a proof that it has recorded, nor one that it has relabelled', async () => {
    const { a, db, nodeB } = await victim();
    const first = await openAs(a, nodeB);
    const recorded = { kind: 'prove' as const, session: first.proofs.session, proofs: [makeProof(db, first.proofs)] };
    first.say(recorded);
    expect(await refusal(first)).toBeUndefined();
    first.socket.destroy();
    await until(() => a.sessions.peers()[0]?.state !== 'open');
    for (const [session, code] of [
      ['kept', 'AUTH_PROOF_REPLAYED'],
      ['changed', 'AUTH_PROOF_FORGED'],
    ] as const) {
      const end = await openAs(a, nodeB);
      end.say(session === 'kept' ? recorded : { ...recorded, session: end.proofs.session });
      expect(await refusal(end)).toBe(code);
      end.socket.destroy();
      await until(() => a.sessions.peers()[0]?.state !== 'open');
    }
    expect(a.sink.count('proven')).toBe(1);
  });

  test('cannot prove the right certificate of a pod on another node', async () => {
    const { a, db, nodeB } = await victim();
    whereabouts.take('node-b', account('db'));
    whereabouts.put('node-c', account('db'));
    const end = await openAs(a, nodeB);
    end.say({ kind: 'prove', session: end.proofs.session, proofs: [makeProof(db, end.proofs)] });
    expect(await refusal(end)).toBe('AUTH_IDENTITY_ELSEWHERE');
  });

  test('cannot be in between: a proof made for one node is none for another', async () => {
    const { a, db, nodeB } = await victim();
    const end = await openAs(a, nodeB);
    // Made by an honest node-b for node-m, who passes it on in a session of its own.
    const forOther = { ...end.proofs, verifier: 'node-m' };
    end.say({ kind: 'prove', session: end.proofs.session, proofs: [makeProof(db, forOther)] });
    expect(await refusal(end)).toBe('AUTH_PROOF_FORGED');
  });

  test('that is not the node of the pods has no proof passed on to it', async () => {
    // node-m terminates TLS between two honest nodes: to each it is node-m, and nobody else.
    const [a, b] = await pair();
    const own = await ca.issue(nodeIdOf('node-m'));
    const port = await listen(own, async (fromA) => {
      const toB = await dial(b.port, own);
      fromA.socket.pipe(toB.socket);
      toB.socket.pipe(fromA.socket);
    });
    introduce(a, b, port);
    const failure = failureOf(demand(a, 'node-b', 'web', 'db'));
    await until(() => failures(a, 'AUTH_WRONG_NODE') > 0 && failures(b, 'AUTH_NODE_UNKNOWN') > 0);
    expect(a.sink.events.length + b.sink.events.length).toBe(0);
    await a.sessions.close();
    await failure;
  });
});

test('a certificate that does not fit its key is not used, and the one before is', async () => {
  const [a] = await pair();
  const { serial } = a.source.node ?? {};
  const [one, other] = [await ca.issue(nodeIdOf('node-a')), await ca.issue(nodeIdOf('node-a'))];
  a.source.node = { ...one, privateKey: other.privateKey };
  a.source.changed();
  const probe = await dial(a.port, await ca.issue(nodeIdOf('node-b')));
  expect(probe.socket.getPeerX509Certificate()?.serialNumber).toBe(serial);
});

test('the context refuses to be talked down', async () => {
  const context = contextOf(await ca.issue(nodeIdOf('node-a')));
  expect(context).toMatchObject({
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
});
