/**
 * One session over one channel: Hello, tunnel key, then identities. What comes in is handled one after the other, each to its
 * end; whether the other end is alive is noticed beside that.
 *
 *   hello ──both Hellos──► keys ──both committed──► open ──► closed (from anywhere)
 */

import type { Clock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { ProofSink, TunnelKey } from '../peers.ts';
import type { Exchange } from './exchange.ts';
import { KeyAgreement } from './key-agreement.ts';
import { KeyRotation } from './key-rotation.ts';
import type { Limits, Times } from './limits.ts';
import type { Hello, Message, MessageOf } from './messages.ts';
import type { Channel } from './ports.ts';
import { TokenBucket } from './token-bucket.ts';
import { presharedKey } from './tunnel-key.ts';
import { untilOver } from './until-over.ts';
import { commonVersion } from './version.ts';

export type SessionState = 'hello' | 'keys' | 'open' | 'closed';

/** The peer that the session belongs to. */
export interface SessionHost {
  /** Our next Hello; each has a number of its own. */
  hello(): Hello;
  /** Is this session the one from now on? @returns what of an earlier one is still being done; undefined: it is not taken */
  takes(session: Session, theirs: Hello): Promise<void> | undefined;
  opened(session: Session): void;
  /** The other end names another tunnel key of its own. @returns why it is not taken */
  claims(session: Session, key: Uint8Array): SidestepError | undefined;
  /** Packets go through under it. */
  proved(key: Uint8Array): void;
  /** This node is to have another key itself. */
  readonly isRotating: boolean;
  /** Once, and the last call. `stage`: how far it had come. */
  closed(session: Session, reason: SidestepError, stage: SessionState): void;
  lastEpoch(): number;
  usedEpoch(epoch: number): void;
  exchange(session: Session): Exchange;
}

export interface SessionOptions {
  readonly node: string;
  readonly peer: string;
  readonly weAreLower: boolean;
  readonly channel: Channel;
  readonly host: SessionHost;
  readonly sink: Pick<ProofSink, 'prepareKey' | 'commitKey'>;
  readonly clock: Clock;
  readonly times: Times;
  readonly limits: Limits;
  /** When dialling began, or when the channel was there: milliseconds since the epoch. */
  readonly began: number;
}

/** A sink that does not notice that a session has ended is waited for this long. */
const DRAIN_MS = 1000;

export class Session {
  readonly #options: SessionOptions;
  readonly #over = new AbortController();
  readonly #bucket: TokenBucket;
  #state: SessionState = 'hello';
  #since: number;
  #ours: Hello | undefined;
  #theirs: Hello | undefined;
  #keys: KeyAgreement | undefined;
  readonly #rotation: KeyRotation;
  #exchange: Exchange | undefined;
  #epoch = 0;
  #keyedAt = 0;
  #jobs: Promise<void> = Promise.resolve();
  #waiting = 0;
  #reconciling = false;
  #heardAt: number;
  #saidAt: number;
  #tooMany = false;
  #tooFast = false;
  #stopDeadline: () => void;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { clock, times, limits } = options;
    this.#since = clock.now();
    this.#heardAt = this.#since;
    this.#saidAt = this.#since;
    this.#bucket = new TokenBucket(limits.rate, limits.burst, clock);
    this.#rotation = new KeyRotation({
      peer: options.peer,
      over: this.#over.signal,
      now: () => clock.now(),
      keptMs: times.keyMs,
      send: (step, key) => this.#send({ kind: 'rotate', step, key }),
      isBusy: () => options.host.isRotating || this.#keys?.isIdle !== true,
      claim: (key) => options.host.claims(this, key),
      prepare: () => options.sink.prepareKey(this.#tunnelKey(this.#epoch), this.#over.signal),
      commit: () => options.sink.commitKey(options.peer, this.#epoch, this.#over.signal),
    });
    this.#stopDeadline = this.#deadline(times.helloMs, 'AUTH_HANDSHAKE_TIMEOUT', 'said no Hello');
  }

  get state(): SessionState {
    return this.#state;
  }

  /** When it came to this state. */
  get since(): number {
    return this.#since;
  }

  get began(): number {
    return this.#options.began;
  }

  get channel(): Channel {
    return this.#options.channel;
  }

  /** Of the tunnel key in use; 0: none yet. */
  get epoch(): number {
    return this.#epoch;
  }

  /** The other end's Hello. */
  get hello(): Hello | undefined {
    return this.#theirs;
  }

  /** That we have named. */
  get ourTunnelKey(): Uint8Array {
    return this.#rotation.ours;
  }

  get theirTunnelKey(): Uint8Array {
    return this.#rotation.theirs;
  }

  /** Is a tunnel key of one end being replaced? */
  get isRotating(): boolean {
    return this.#rotation.isPending;
  }

  /** Asks the other end whether it would take another tunnel key of this node's. @throws why not, or that the session ended */
  async announceKey(next: Uint8Array): Promise<void> {
    if (this.#keys?.isIdle !== true)
      throw new SidestepError('AUTH_KEY_BUSY', `a tunnel key with ${this.#options.peer} is just being agreed upon`);
    await this.#rotation.announce(next);
  }

  /** It will not be in use. */
  dropKey(): void {
    this.#rotation.drop();
  }

  /** It is in use at this end. Resolves when packets go through under it. @throws that the session ended */
  switchKey(next: Uint8Array): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    return untilOver(this.#over.signal, this.#options.peer, () => {
      this.#run(() => this.#inTime(() => this.#rotation.use(next)).then(resolve));
      return promise;
    });
  }

  /** All that was begun has ended. */
  get drained(): Promise<void> {
    return this.#jobs;
  }

  /** Begins: who has dialled speaks first. */
  start(): void {
    const { channel } = this.#options;
    if (channel.dialledBy === 'us') this.#sayHello();
    channel.open({
      message: (message) => this.#receive(message),
      closed: (reason) => this.#end(reason),
    });
  }

  /** Soon; several calls are one. */
  reconcile(): void {
    if (this.#reconciling) return;
    this.#reconciling = true;
    this.#run(async () => {
      this.#reconciling = false;
      if (this.#state === 'open') await this.#exchange?.reconcile();
    });
  }

  /** Behind what is being done, if the session is open by then. */
  exchange(job: (exchange: Exchange) => Promise<void> | void): void {
    this.#run(async () => {
      if (this.#state === 'open' && this.#exchange !== undefined) await job(this.#exchange);
    });
  }

  /** Only the lower node proposes keys: at the higher one nothing happens. */
  rekey(): void {
    if (!this.#options.weAreLower) return;
    this.#run(async () => {
      if (this.#state === 'open' && this.#keys?.isIdle === true && !this.isRotating) await this.#keys.propose();
    });
  }

  tick(now: number): void {
    const { times, limits, channel, peer, weAreLower } = this.#options;
    // Where the clock was set back, what lies ahead was just now.
    this.#heardAt = Math.min(this.#heardAt, now);
    this.#saidAt = Math.min(this.#saidAt, now);
    this.#keyedAt = Math.min(this.#keyedAt, now);
    if (channel.certificate.notAfter <= now)
      this.close(new SidestepError('AUTH_NODE_CERTIFICATE_EXPIRED', channel.certificate.spiffeId));
    else if (channel.backlog > limits.backlogBytes)
      this.close(new SidestepError('AUTH_PEER_SLOW', `${peer} has ${channel.backlog} bytes to read`));
    // Somebody whom we do not listen to may be alive.
    else if (!this.#isHeld && now - this.#heardAt >= times.deadMs)
      this.close(new SidestepError('AUTH_PEER_SILENT', `${peer} was last heard ${now - this.#heardAt} ms ago`));
    if (this.#state !== 'keys' && this.#state !== 'open') return;
    if (now - this.#saidAt >= times.idleMs) this.#send({ kind: 'ping' });
    if (this.#state !== 'open') return;
    if (weAreLower && now - this.#keyedAt >= times.rekeyMs) this.rekey();
    if (this.#exchange?.isRenewalDue() === true) this.reconcile();
  }

  close(reason: SidestepError): void {
    this.#options.channel.close(reason);
  }

  #receive(message: Message): void {
    if (this.#state === 'closed') return;
    this.#heardAt = this.#options.clock.now();
    this.#brake(message);
    if (this.#state === 'hello') this.#greeted(message);
    else if (message.kind === 'key') this.#run(async () => this.#keys?.receive(message.step, message.epoch));
    else if (message.kind === 'rotate') this.#run(() => this.#rotate(message));
    else if (message.kind === 'hello') this.#misplaced(message);
    else if (message.kind !== 'ping') this.#run(async () => this.#identities(message));
  }

  async #identities(message: Message): Promise<void> {
    if (this.#state !== 'open' || this.#exchange === undefined) this.#misplaced(message);
    else await this.#exchange.receive(message);
  }

  async #rotate(message: MessageOf<'rotate'>): Promise<void> {
    const { host } = this.#options;
    if (this.#state !== 'open') this.#misplaced(message);
    else if (await this.#inTime(() => this.#rotation.receive(message))) host.proved(this.theirTunnelKey);
  }

  /** Of a session that is open, in which nothing else is being agreed upon. */
  async #inTime<T>(action: () => Promise<T>): Promise<T> {
    const { times } = this.#options;
    const stop = this.#deadline(times.keyMs, 'AUTH_KEY_TIMEOUT', 'did not take a new tunnel key');
    return await action().finally(stop);
  }

  #misplaced({ kind }: Message): void {
    this.close(new SidestepError('AUTH_PROTOCOL', `${this.#options.peer}: ${kind} while ${this.#state}`));
  }

  #greeted(message: Message): void {
    const { host, peer, channel } = this.#options;
    if (message.kind !== 'hello') {
      this.#misplaced(message);
      return;
    }
    const problem = this.#problemOf(message);
    const earlier = problem === undefined ? host.takes(this, message) : undefined;
    if (earlier === undefined) {
      this.close(problem ?? new SidestepError('AUTH_SESSION_REPLACED', `another session with ${peer} goes on`));
      return;
    }
    if (channel.dialledBy === 'them') this.#sayHello();
    this.#theirs = message;
    this.#rotation.begin(this.#ours?.key ?? new Uint8Array(), message.key);
    this.#become('keys');
    // From here on times.keyMs counts.
    this.#stopDeadline();
    this.#keys = this.#keyAgreement(message);
    this.#proceed(earlier);
  }

  #problemOf(theirs: Hello): SidestepError | undefined {
    const { peer, channel } = this.#options;
    if (theirs.node !== peer) {
      const text = `${channel.certificate.spiffeId} calls itself ${JSON.stringify(theirs.node)}`;
      return new SidestepError('AUTH_WRONG_NODE', text);
    }
    if (commonVersion(theirs) !== undefined) return undefined;
    return new SidestepError('AUTH_VERSION_MISMATCH', `${peer} speaks ${theirs.oldest} to ${theirs.version}`);
  }

  /** Once whatever an earlier session has begun is done: the sink is told in order. */
  #proceed(earlier: Promise<void>): void {
    const { weAreLower, clock } = this.#options;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = clock.after(DRAIN_MS, resolve);
    this.#run(async () => {
      await Promise.race([earlier, late]);
      cancel();
      if (weAreLower && this.#state !== 'closed') await this.#keys?.propose();
    });
  }

  #sayHello(): void {
    this.#ours = this.#options.host.hello();
    this.#send({ kind: 'hello', ...this.#ours });
  }

  #keyAgreement(theirs: Hello): KeyAgreement {
    const { weAreLower, peer, sink, host, times } = this.#options;
    this.#stopDeadline = this.#deadline(times.keyMs, 'AUTH_KEY_TIMEOUT', 'did not agree on a tunnel key');
    return new KeyAgreement({
      weAreLower,
      peer,
      sink,
      keyOf: (epoch) => this.#tunnelKey(epoch),
      lastEpoch: () => Math.max(host.lastEpoch(), theirs.epoch),
      used: (epoch) => host.usedEpoch(epoch),
      send: (step, epoch) => this.#send({ kind: 'key', step, epoch }),
      over: this.#over.signal,
      began: () => {
        if (this.#state !== 'open') return;
        this.#stopDeadline = this.#deadline(times.keyMs, 'AUTH_KEY_TIMEOUT', 'did not agree on a new tunnel key');
      },
      agreed: (epoch) => this.#agreed(epoch),
    });
  }

  #tunnelKey(epoch: number): TunnelKey {
    const { node, peer, channel, weAreLower } = this.#options;
    const us = { node, publicKey: this.#rotation.ours };
    const them = { node: peer, publicKey: this.#rotation.theirs };
    return {
      node: peer,
      publicKey: them.publicKey,
      presharedKey: weAreLower ? presharedKey(channel, epoch, us, them) : presharedKey(channel, epoch, them, us),
      epoch,
      endpoint: { address: channel.address, port: this.#theirs?.port ?? 0 },
    };
  }

  #agreed(epoch: number): void {
    const { host, clock } = this.#options;
    this.#stopDeadline();
    this.#epoch = epoch;
    this.#keyedAt = clock.now();
    if (this.#state !== 'keys') return;
    this.#exchange = host.exchange(this);
    this.#become('open');
    host.opened(this);
  }

  #become(state: SessionState): void {
    this.#state = state;
    this.#since = this.#options.clock.now();
  }

  #send(message: Message): void {
    this.#saidAt = this.#options.clock.now();
    this.#options.channel.send(message);
  }

  /** For the exchange. */
  send(message: Message): void {
    if (this.#state === 'open') this.#send(message);
  }

  #run(job: () => Promise<void>): void {
    this.#waiting++;
    this.#hold();
    this.#jobs = this.#jobs.then(async () => {
      try {
        if (this.#state !== 'closed') await job();
      } catch (error) {
        // A bug of ours ends this session, not the agent.
        this.close(
          error instanceof SidestepError ? error : new SidestepError('AUTH_INTERNAL', String(error), { cause: error }),
        );
      }
      this.#waiting--;
      this.#hold();
    });
  }

  /** Who speaks faster than we take it is not read for a while. */
  #brake(message: Message): void {
    const { clock } = this.#options;
    const wait = this.#bucket.take(costOf(message));
    if (wait === 0 || this.#tooFast) return;
    this.#tooFast = true;
    this.#hold();
    clock.after(wait, () => {
      this.#tooFast = false;
      this.#hold();
    });
  }

  get #isHeld(): boolean {
    return this.#tooMany || this.#tooFast;
  }

  #hold(): void {
    const { limits, channel, clock } = this.#options;
    const before = this.#isHeld;
    this.#tooMany = this.#waiting > limits.inbox;
    if (before && !this.#isHeld) this.#heardAt = clock.now();
    channel.hold(this.#isHeld);
  }

  /** @returns stops it */
  #deadline(ms: number, code: 'AUTH_HANDSHAKE_TIMEOUT' | 'AUTH_KEY_TIMEOUT', text: string): () => void {
    return this.#options.clock.after(ms, () => {
      this.close(new SidestepError(code, `${this.#options.peer} ${text} within ${ms} ms`));
    });
  }

  #end(reason: SidestepError): void {
    if (this.#state === 'closed') return;
    const stage = this.#state;
    this.#stopDeadline();
    this.#become('closed');
    this.#over.abort();
    this.#exchange?.end();
    this.#options.host.closed(this, reason, stage);
  }
}

/** In tokens: proofs are verified, wants are answered with signatures. */
function costOf(message: Message): number {
  if (message.kind === 'prove') return 1 + message.proofs.length;
  if (message.kind === 'want') return 1 + message.identities.length;
  return 1;
}
