/**
 * Everything between this node and one other, over all sessions: what is needed, what is proven, who waits, and when it is dialled.
 * Which of two sessions stands is tie-break.ts, what is said in one is session.ts and exchange.ts. Long, because it is what joins them.
 */
import { SidestepError } from '../../model/error.ts';
import type { ErrorCode } from '../../model/error-codes.ts';
import type { PeerNode } from '../peers.ts';
import { workloadId } from '../spiffe-id.ts';
import type { ServiceAccountRef } from '../svid.ts';
import { verifySvid } from '../verify.ts';
import { Demands, type Pair } from './demands.ts';
import { Dialler } from './dialler.ts';
import { Exchange } from './exchange.ts';
import { bindingOf, checkPlace } from './identity-proof.ts';
import { type Held, Ledger, type Side } from './ledger.ts';
import type { Hello } from './messages.ts';
import { nodeOfChain } from './node-certificate.ts';
import { whyOverdue } from './overdue.ts';
import { svidOf } from './own-svid.ts';
import type { Need, PeerContext } from './peer-context.ts';
import type { Channel } from './ports.ts';
import { Session, type SessionHost, type SessionState } from './session.ts';
import { isLower, takes } from './tie-break.ts';
import { OLDEST_VERSION, VERSION } from './version.ts';
import { type LastError, type PeerView, type ProofView, peerView, proofView } from './view.ts';

export class Peer implements SessionHost {
  readonly #context: PeerContext;
  readonly #ledger: Ledger;
  readonly #demands: Demands;
  readonly #dialler: Dialler;
  readonly #weAreLower: boolean;
  #node: PeerNode;
  #needs: { readonly ours: ReadonlySet<string>; readonly theirs: ReadonlySet<string> } = NOTHING;
  /** A session is wanted, whatever is to be proven in it. */
  #named = false;
  #session: Session | undefined;
  /** Dialled by them, before their Hello was taken. */
  readonly #greeting = new Set<Session>();
  #epoch = 0;
  #lastError: LastError | undefined;
  #stateSince: number;
  /** Taken back while there was no session to say so. */
  readonly #unsaid = new Set<string>();
  /** Its other end knows our next tunnel key. */
  #announced: Session | undefined;
  #removed = false;

  constructor(node: PeerNode, context: PeerContext) {
    this.#node = node;
    this.#context = context;
    const { clock, random, times, limits, sink, counters } = context;
    this.#stateSince = clock.now();
    this.#weAreLower = isLower(context.node, node.name);
    this.#ledger = new Ledger(node.name, sink, (side, identity) =>
      this.#demands.changed(side, identity, (pair) => this.#isProven(pair)),
    );
    this.#demands = new Demands({
      clock,
      waitMs: times.demandMs,
      most: limits.demands,
      overdue: (pair, why) =>
        whyOverdue(pair, why, {
          peer: this.#node.name,
          source: context.source,
          isOpen: this.#session?.state === 'open',
          lastError: this.#lastError,
          waitedMs: times.demandMs,
        }),
      took: (ms) => counters.took('demandLatency', ms),
    });
    this.#dialler = new Dialler({
      weAreLower: this.#weAreLower,
      clock,
      random,
      times,
      isNeeded: () => !this.#removed && this.#session === undefined && this.#wantsSession(),
      packetsWait: () => this.#demands.size > 0,
      connect: (over) => this.#connect(over),
      begin: (channel, began) => {
        const session = this.#begin(channel, began);
        // Its end must find it here.
        queueMicrotask(() => session.start());
        return session;
      },
      failed: (reason) => {
        counters.failed('handshakes', reason.code);
        this.#fail(reason);
      },
    });
  }

  // What the agent asks for

  update(node: PeerNode): void {
    const before = this.#node;
    this.#node = node;
    const address = this.#session?.channel.address ?? '';
    // An address that was this node's and is not any more may be another's by now.
    if (before.addresses.includes(address) && !node.addresses.includes(address))
      this.#session?.close(new SidestepError('AUTH_NODE_GONE', `${node.name} has left ${address}`));
    this.#dialler.approach();
  }

  /** @param need undefined: nothing; one that names no identity asks for a tunnel */
  need(need: Pick<Need, 'ours' | 'theirs'> | undefined): void {
    const { ours, theirs } = need ?? { ours: [], theirs: [] };
    this.#named = need !== undefined;
    const ids = (refs: readonly ServiceAccountRef[]) =>
      new Set(refs.map((ref) => workloadId(this.#context.trustDomain, ref)));
    this.#needs = { ours: ids(ours), theirs: ids(theirs) };
    this.#session?.reconcile();
    this.#dialler.approach();
  }

  demand(ours: ServiceAccountRef, theirs: ServiceAccountRef): Promise<void> {
    const { trustDomain } = this.#context;
    const pair = { ours: workloadId(trustDomain, ours), theirs: workloadId(trustDomain, theirs) };
    const waiting = this.#demands.waiting(pair);
    if (waiting !== undefined) return waiting;
    if (this.#isProven(pair)) return Promise.resolve();
    const promise = this.#demands.add(pair);
    if (this.#session === undefined) this.#dialler.hurry();
    else this.#session.exchange((exchange) => exchange.demand(pair.ours, pair.theirs));
    return promise;
  }

  /** Somewhere a pod came or went. */
  recheck(): void {
    const { whereabouts } = this.#context;
    const bundle = this.#context.bundle();
    if (bundle === undefined) return;
    for (const { proof } of this.#ledger.entries('theirs').values())
      this.#judge(proof, () => checkPlace(proof.spiffeId, this.#node.name, { bundle, whereabouts }));
    this.#session?.exchange((exchange) => exchange.askAgain());
  }

  /** Other authorities: what they do not vouch for is over. */
  reverify(): void {
    const { clock, nodeOf } = this.#context;
    const bundle = this.#context.bundle();
    if (bundle === undefined) return;
    const now = clock.now();
    for (const session of this.#sessions()) {
      try {
        nodeOfChain(session.channel.certificate.chain, { bundle, nodeOf, now });
      } catch (error) {
        session.close(error as SidestepError);
      }
    }
    for (const { proof, chain } of this.#ledger.entries('theirs').values())
      this.#judge(proof, () => verifySvid(chain, bundle, now));
    this.#session?.exchange((exchange) => exchange.askAgain());
  }

  /** Our own certificates: new, renewed, or gone. */
  sourceChanged(): void {
    const { source } = this.#context;
    for (const identity of [...this.#ledger.entries('ours').keys()]) {
      if (svidOf(source, identity) !== undefined) continue;
      this.#ledger.withdraw('ours', identity, 'AUTH_SVID_MISSING');
      if (this.#unsaid.size < this.#context.limits.identities) this.#unsaid.add(identity);
    }
    this.#sayUnsaid();
    this.#session?.reconcile();
    this.#dialler.approach();
  }

  /** This node has another certificate, or one at all. */
  canDialAgain(): void {
    if (this.#lastError?.code !== 'AUTH_SVID_MISSING') return;
    this.#dialler.forgive();
    this.#dialler.approach();
  }

  rekey(): void {
    const { publicKey } = this.#context.tunnel;
    const session = this.#session;
    if (session === undefined) return;
    if (Buffer.from(publicKey).equals(session.ourTunnelKey)) session.rekey();
    else
      session.close(new SidestepError('AUTH_TUNNEL_CHANGED', `a session with ${this.#node.name} carries the new key`));
  }

  /** Is a tunnel key being replaced, of this node or of the peer? */
  get isKeyChanging(): boolean {
    return this.#session?.isRotating === true;
  }

  /** Would the peer take another tunnel key of this node's? @throws AUTH_NO_SESSION, AUTH_HANDSHAKE_TIMEOUT, AUTH_KEY_BUSY */
  async announceKey(next: Uint8Array): Promise<void> {
    const session = this.#session;
    const { clock, times } = this.#context;
    if (session?.state !== 'open')
      throw new SidestepError('AUTH_NO_SESSION', `there is no open session with ${this.#node.name}`);
    const { promise: late, reject } = Promise.withResolvers<never>();
    const cancel = clock.after(times.helloMs, () =>
      reject(
        new SidestepError('AUTH_HANDSHAKE_TIMEOUT', `${this.#node.name} did not answer within ${times.helloMs} ms`),
      ),
    );
    try {
      await Promise.race([session.announceKey(next), late]);
      this.#announced = session;
    } finally {
      cancel();
    }
  }

  /**
   * This node's key is another now. A session that knows nothing of it is replaced.
   * @returns when packets go through under it
   */
  async switchKey(next: Uint8Array): Promise<void> {
    const session = this.#session;
    const announced = this.#announced;
    this.#announced = undefined;
    if (session !== undefined && session === announced) await session.switchKey(next);
    else this.rekey();
  }

  /** This node keeps its key. */
  dropKey(): void {
    this.#announced = undefined;
    this.#session?.dropKey();
  }

  tick(now: number): void {
    this.#ledger.expire(now);
    for (const session of this.#sessions()) session.tick(now);
    const { stableMs } = this.#context.times;
    if (this.#session?.state === 'open' && now - this.#session.since >= stableMs) this.#dialler.forgive();
  }

  /** The node has left. */
  remove(): void {
    this.#end(new SidestepError('AUTH_NODE_GONE', `${this.#node.name} is not among the nodes any more`));
    this.#context.claims.forget(this.#node.name);
    this.#ledger.withdrawAll('AUTH_NODE_GONE');
  }

  /** The agent stops: what was proven stays as it is. */
  stop(): void {
    this.#end(new SidestepError('AUTH_AGENT_STOPS', `${this.#context.node} stops`));
  }

  #end(why: SidestepError): void {
    this.#removed = true;
    const sessions = this.#sessions();
    this.#dialler.stop();
    for (const session of sessions) session.close(why);
    this.#demands.rejectAll(why);
  }

  // What the transport brings

  accepted(channel: Channel): void {
    const { log, clock, roomFor } = this.#context;
    const busy = this.#greeting.size >= MOST_GREETINGS;
    const refusal = busy ? new SidestepError('AUTH_LIMIT', `${this.#greeting.size} Hellos`) : roomFor('greeting');
    if (refusal !== undefined) {
      log.warn({ node: this.#node.name, code: refusal.code }, refusal.message);
      channel.close(refusal);
      return;
    }
    const session = this.#begin(channel, clock.now());
    this.#greeting.add(session);
    session.start();
  }

  /** Connections that are not a session yet. */
  get greeting(): number {
    return this.#greeting.size;
  }

  get isDialling(): boolean {
    return this.#dialler.isDialling;
  }

  get hasSession(): boolean {
    return this.#session !== undefined;
  }

  // What a session asks for

  hello(): Hello {
    const { node, boot, tunnel, nextOrdinal } = this.#context;
    return {
      version: VERSION,
      oldest: OLDEST_VERSION,
      node,
      boot,
      ordinal: nextOrdinal(),
      key: tunnel.publicKey,
      port: tunnel.port,
      epoch: this.#epoch,
    };
  }

  takes(session: Session, theirs: Hello): Promise<void> | undefined {
    const before = this.#session;
    if (this.#removed) return undefined;
    if (session.channel.dialledBy === 'them') {
      const current = before?.hello === undefined ? undefined : begun(before.hello);
      const ownHelloIsOut = this.#dialler.session !== undefined;
      if (!takes({ weAreLower: this.#weAreLower, current, ownHelloIsOut }, begun(theirs))) return undefined;
    }
    const refusal =
      (before === undefined ? this.#context.roomFor('session') : undefined) ??
      this.#context.claims.claim(this.#node.name, theirs.key, (why) => session.close(why));
    if (refusal !== undefined) {
      session.close(refusal);
      return undefined;
    }
    this.#session = session;
    this.#stateSince = this.#context.clock.now();
    this.#greeting.delete(session);
    this.#dialler.taken(session);
    before?.close(new SidestepError('AUTH_SESSION_REPLACED', `a newer session with ${this.#node.name} has begun`));
    return before?.drained ?? Promise.resolve();
  }

  claims(session: Session, key: Uint8Array): SidestepError | undefined {
    return this.#context.claims.claim(this.#node.name, key, (why) => session.close(why));
  }

  proved(key: Uint8Array): void {
    this.#context.claims.prove(this.#node.name, key);
  }

  get isRotating(): boolean {
    return this.#context.isRotating();
  }

  opened(session: Session): void {
    const { counters, clock, log, claims } = this.#context;
    claims.prove(this.#node.name, session.theirTunnelKey);
    counters.handshakes.ok++;
    counters.took('handshakeLatency', clock.now() - session.began);
    this.#lastError = undefined;
    log.info({ node: this.#node.name, dialledBy: session.channel.dialledBy }, 'session open');
    this.#sayUnsaid();
    session.reconcile();
  }

  closed(session: Session, reason: SidestepError, stage: SessionState): void {
    const { counters, log, clock } = this.#context;
    const replaced = reason.code === 'AUTH_SESSION_REPLACED';
    if (stage !== 'open' && !replaced) counters.failed('handshakes', reason.code);
    this.#greeting.delete(session);
    this.#dialler.ended(session);
    const wasCurrent = this.#session === session;
    if (wasCurrent) {
      this.#session = undefined;
      this.#stateSince = clock.now();
    }
    if (!replaced) {
      this.#fail(reason);
      log.info({ node: this.#node.name, code: reason.code, stage }, `session closed: ${reason.message}`);
    }
    if (this.#session === undefined) this.#dialler.approachLater();
  }

  lastEpoch(): number {
    return this.#epoch;
  }

  usedEpoch(epoch: number): void {
    this.#epoch = Math.max(this.#epoch, epoch);
  }

  exchange(session: Session): Exchange {
    const { node, source, whereabouts, clock, counters, limits, times, bundle } = this.#context;
    const { channel } = session;
    const peer = this.#node.name;
    return new Exchange({
      peer,
      outgoing: bindingOf(channel, 'us', node, peer),
      incoming: bindingOf(channel, 'them', node, peer),
      source,
      bundle,
      whereabouts,
      ledger: this.#ledger,
      clock,
      counters,
      mostIdentities: limits.identities,
      retryMs: times.retryMs,
      epoch: () => session.epoch,
      targets: () => ({
        ours: new Set([...this.#needs.ours, ...this.#demands.identities('ours')]),
        theirs: new Set([...this.#needs.theirs, ...this.#demands.identities('theirs')]),
      }),
      send: (message) => session.send(message),
      isOver: () => session.state === 'closed',
      refused: (side, identity, code, why) => this.#demands.refused(side, identity, code, why),
    });
  }

  #wantsSession(): boolean {
    return this.#named || this.#demands.size + this.#ledger.size + this.#unsaid.size > 0;
  }

  #connect(over: AbortSignal): Promise<Channel> {
    const refusal = this.#context.roomFor('dial');
    return refusal === undefined ? this.#context.transport.dial(this.#node, over) : Promise.reject(refusal);
  }

  #begin(channel: Channel, began: number): Session {
    const { node, sink, clock, times, limits } = this.#context;
    const peer = this.#node.name;
    const weAreLower = this.#weAreLower;
    return new Session({ node, peer, weAreLower, channel, host: this, sink, clock, times, limits, began });
  }

  #sessions(): Session[] {
    return [this.#session, this.#dialler.session, ...this.#greeting].filter((session) => session !== undefined);
  }

  // What is proven

  #isProven({ ours, theirs }: Pair): boolean {
    const now = this.#context.clock.now();
    return this.#ledger.isValid('ours', ours, now) && this.#ledger.isValid('theirs', theirs, now);
  }

  #judge(proof: Held['proof'], check: () => void): void {
    try {
      check();
    } catch (error) {
      const code: ErrorCode = error instanceof SidestepError ? error.code : 'AUTH_PROOF_MALFORMED';
      this.#ledger.withdraw('theirs', proof.spiffeId, code);
      this.#session?.exchange((exchange) => exchange.drop(proof, code));
    }
  }

  #sayUnsaid(): void {
    if (this.#session?.state !== 'open' || this.#unsaid.size === 0) return;
    // One that came back meanwhile is proven anew.
    const identities = [...this.#unsaid].filter((identity) => svidOf(this.#context.source, identity) === undefined);
    this.#unsaid.clear();
    this.#session.exchange((exchange) => exchange.withdraw(identities));
  }

  #fail({ code, message }: SidestepError): void {
    this.#lastError = { code, text: message, at: this.#context.clock.now() };
    this.#stateSince = this.#lastError.at;
  }

  // What is shown

  view(): PeerView {
    return peerView(this.#node.name, {
      session: this.#session,
      dialler: this.#dialler,
      since: this.#stateSince,
      lastError: this.#lastError,
      waiting: this.#demands.size,
    });
  }

  proofs(): ProofView[] {
    const of = (side: Side) => [...this.#ledger.entries(side).values()].map((held) => proofView(held, side));
    return [...of('ours'), ...of('theirs')];
  }
}

/** Connections of one node whose Hello is awaited: one, and others whose end was not noticed. */
const MOST_GREETINGS = 4;
const NOTHING = { ours: new Set<string>(), theirs: new Set<string>() };

function begun({ boot, ordinal }: Hello): { boot: string; ordinal: number } {
  return { boot: Buffer.from(boot).toString('hex'), ordinal };
}
