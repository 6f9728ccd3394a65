/** The authority and the way to it, over the loopback; the clock is the test's. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeClock, PATIENCE } from '../fakes.ts';
import { ownSvid } from '../own-svid.ts';
import { HOUR, newAuthority, newKeys, newSvid, TRUST_DOMAIN } from '../samples.ts';
import type { Svid, TrustBundle } from '../svid.ts';
import { tlsMaterial } from '../tls-peer.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import { JOIN_EXPORTER, proofOfToken } from './join-tokens.ts';
import type { Issued } from './link.ts';
import { ALPN, decodeAnswer, encodeQuestion, FrameReader, type Question } from './protocol.ts';
import { RemoteLink, type RemoteLinkOptions } from './remote-link.ts';
import { makeRequest } from './request.ts';
import { AuthorityServer, type AuthorityServerOptions } from './server.ts';
import { EmbeddedSvidSource } from './source.ts';

const WEB = { namespace: 'shop', serviceAccount: 'web' };
let clock: FakeClock;
let authority: CertificateAuthority;
let server: AuthorityServer;
let log: { message: string; code?: string }[];
let places: Set<string>;
let closers: (() => unknown)[];

beforeEach(async () => {
  clock = new FakeClock();
  log = [];
  places = new Set(['b shop web']);
  const stateDir = mkdtempSync(join(tmpdir(), 'sidestep-ca-'));
  authority = new CertificateAuthority({
    stateDir,
    trustDomain: TRUST_DOMAIN,
    clock,
    mesh: { runs: (node, ns, sa) => places.has(`${node} ${ns} ${sa}`), admits: () => true },
  });
  server = await AuthorityServer.listen(serverOptions());
  closers = [() => server.close(), () => rmSync(stateDir, { recursive: true })];
});

function serverOptions(): AuthorityServerOptions {
  const note = (fields: object, message: string) => void log.push({ ...fields, message });
  return { authority, clock, log: { info: note, warn: note }, port: 0, address: '127.0.0.1' };
}

afterEach(async () => {
  for (const close of closers.toReversed()) await close();
});

interface LinkOptions extends Partial<RemoteLinkOptions> {
  readonly addresses?: readonly string[];
  readonly port?: number;
}

function link({ addresses = ['127.0.0.1'], port = server.port, ...options }: LinkOptions = {}): RemoteLink {
  const made = new RemoteLink({
    trustDomain: TRUST_DOMAIN,
    node: 'b',
    endpoints: () => addresses.map((address) => ({ address, port })),
    clock,
    bundle: () => authority.bundle,
    joinToken: () => undefined,
    ...options,
  });
  closers.push(() => made.close());
  return made;
}

async function codeOf(answer: Promise<unknown>): Promise<unknown> {
  try {
    await answer;
    return 'signed';
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

/** The node b as it is after its join. */
function nodeB(from: { issueNode(node: string, request: Uint8Array): Issued; bundle: TrustBundle } = authority): Svid {
  const keys = newKeys();
  const { chain } = from.issueNode('b', makeRequest(keys));
  return ownSvid({ chain, privateKey: keys.privateKey }, 'spiffe://cluster.local/node/b', from.bundle, clock.now());
}

/** A client that keeps to none of the rules. */
async function rawClient(as?: Svid, options: ConnectionOptions = {}) {
  const socket = connect({
    host: '127.0.0.1',
    port: server.port,
    rejectUnauthorized: false,
    ALPNProtocols: [ALPN],
    ...(as && tlsMaterial(as)),
    ...options,
  });
  closers.push(() => socket.destroy());
  await once(socket, 'secureConnect');
  return { socket, ask: (question: Question | Buffer) => askOn(socket, question) };
}

async function askOn(socket: TLSSocket, question: Question | Buffer): Promise<Issued> {
  socket.write(Buffer.isBuffer(question) ? question : encodeQuestion(question));
  const reader = new FrameReader();
  for await (const [chunk] of on(socket)) for (const frame of reader.push(chunk)) return decodeAnswer(frame);
  throw new Error('no answer');
}

async function* on(socket: TLSSocket): AsyncGenerator<[Buffer]> {
  for (;;) yield (await once(socket, 'data')) as [Buffer];
}

const request = makeRequest(newKeys());
const exportedBy = (socket: TLSSocket) => socket.exportKeyingMaterial(32, JOIN_EXPORTER, Buffer.alloc(0));

describe('a node and the authority', () => {
  it('meet: join with a token, then workloads and renewals with the certificate', async () => {
    const token = authority.createJoinToken('b', HOUR);
    const keys = newKeys();
    const way = link({ joinToken: () => `${token}\n` });
    const { chain, authorities } = await way.node(makeRequest(keys), undefined);
    const node = ownSvid(
      { chain, privateKey: keys.privateKey },
      'spiffe://cluster.local/node/b',
      { trustDomain: TRUST_DOMAIN, authorities },
      clock.now(),
    );
    const [web, renewed] = await Promise.all([way.workload(WEB, request, node), way.node(request, node)]);
    expect(web.chain[0]?.subjectAltName).toBe('URI:spiffe://cluster.local/ns/shop/sa/web');
    expect(renewed.chain[0]?.subjectAltName).toBe('URI:spiffe://cluster.local/node/b');
    expect(log).toEqual([expect.objectContaining({ node: 'b', message: 'a node has joined' })]);
  });

  it('meet again with the renewed certificate of either side', async () => {
    const way = link();
    const first = await way.node(request, nodeB());
    expect(first.chain).toHaveLength(1);
    for (let i = 0; i < 4; i++) {
      await clock.advance(13 * HOUR);
      expect(await codeOf(way.node(request, nodeB()))).toBe('signed');
    }
  });

  it('meet through the source of a node, before and after a restart of either', async () => {
    const token = authority.createJoinToken('b', HOUR);
    const state = mkdtempSync(join(tmpdir(), 'sidestep-node-'));
    closers.push(() => rmSync(state, { recursive: true }));
    const start = (joinToken: () => string | undefined): EmbeddedSvidSource => {
      const source = new EmbeddedSvidSource({
        trustDomain: TRUST_DOMAIN,
        node: 'b',
        stateDir: state,
        bundlePem: authority.bundlePem,
        connect: (bundle) => link({ bundle, joinToken }),
        clock,
        random: Math.random,
      });
      closers.push(() => source.close());
      source.want([WEB]);
      return source;
    };
    const first = start(() => token);
    await vi.waitFor(async () => {
      await clock.advance(100);
      expect(first.workload(WEB)?.spiffeId).toBe('spiffe://cluster.local/ns/shop/sa/web');
    }, PATIENCE);
    expect(first.trouble.size).toBe(0);
    await first.close();
    await server.close();
    const second = start(() => undefined);
    expect(second.node?.serial).toBe(first.node?.serial);
    await vi.waitFor(() => expect(second.trouble.get('')?.code).toBe('CA_UNREACHABLE'), PATIENCE);
    server = await AuthorityServer.listen({ ...serverOptions(), port: server.port });
    closers.push(() => server.close());
    await vi.waitFor(async () => {
      await clock.advance(1000);
      expect(second.workload(WEB)).toBeDefined();
      expect(second.trouble.size).toBe(0);
    }, PATIENCE);
  });

  it('need one of a token and a certificate', async () => {
    expect(await codeOf(link().node(request, undefined))).toBe('CA_TOKEN_MISSING');
    expect(await codeOf(link().workload(WEB, request, undefined))).toBe('CA_NODE_REFUSED');
  });

  it('do not meet: nobody listens, or does not answer', async () => {
    const silent = createTcpServer();
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const sockets: Socket[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    closers.push(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    const waiting = codeOf(link({ port }).node(request, nodeB()));
    await vi.waitFor(() => expect(sockets).toHaveLength(1), PATIENCE);
    await clock.advance(5000);
    expect(await waiting).toBe('CA_UNREACHABLE');
    await server.close();
    expect(await codeOf(link().node(request, nodeB()))).toBe('CA_UNREACHABLE');
    expect(await codeOf(link({ addresses: [] }).node(request, nodeB()))).toBe('CA_UNREACHABLE');
  });

  it('meet at the second address when the first is dead', async () => {
    expect(await codeOf(link({ addresses: ['127.0.0.9', '127.0.0.1'] }).node(request, nodeB()))).toBe('signed');
  });
});

describe('attacks on the authority', () => {
  it('a token twice', async () => {
    const token = authority.createJoinToken('b', HOUR);
    expect(await codeOf(link({ joinToken: () => token }).node(request, undefined))).toBe('signed');
    expect(await codeOf(link({ joinToken: () => token }).node(request, undefined))).toBe('CA_TOKEN_USED');
    expect(log.at(-1)).toMatchObject({ node: 'b', code: 'CA_TOKEN_USED' });
  });

  it('the token of another node, an expired one, a wrong one', async () => {
    const token = authority.createJoinToken('b', HOUR);
    authority.createJoinToken('c', HOUR);
    const join = (node: string, joinToken: string) =>
      codeOf(link({ node, joinToken: () => joinToken }).node(request, undefined));
    expect(await join('c', token)).toBe('CA_TOKEN_REFUSED');
    expect(await join('b', 'guessed')).toBe('CA_TOKEN_REFUSED');
    await clock.advance(HOUR + 1);
    expect(await join('b', token)).toBe('CA_TOKEN_EXPIRED');
  });

  it('a proof that was overheard, sent over another connection', async () => {
    const token = authority.createJoinToken('b', HOUR);
    const [victim, attacker] = [await rawClient(), await rawClient()];
    const proof = proofOfToken(token, 'b', request, exportedBy(victim.socket));
    const replayed: Question = { type: 'join', node: 'b', request, proof };
    expect(await codeOf(attacker.ask(replayed))).toBe('CA_TOKEN_REFUSED');
    expect(await codeOf(victim.ask(replayed))).toBe('signed');
  });

  it("a node asks for a workload that runs on another, or for another node's certificate", async () => {
    places = new Set(['c shop web']);
    expect(await codeOf(link().workload(WEB, request, nodeB()))).toBe('CA_WORKLOAD_ELSEWHERE');
    // What a renewal is for is said by the caller's certificate alone.
    const client = await rawClient(nodeB());
    const asC = Buffer.from(`{"type":"node","node":"c","request":"${request.toString('base64')}"}`);
    const header = Buffer.alloc(4);
    header.writeUInt32BE(asC.length);
    expect(await codeOf(client.ask(Buffer.concat([header, asC])))).toBe('CA_PROTOCOL');
    const { chain } = await (await rawClient(nodeB())).ask({ type: 'node', request });
    expect(chain[0]?.subjectAltName).toBe('URI:spiffe://cluster.local/node/b');
  });

  it('a request that is signed with another key', async () => {
    const forged = makeRequest({ publicKey: newKeys().publicKey, privateKey: newKeys().privateKey });
    expect(await codeOf(link().node(forged, nodeB()))).toBe('CA_REQUEST_FORGED');
  });

  it.each(['node', 'workload'] as const)('a question about a %s by who is no node', async (type) => {
    const question: Question = type === 'node' ? { type, request } : { type, ...WEB, request };
    const refused = async (as?: Svid) => codeOf((await rawClient(as)).ask(question));
    expect(await refused()).toBe('CA_NODE_REFUSED');
    const keys = newKeys();
    const { chain } = authority.issueWorkload('b', WEB, makeRequest(keys));
    const web = { ...nodeB(), chain, privateKey: keys.privateKey };
    expect(await refused(web)).toBe('CA_NODE_REFUSED');
    expect(await refused(newSvid('spiffe://cluster.local/node/b', newAuthority()))).toBe('CA_NODE_REFUSED');
    expect(await refused(authority.newServerSvid())).toBe('CA_NODE_REFUSED');
  });

  it('a certificate that has expired, also while its connection is open', async () => {
    const client = await rawClient(nodeB());
    expect(await codeOf(client.ask({ type: 'node', request }))).toBe('signed');
    // Without the timers of the connection: a clock that is set forward.
    const later = clock.now() + 25 * HOUR;
    vi.spyOn(clock, 'now').mockReturnValue(later);
    expect(await codeOf(client.ask({ type: 'node', request }))).toBe('CA_NODE_REFUSED');
  });

  it('older TLS, and another protocol', async () => {
    await expect(rawClient(undefined, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).rejects.toThrow();
    await expect(rawClient(undefined, { ALPNProtocols: ['h2'] })).rejects.toThrow();
    expect(await codeOf(link().node(request, nodeB()))).toBe('signed');
  });

  it('nonsense, once', async () => {
    const { socket, ask } = await rawClient(nodeB());
    const closed = once(socket, 'close');
    expect(await codeOf(ask(Buffer.from('GET / HTTP/1.1\r\n\r\n')))).toBe('CA_PROTOCOL');
    socket.write(encodeQuestion({ type: 'node', request }));
    await closed;
  });

  it('too many joins from one address: told and sent away', async () => {
    const codes: unknown[] = [];
    for (let i = 0; i < 11; i++)
      codes.push(await codeOf(link({ joinToken: () => 'guessed' }).node(request, undefined)));
    expect(codes.slice(0, 10)).toEqual(Array(10).fill('CA_TOKEN_REFUSED'));
    expect(codes[10]).toBe('CA_BUSY');
    await clock.advance(1000);
    expect(await codeOf(link({ joinToken: () => 'guessed' }).node(request, undefined))).toBe('CA_TOKEN_REFUSED');
  });

  it('too many connections from one address', async () => {
    const clients = [];
    for (let i = 0; i < 16; i++) clients.push(await rawClient());
    await expect(rawClient()).rejects.toThrow();
    clients[0]?.socket.destroy();
    await vi.waitFor(async () => expect(await codeOf(rawClient())).toBe('signed'), PATIENCE);
  });

  it('more questions at once than answers that wait', async () => {
    const { socket } = await rawClient(nodeB());
    let heard = 0;
    socket.on('data', (chunk) => {
      heard += chunk.length;
    });
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(Buffer.concat(Array(40).fill(encodeQuestion({ type: 'node', request }))));
    await closed;
    expect(heard).toBeLessThan(32 << 10);
  });
});

describe('who takes the place of the authority', () => {
  /** Listens with this certificate and answers nothing. */
  async function impostor(as: Svid, protocols = [ALPN]): Promise<{ port: number; heard: () => number }> {
    let heard = 0;
    const tls = createServer({
      ...tlsMaterial(as),
      ALPNProtocols: protocols,
      requestCert: true,
      rejectUnauthorized: false,
    });
    tls.on('secureConnection', (socket) => {
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        heard += chunk.length;
      });
    });
    tls.listen(0, '127.0.0.1');
    await once(tls, 'listening');
    closers.push(() => tls.close());
    return { port: (tls.address() as AddressInfo).port, heard: () => heard };
  }

  it('a node of the mesh: it is told nothing', async () => {
    const { port, heard } = await impostor(nodeB());
    expect(await codeOf(link({ port, joinToken: () => 'secret' }).node(request, undefined))).toBe('CA_IMPOSTOR');
    expect(await codeOf(link({ port }).node(request, nodeB()))).toBe('CA_IMPOSTOR');
    expect(heard()).toBe(0);
  });

  it('another authority that calls itself by the same name', async () => {
    const { port, heard } = await impostor(newSvid('spiffe://cluster.local/ca', newAuthority()));
    expect(await codeOf(link({ port, joinToken: () => 'secret' }).node(request, undefined))).toBe('CA_IMPOSTOR');
    expect(heard()).toBe(0);
  });

  it("a certificate that a node has signed with its own, for the authority's name", async () => {
    const keys = newKeys();
    const { chain } = authority.issueNode('b', makeRequest(keys));
    const [certificate] = chain;
    if (certificate === undefined) throw new Error('no certificate');
    const forged = newSvid('spiffe://cluster.local/ca', { certificate, privateKey: keys.privateKey });
    const { port } = await impostor({ ...forged, chain: [...forged.chain, certificate] });
    expect(await codeOf(link({ port }).node(request, nodeB()))).toBe('CA_IMPOSTOR');
  });

  it('something that speaks TLS and nothing of this', async () => {
    const { port } = await impostor(authority.newServerSvid(), []);
    expect(await codeOf(link({ port }).node(request, nodeB()))).toBe('CA_PROTOCOL');
  });
});
