/** For tests: certificates from memory, a sink that remembers, a network of queues. */
import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { ErrorCode } from '../../model/error-codes.ts';
import type { PeerNode, Proof, ProofSink, TunnelKey, Whereabouts } from '../peers.ts';
import { nodeId, workloadId } from '../spiffe-id.ts';
import type { ServiceAccountRef, Svid, SvidSource, TrustBundle } from '../svid.ts';
import { decodeMessage, encodeMessage, type Message, type MessageOf } from './messages.ts';
import { nodeOfChain } from './node-certificate.ts';
import type { Channel, ChannelEvents, PeerCertificate, Transport, TransportHost } from './ports.ts';
import { farewell } from './tls-channel.ts';

export class MemorySource implements SvidSource {
  readonly kind = 'embedded';
  bundle: TrustBundle | undefined;
  node: Svid | undefined;
  readonly workloads = new Map<string, Svid>();
  readonly trouble = new Map<string, SidestepError>();
  readonly #listeners = new Set<() => void>();

  constructor(bundle: TrustBundle, node: Svid, workloads: readonly Svid[] = []) {
    this.bundle = bundle;
    this.node = node;
    for (const svid of workloads) this.workloads.set(svid.spiffeId, svid);
  }

  want(): void {}

  workload(of: ServiceAccountRef): Svid | undefined {
    return this.workloads.get(workloadId(this.bundle?.trustDomain ?? '', of));
  }

  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  async close(): Promise<void> {}
}

/** Which node runs what, as one truth for all nodes. */
export class MemoryWhereabouts implements Whereabouts {
  readonly #pods = new Set<string>();

  runs(node: string, namespace: string, serviceAccount: string): boolean {
    return this.#pods.has(`${node} ${namespace} ${serviceAccount}`);
  }

  put(node: string, { namespace, serviceAccount }: ServiceAccountRef): void {
    this.#pods.add(`${node} ${namespace} ${serviceAccount}`);
  }

  take(node: string, { namespace, serviceAccount }: ServiceAccountRef): void {
    this.#pods.delete(`${node} ${namespace} ${serviceAccount}`);
  }
}

export type SinkEvent =
  | { readonly kind: 'prepareKey' | 'commitKey'; readonly node: string; readonly epoch: number }
  | { readonly kind: 'proven' | 'accepted'; readonly node: string; readonly spiffeId: string; readonly epoch: number }
  | { readonly kind: 'withdrawn'; readonly node: string; readonly spiffeId: string; readonly cause: string };

/** What the kernel would have, and in which order it was told. */
export class RecordingSink implements ProofSink {
  readonly events: SinkEvent[] = [];
  readonly prepared = new Map<string, TunnelKey>();
  readonly committed = new Map<string, TunnelKey>();
  readonly theirs = new Map<string, Proof>();
  readonly ours = new Map<string, Proof>();
  /** Called before anything is written; may reject, or take its time. */
  before: (kind: SinkEvent['kind'], over?: AbortSignal) => Promise<void> = () => Promise.resolve();

  async prepareKey(key: TunnelKey, over: AbortSignal): Promise<void> {
    this.events.push({ kind: 'prepareKey', node: key.node, epoch: key.epoch });
    await this.before('prepareKey', over);
    this.prepared.set(key.node, key);
  }

  async commitKey(node: string, epoch: number, over: AbortSignal): Promise<void> {
    this.events.push({ kind: 'commitKey', node, epoch });
    await this.before('commitKey', over);
    const key = this.prepared.get(node);
    if (key?.epoch !== epoch) throw new Error(`epoch ${epoch} was not prepared`);
    this.committed.set(node, key);
  }

  async proven(proof: Proof): Promise<void> {
    this.#write('proven', proof);
    await this.before('proven');
    this.theirs.set(`${proof.node} ${proof.spiffeId}`, proof);
  }

  async accepted(proof: Proof): Promise<void> {
    this.#write('accepted', proof);
    await this.before('accepted');
    this.ours.set(`${proof.node} ${proof.spiffeId}`, proof);
  }

  withdrawn(node: string, spiffeId: string, side: 'theirs' | 'ours', cause: string): void {
    this.events.push({ kind: 'withdrawn', node, spiffeId, cause });
    this[side].delete(`${node} ${spiffeId}`);
  }

  count(kind: SinkEvent['kind']): number {
    return this.events.filter((event) => event.kind === kind).length;
  }

  #write(kind: 'proven' | 'accepted', { node, spiffeId, epoch }: Proof): void {
    this.events.push({ kind, node, spiffeId, epoch });
  }
}

/** Between two ends, in order, one way. */
interface Pipe {
  readonly from: string;
  readonly items: (() => void)[];
  isHeld: boolean;
}

export type Fate = 'deliver' | 'lose' | 'cut';

/**
 * Nodes that reach each other without sockets. What is sent waits in a queue until somebody delivers it, in whatever order of
 * queues they like; messages pass through their bytes.
 */
export class MemoryNetwork {
  readonly #hosts = new Map<string, { readonly transport: MemoryTransport; readonly host: TransportHost }>();
  readonly #pipes: Pipe[] = [];
  readonly #live = new Set<MemoryLink>();
  /** Delivered at once, in the order sent. */
  isPrompt = true;
  /** Bytes that nobody has taken, at every end. */
  backlog = 0;
  /** What becomes of each message; called in the order sent. */
  fate: (message: Message, from: string) => Fate = () => 'deliver';
  /** All that were sent. */
  readonly sent: { readonly from: string; readonly message: Message; readonly bytes: number }[] = [];

  join(name: string, transport: MemoryTransport, host: TransportHost): void {
    this.#hosts.set(name, { transport, host });
  }

  leave(name: string): void {
    this.#hosts.delete(name);
  }

  pipe(from: string): Pipe {
    const pipe: Pipe = { from, items: [], isHeld: false };
    this.#pipes.push(pipe);
    return pipe;
  }

  push(pipe: Pipe, action: () => void): void {
    pipe.items.push(action);
    if (this.isPrompt) setImmediate(() => this.#deliver(pipe));
  }

  /** @param pick from 0 to less than 1. @returns whether there was something to deliver */
  deliverOne(pick: number): boolean {
    const ready = this.#pipes.filter((pipe) => pipe.items.length > 0 && !pipe.isHeld);
    const pipe = ready[Math.floor(pick * ready.length)];
    if (pipe === undefined) return false;
    this.#deliver(pipe);
    return true;
  }

  /** What has waited goes on as if it were prompt from now on. */
  deliverAll(): void {
    for (const pipe of this.#pipes) for (const _ of pipe.items) setImmediate(() => this.#deliver(pipe));
  }

  hold(pipe: Pipe, isHeld: boolean): void {
    const was = pipe.isHeld;
    pipe.isHeld = isHeld;
    if (was && !isHeld && this.isPrompt) for (const _ of pipe.items) setImmediate(() => this.#deliver(pipe));
  }

  /** Ends every connection of this node at once, as a machine that loses its power. */
  cut(name?: string): void {
    for (const link of [...this.#live]) if (name === undefined || link.touches(name)) link.cut();
  }

  /** Connections whose ends both live. */
  get links(): number {
    return [...this.#live].filter((link) => !link.isOver).length;
  }

  /** Messages of this node that nobody reads. */
  unread(from: string): number {
    return this.#pipes.reduce((sum, pipe) => sum + (pipe.from === from ? pipe.items.length : 0), 0);
  }

  /** Its end of a connection that is there: what it sends is said by it. */
  channelOf(name: string): Channel | undefined {
    return [...this.#live]
      .filter((link) => !link.isOver)
      .map((link) => link.endOf(name))
      .find((end) => end !== undefined);
  }

  dial(from: MemoryTransport, fromHost: TransportHost, to: string, over: AbortSignal): Promise<Channel> {
    const { promise, resolve, reject } = Promise.withResolvers<Channel>();
    const answer = this.pipe(to);
    const there = this.#hosts.get(to);
    if (there === undefined) {
      this.push(answer, () => reject(new SidestepError('AUTH_UNREACHABLE', `${to} does not answer`)));
      return promise;
    }
    this.push(answer, () => {
      if (over.aborted) return reject(new SidestepError('AUTH_SESSION_REPLACED', 'not needed'));
      try {
        const link = new MemoryLink(this, from, fromHost, there.transport, there.host);
        this.#live.add(link);
        link.whenCut(() => this.#live.delete(link));
        this.push(link.toAcceptor, () => there.host.accepted(link.acceptor));
        resolve(link.dialler);
      } catch (error) {
        reject(error);
      }
    });
    return promise;
  }

  #deliver(pipe: Pipe): void {
    if (!pipe.isHeld) pipe.items.shift()?.();
  }
}

class MemoryLink {
  readonly toAcceptor: Pipe;
  readonly dialler: MemoryChannel;
  readonly acceptor: MemoryChannel;
  readonly #names: readonly string[];
  #gone: () => void = () => undefined;

  constructor(
    network: MemoryNetwork,
    from: MemoryTransport,
    fromHost: TransportHost,
    to: MemoryTransport,
    toHost: TransportHost,
  ) {
    const secret = randomBytes(32);
    this.#names = [fromHost.node, toHost.node];
    this.toAcceptor = network.pipe(fromHost.node);
    const toDialler = network.pipe(toHost.node);
    const ends = { network, secret, link: this };
    this.dialler = new MemoryChannel({
      ...ends,
      side: 'us',
      certificate: to.seenBy(fromHost),
      out: this.toAcceptor,
      in: toDialler,
    });
    this.acceptor = new MemoryChannel({
      ...ends,
      side: 'them',
      certificate: from.seenBy(toHost),
      out: toDialler,
      in: this.toAcceptor,
    });
    this.dialler.other = this.acceptor;
    this.acceptor.other = this.dialler;
  }

  touches(name: string): boolean {
    return this.#names.includes(name);
  }

  get isOver(): boolean {
    return this.dialler.isOver || this.acceptor.isOver;
  }

  endOf(name: string): MemoryChannel | undefined {
    if (this.#names[0] === name) return this.dialler;
    return this.#names[1] === name ? this.acceptor : undefined;
  }

  whenCut(gone: () => void): void {
    this.#gone = gone;
  }

  cut(): void {
    this.#gone();
    this.dialler.lose();
    this.acceptor.lose();
  }
}

interface MemoryEnd {
  readonly network: MemoryNetwork;
  readonly link: MemoryLink;
  readonly secret: Uint8Array;
  readonly side: 'us' | 'them';
  readonly certificate: PeerCertificate;
  readonly out: Pipe;
  readonly in: Pipe;
}

class MemoryChannel implements Channel {
  readonly dialledBy: 'us' | 'them';
  readonly certificate: PeerCertificate;
  readonly address = '192.0.2.1';
  readonly #end: MemoryEnd;
  other: MemoryChannel | undefined;
  #events: ChannelEvents | undefined;
  #early: Message[] = [];
  #closed: SidestepError | undefined;

  constructor(end: MemoryEnd) {
    this.#end = end;
    this.dialledBy = end.side;
    this.certificate = end.certificate;
  }

  get isOver(): boolean {
    return this.#closed !== undefined;
  }

  exporter(label: string, context: Uint8Array): Uint8Array {
    return createHmac('sha256', this.#end.secret).update(label).update(context).digest();
  }

  get backlog(): number {
    return this.#end.network.backlog;
  }

  open(events: ChannelEvents): void {
    this.#events = events;
    for (const message of this.#early) events.message(message);
    this.#early = [];
    if (this.#closed !== undefined) events.closed(this.#closed);
  }

  send(message: Message): void {
    if (this.#closed !== undefined) return;
    const { network, out, link } = this.#end;
    const bytes = encodeMessage(message);
    network.sent.push({ from: out.from, message, bytes: bytes.length });
    const fate = network.fate(message, out.from);
    if (fate === 'cut') link.cut();
    else if (fate !== 'lose') network.push(out, () => this.other?.hear(decodeMessage(bytes)));
  }

  hold(held: boolean): void {
    this.#end.network.hold(this.#end.in, held);
  }

  close(reason: SidestepError): void {
    if (this.#closed !== undefined) return;
    const { network, out } = this.#end;
    network.push(out, () => this.other?.hear({ kind: 'bye', code: reason.code }));
    this.#over(reason);
  }

  lose(): void {
    this.#over(new SidestepError('AUTH_SESSION_LOST', `the connection with ${this.certificate.node} was cut`));
  }

  hear(message: Message): void {
    if (this.#closed !== undefined) return;
    if (message.kind === 'bye') this.#over(farewell(this.certificate.node, message.code));
    else if (this.#events === undefined) this.#early.push(message);
    else this.#events.message(message);
  }

  #over(reason: SidestepError): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    this.#events?.closed(reason);
  }
}

export class MemoryTransport implements Transport {
  readonly #network: MemoryNetwork;
  readonly #source: MemorySource;
  readonly #clock: Clock;
  #host: TransportHost | undefined;

  constructor(network: MemoryNetwork, source: MemorySource, clock: Clock) {
    this.#network = network;
    this.#source = source;
    this.#clock = clock;
  }

  async start(host: TransportHost): Promise<{ readonly port: number }> {
    this.#host = host;
    this.#network.join(host.node, this, host);
    return { port: 0 };
  }

  dial(node: PeerNode, over: AbortSignal): Promise<Channel> {
    if (this.#host === undefined) return Promise.reject(new Error('not started'));
    return this.#network.dial(this, this.#host, node.name, over);
  }

  /** This node's certificate, verified as the other does. */
  seenBy(other: TransportHost): PeerCertificate {
    const { node, bundle } = this.#source;
    if (node === undefined || bundle === undefined) throw new SidestepError('AUTH_SVID_MISSING', 'none');
    return nodeOfChain(node.chain, { bundle, nodeOf: (id) => other.nodeOf(id), now: this.#clock.now() });
  }

  refresh(): void {}

  async close(): Promise<void> {
    if (this.#host !== undefined) this.#network.leave(this.#host.node);
  }
}

/** In the place of an agent: takes whoever dials, says what it is told to, and writes down what it hears. */
export class Puppet implements TransportHost {
  readonly node: string;
  readonly trustDomain = TRUST_DOMAIN;
  readonly heard: string[] = [];
  readonly #transport: MemoryTransport;
  #channel: Channel | undefined;

  constructor(node: string, network: MemoryNetwork, source: MemorySource, clock: Clock) {
    this.node = node;
    this.#transport = new MemoryTransport(network, source, clock);
  }

  async start(): Promise<void> {
    await this.#transport.start(this);
  }

  nodeOf(spiffeId: string): string | undefined {
    return spiffeId.split('/').at(-1);
  }

  knows(): boolean {
    return true;
  }

  accepted(channel: Channel): void {
    this.#channel = channel;
    channel.open({
      message: ({ kind }) => this.heard.push(kind),
      closed: ({ code }) => this.heard.push(code),
    });
  }

  turnedAway(): void {}

  /** Dials, and says nothing. */
  async dial(node: PeerNode): Promise<void> {
    this.accepted(await this.#transport.dial(node, new AbortController().signal));
  }

  say(message: Message): void {
    this.#channel?.send(message);
  }
}

export function hello(node: string): MessageOf<'hello'> {
  const key = new Uint8Array(32).fill(1);
  return {
    kind: 'hello',
    version: 1,
    oldest: 1,
    node,
    boot: new Uint8Array(16),
    ordinal: 1,
    key,
    port: 51_871,
    epoch: 0,
  };
}

export const TRUST_DOMAIN = 'cluster.local';
export const quiet = { info: () => undefined, warn: () => undefined };

export function account(serviceAccount: string): ServiceAccountRef {
  return { namespace: 'shop', serviceAccount };
}

export function idOf(serviceAccount: string): string {
  return workloadId(TRUST_DOMAIN, account(serviceAccount));
}

export function nodeIdOf(name: string): string {
  return nodeId(TRUST_DOMAIN, name);
}

export async function failureOf(promise: Promise<unknown>): Promise<{ code: ErrorCode; message: string }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SidestepError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('it did not fail');
}
