/**
 * The sessions of this node with all others: who is there, what has to be proven ahead of traffic, what a held packet waits for.
 * Proves identities and hands over tunnel keys; who is told of it is the sink.
 */
import { randomBytes } from 'node:crypto';
import { type Clock, systemClock } from '../../model/clock.ts';
import { SidestepError } from '../../model/error.ts';
import type { PeerNode, ProofSink, Whereabouts } from '../peers.ts';
import { parseSpiffeId } from '../spiffe-id.ts';
import type { ServiceAccountRef, SvidSource, TrustBundle } from '../svid.ts';
import { Counters, type SessionCounters } from './counters.ts';
import { LIMITS, type Limits, TIMES, type Times } from './limits.ts';
import { Peer } from './peer.ts';
import type { Need, PeerContext } from './peer-context.ts';
import type { Channel, SessionLog, Transport, TransportHost } from './ports.ts';
import { TunnelClaims } from './tunnel-claims.ts';
import type { PeerView, ProofView } from './view.ts';

export interface SessionsOptions {
  /** This node's name. */
  readonly node: string;
  readonly trustDomain: string;
  /** This node's; read whenever a session begins. */
  readonly tunnel: { readonly publicKey: Uint8Array; readonly port: number };
  readonly source: SvidSource;
  readonly whereabouts: Whereabouts;
  readonly sink: ProofSink;
  /** Real: TlsTransport. */
  readonly transport: Transport;
  readonly log: SessionLog;
  /** Which node has this SPIFFE ID? Default: `spiffe://<trust domain>/node/<name>`. */
  readonly nodeOf?: (spiffeId: string) => string | undefined;
  readonly clock?: Clock;
  /** For jitter: from 0 to less than 1. */
  readonly random?: () => number;
  readonly times?: Partial<Times>;
  readonly limits?: Partial<Limits>;
}

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #context: PeerContext;
  readonly #clock: Clock;
  readonly #times: Times;
  readonly #limits: Limits;
  readonly #counters = new Counters();
  readonly #peers = new Map<string, Peer>();
  #needs: ReadonlyMap<string, Need> = new Map();
  #ordinal = 0;
  #rotating = false;
  #authorities = '';
  #unsubscribe: () => void = () => undefined;
  #stopTicking: () => void = () => undefined;
  #closed = false;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#times = { ...TIMES, ...options.times };
    this.#limits = { ...LIMITS, ...options.limits };
    const { node, trustDomain, tunnel, source, whereabouts, sink, transport, log } = options;
    this.#context = {
      node,
      trustDomain,
      tunnel,
      source,
      whereabouts,
      sink,
      transport,
      log,
      boot: randomBytes(16),
      bundle: () => this.#bundle(),
      nodeOf: options.nodeOf ?? ((spiffeId) => nameIn(spiffeId, trustDomain)),
      clock: this.#clock,
      random: options.random ?? Math.random,
      counters: this.#counters,
      times: this.#times,
      limits: this.#limits,
      claims: new TunnelClaims(() => tunnel.publicKey),
      isRotating: () => this.#rotating,
      nextOrdinal: () => ++this.#ordinal,
      roomFor: (what) => this.#roomFor(what),
    };
  }

  /** Listens, and dials from now on. @throws what listening throws: the port is taken, … */
  async start(): Promise<{ readonly port: number }> {
    const { node, trustDomain, nodeOf } = this.#context;
    const host: TransportHost = {
      node,
      trustDomain,
      nodeOf,
      knows: (name) => this.#peers.has(name),
      accepted: (channel) => this.#accepted(channel),
      turnedAway: (address, { code, message }) => {
        this.#counters.failed('handshakes', code);
        this.#options.log.warn({ address, code }, `turned away: ${message}`);
      },
    };
    this.#authorities = fingerprint(this.#bundle());
    this.#unsubscribe = this.#options.source.subscribe(() => this.#sourceChanged());
    const listening = await this.#options.transport.start(host);
    this.#tick();
    return listening;
  }

  /** All other nodes that there are. One that is not among them any more has nothing proven from now on. */
  setPeers(nodes: readonly PeerNode[]): void {
    const named = new Map(nodes.filter(({ name }) => name !== this.#options.node).map((node) => [node.name, node]));
    for (const [name, peer] of [...this.#peers]) {
      if (named.has(name)) continue;
      // Out of the list first: nobody may come back in between.
      this.#peers.delete(name);
      peer.remove();
    }
    for (const [name, node] of named) {
      const known = this.#peers.get(name);
      if (known !== undefined) known.update(node);
      else this.#add(node);
    }
  }

  /** Everything that is to be proven ahead of traffic, in place of what was wanted before. Of unknown nodes: when they come. */
  want(needs: readonly Need[]): void {
    this.#needs = new Map(needs.map((need) => [need.node, need]));
    for (const [name, peer] of this.#peers) peer.need(this.#needs.get(name));
  }

  /**
   * A packet waits for this pair. Resolves when both are proven and the sink has written both.
   * @param ours the identity on this node, whichever end of the flow it is
   * @returns rejects with AUTH_NODE_UNKNOWN, AUTH_NODE_GONE, AUTH_LIMIT, AUTH_SVID_MISSING, AUTH_NO_SESSION, AUTH_REFUSED_BY_PEER,
   *   AUTH_DEMAND_TIMEOUT, AUTH_AGENT_STOPS, or the reason for which their proof was not taken
   */
  demand(node: string, ours: ServiceAccountRef, theirs: ServiceAccountRef): Promise<void> {
    const peer = this.#peers.get(node);
    if (peer === undefined) return Promise.reject(new SidestepError('AUTH_NODE_UNKNOWN', `there is no node ${node}`));
    return peer.demand(ours, theirs);
  }

  /** The whereabouts of pods are others now: what was proven by a node that does not run it any more is withdrawn at once. */
  recheck(): void {
    for (const peer of this.#peers.values()) peer.recheck();
  }

  /** New tunnel keys for all, also after this node's own public key was changed. */
  rekey(): void {
    for (const peer of this.#peers.values()) peer.rekey();
  }

  /**
   * Another tunnel key for this node. All nodes that have a tunnel with it are asked first.
   * @param nodes must take it, or would be cut off
   * @param change gives the device the key; called when all have said yes
   * @returns nodes with which it has not come into use, and why
   * @throws nothing has changed: AUTH_KEY_BUSY: another key is being replaced, it may be tried again at once. AUTH_NO_SESSION,
   *   AUTH_HANDSHAKE_TIMEOUT: one of them cannot be asked. What `change` throws
   */
  async rotateKey(
    nodes: readonly string[],
    next: Uint8Array,
    change: () => Promise<void>,
  ): Promise<ReadonlyMap<string, unknown>> {
    const peers = [...this.#peers.values()];
    if (this.#rotating || peers.some((peer) => peer.isKeyChanging))
      throw new SidestepError('AUTH_KEY_BUSY', 'a tunnel key of this node or of another is just being replaced');
    this.#rotating = true;
    try {
      await this.#announceKey(nodes, next);
      await change();
      return await this.#switchKey(next);
    } catch (error) {
      for (const peer of peers) peer.dropKey();
      throw error;
    } finally {
      this.#rotating = false;
    }
  }

  async #announceKey(nodes: readonly string[], next: Uint8Array): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        const peer = this.#peers.get(node);
        if (peer === undefined) throw new SidestepError('AUTH_NO_SESSION', `there is no session with ${node}`);
        await peer.announceKey(next);
      }),
    );
  }

  async #switchKey(next: Uint8Array): Promise<ReadonlyMap<string, unknown>> {
    const failures = new Map<string, unknown>();
    await Promise.all(
      [...this.#peers].map(([name, peer]) =>
        peer.switchKey(next).catch((error: unknown) => void failures.set(name, error)),
      ),
    );
    return failures;
  }

  /** Every node, with or without a session. */
  peers(): PeerView[] {
    return [...this.#peers.values()].map((peer) => peer.view());
  }

  /** Every proof that is valid, and those of ours that are just being looked at. */
  list(): ProofView[] {
    return [...this.#peers.values()].flatMap((peer) => peer.proofs());
  }

  get counters(): SessionCounters {
    return this.#counters;
  }

  /** Takes leave of all; what was proven stays valid until it expires. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#stopTicking();
    for (const peer of this.#peers.values()) peer.stop();
    await this.#options.transport.close();
  }

  #add(node: PeerNode): void {
    const peer = new Peer(node, this.#context);
    this.#peers.set(node.name, peer);
    const need = this.#needs.get(node.name);
    if (need !== undefined) peer.need(need);
  }

  #accepted(channel: Channel): void {
    const { node } = channel.certificate;
    const peer = this.#closed ? undefined : this.#peers.get(node);
    if (peer === undefined) channel.close(new SidestepError('AUTH_AGENT_STOPS', `${node} comes too late`));
    else peer.accepted(channel);
  }

  #bundle(): TrustBundle | undefined {
    const { source, trustDomain } = this.#options;
    return source.bundle?.trustDomain === trustDomain ? source.bundle : undefined;
  }

  #sourceChanged(): void {
    this.#options.transport.refresh();
    const authorities = fingerprint(this.#bundle());
    const others = authorities !== this.#authorities;
    this.#authorities = authorities;
    for (const peer of this.#peers.values()) {
      if (others) peer.reverify();
      peer.sourceChanged();
      peer.canDialAgain();
    }
  }

  #roomFor(what: 'dial' | 'greeting' | 'session'): SidestepError | undefined {
    const peers = [...this.#peers.values()];
    if (what === 'session') {
      const open = peers.filter((peer) => peer.hasSession).length;
      if (open >= this.#limits.sessions) return new SidestepError('AUTH_LIMIT', `${open} sessions`);
      return undefined;
    }
    // A dial counts from before this question on.
    const busy =
      what === 'dial'
        ? peers.filter((peer) => peer.isDialling).length - 1
        : peers.reduce((sum, peer) => sum + peer.greeting, 0);
    return busy >= this.#limits.handshakes ? new SidestepError('AUTH_LIMIT', `${busy} handshakes`) : undefined;
  }

  #tick(): void {
    this.#stopTicking = this.#clock.after(this.#times.tickMs, () => {
      const now = this.#clock.now();
      for (const peer of this.#peers.values()) peer.tick(now);
      if (!this.#closed) this.#tick();
    });
  }
}

function nameIn(spiffeId: string, trustDomain: string): string | undefined {
  const id = parseSpiffeId(spiffeId);
  return id?.kind === 'node' && id.trustDomain === trustDomain ? id.name : undefined;
}

function fingerprint(bundle: TrustBundle | undefined): string {
  return (
    bundle?.authorities
      .map(({ fingerprint256 }) => fingerprint256)
      .sort()
      .join() ?? ''
  );
}
