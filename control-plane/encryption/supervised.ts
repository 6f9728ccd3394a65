/**
 * The tunnel as the agent has it: puts device, settings, peers and routes in place in the one order that lets nothing out in the
 * clear, watches what it made, and makes it anew, peers and all, when it is lost.
 */

import type { Clock } from '../model/clock.ts';
import { SidestepError } from '../model/error.ts';
import { portBusy } from './kernel.ts';
import { keyText, type TunnelKeys } from './keys.ts';
import { tunnelMtu } from './mtu.ts';
import { DEVICE_ADDRESS, MARK_OUTER } from './numbers.ts';
import { difference, PeerTable, peerId } from './peers.ts';
import type { EnginePeer, Machine, TunnelEngine, TunnelKernel, TunnelLog } from './ports.ts';
import type { TunnelRoutes } from './routes.ts';
import { coded, failureOf, type TunnelFailure, type TunnelStatus } from './status.ts';
import type { Tunnel, TunnelPeer, TunnelPeerState, TunnelPrefix } from './tunnel.ts';

/** Whether process and device are there is looked at this often. */
const WATCH_MS = 200;
/** Whether it answers, this often; and how often it may give no answer. */
const ASK_MS = 5_000;
const MOST_SILENCE = 2;
/** The pause before another try doubles with each failure in a row. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 10_000;
/** Well for so long, the row of failures is over. */
const HEALTHY_MS = 30_000;
/** Makes a handshake begin, where the peer asks for no signs of life. */
const WAKE_SECONDS = 1;

export interface SupervisedParts {
  readonly kernel: TunnelKernel;
  readonly engine: TunnelEngine;
  readonly routes: TunnelRoutes;
  readonly keys: TunnelKeys;
  /** In place of those of before. @throws STATE_UNUSABLE */
  readonly storeKeys: (keys: TunnelKeys) => void;
  readonly machine: Machine;
  readonly clock: Clock;
  readonly log: TunnelLog;
}

export interface SupervisedOptions {
  readonly name: string;
  readonly port: number;
  /** undefined: that of the way to the peers, less what the tunnel adds. */
  readonly mtu?: number;
  /** Called when it has come up (its ifindex may be another one) and when it is lost. */
  readonly changed?: (status: TunnelStatus) => void;
}

export class SupervisedTunnel implements Tunnel {
  readonly kind: 'kernel' | 'user-space';
  readonly name: string;
  readonly port: number;
  readonly #parts: SupervisedParts;
  readonly #options: SupervisedOptions;
  readonly #peers: PeerTable;
  #keys: TunnelKeys;
  #ifindex = 0;
  #mtu: number | undefined;
  #adopted = false;
  /** This agent has started or found it at least once: unknown peers are nobody's from then on. */
  #met = false;
  #busy: Promise<unknown> = Promise.resolve();
  #closed = false;
  #failures = 0;
  #restarts = 0;
  #silence = 0;
  #upSince = 0;
  #askedAt = 0;
  #lastFailure: TunnelFailure | undefined;
  /** Why it could not be brought up when that was last tried. */
  #refusal: SidestepError | undefined;
  #retryAt: number | undefined;
  #cancel: () => void = () => undefined;

  constructor(parts: SupervisedParts, options: SupervisedOptions) {
    this.#parts = parts;
    this.#options = options;
    this.kind = parts.engine.kind;
    this.name = options.name;
    this.port = options.port;
    this.#keys = parts.keys;
    this.#peers = new PeerTable(() => this.publicKey);
  }

  get publicKey(): Uint8Array {
    return this.#keys.publicKey;
  }

  /** This node's key is from then: milliseconds since the epoch. */
  get keySince(): number {
    return this.#keys.since;
  }

  get ifindex(): number {
    return this.#ifindex;
  }

  status(): TunnelStatus {
    const iso = (ms: number): string => new Date(ms).toISOString();
    const { pid } = this.#parts.engine;
    return {
      state: this.#ifindex === 0 ? 'down' : 'up',
      kind: this.kind,
      name: this.name,
      ifindex: this.#ifindex,
      publicKey: keyText(this.publicKey),
      port: this.port,
      ...(this.#mtu === undefined ? {} : { mtu: this.#mtu }),
      ...(pid === undefined ? {} : { pid }),
      adopted: this.#adopted,
      peers: this.#peers.size,
      restarts: this.#restarts,
      ...(this.#retryAt === undefined ? {} : { retryAt: iso(this.#retryAt) }),
      ...(this.#lastFailure ? { lastFailure: this.#lastFailure } : {}),
    };
  }

  /**
   * Puts everything in place, or back. It is tried again by itself after a failure, too.
   * @returns what was missing, in words
   * @throws TUNNEL_*, KERNEL_*: marked packets are refused meanwhile
   */
  ensure(): Promise<readonly string[]> {
    return this.#alone(() => this.#bringUp());
  }

  /**
   * What goes from one peer to another is taken from the one first, by a call of its own.
   * @throws TUNNEL_PREFIX_CONFLICT when another peer has one of its prefixes; TUNNEL_REFUSED for a peer that is none; TUNNEL_*
   *   when the tunnel is down and cannot be brought up now: then the peer is not remembered either
   */
  setPeer(peer: TunnelPeer): Promise<void> {
    return this.#alone(async () => {
      this.#peers.require(peer);
      if (this.#refusal) throw this.#refusal;
      if (this.#ifindex === 0) await this.#bringUp();
      await this.#parts.engine.setPeer(peer, this.#peers.lost(peer));
      this.#peers.remember(peer);
      this.#fitMtu(peer.endpoint.address);
    });
  }

  /** As setPeer, in place of others. @throws as setPeer */
  succeed(olds: readonly Uint8Array[], peer: TunnelPeer, wake: boolean): Promise<void> {
    return this.#alone(async () => {
      this.#peers.require(peer, olds);
      if (this.#refusal) throw this.#refusal;
      if (this.#ifindex === 0) await this.#bringUp();
      // WireGuard moves the prefixes: there is no moment at which they are nobody's.
      await this.#setAwake(peer, this.#peers.lost(peer), wake);
      for (const old of olds) this.#peers.disinherit(old);
      this.#peers.remember(peer);
      this.#fitMtu(peer.endpoint.address);
    });
  }

  /**
   * Another key of this node's, from now on. What the peers send under the old one still comes in; what is sent to them waits in
   * WireGuard (128 packets for each) until they have taken the new key and begin a handshake with it.
   * @throws STATE_UNUSABLE: nothing has changed. TUNNEL_*, KERNEL_*: the device has no new key yet, and gets it when it is back
   */
  rotate(keys: TunnelKeys): Promise<void> {
    return this.#alone(async () => {
      const { engine, storeKeys } = this.#parts;
      storeKeys(keys);
      this.#keys = keys;
      if (this.#ifindex === 0) return;
      await engine.configure({ privateKey: keys.privateKey, port: this.port, fwmark: MARK_OUTER });
      // Our own attempt now, in vain, for which WireGuard makes no other within 5 s: a peer's then never meets one of ours.
      for (const peer of this.#peers.all()) {
        if ((peer.keepalive ?? 0) > 0) await engine.setPeer({ ...peer, keepalive: 0 }, []);
        await this.#setAwake(peer, [], true);
      }
    });
  }

  /** Sets a peer. @param wake its handshake begins at once */
  async #setAwake(peer: TunnelPeer, lost: readonly TunnelPrefix[], wake: boolean): Promise<void> {
    const { engine } = this.#parts;
    if (wake && (peer.keepalive ?? 0) === 0) await engine.setPeer({ ...peer, keepalive: WAKE_SECONDS }, lost);
    await engine.setPeer(peer, lost);
  }

  /** Without effect when there is none. */
  removePeer(publicKey: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      // Forgotten first: should the call fail, it does not come back with the next start.
      this.#peers.forget(publicKey);
      if (this.#ifindex !== 0) await this.#parts.engine.removePeer(publicKey);
    });
  }

  /** None while the tunnel is down. */
  peers(): Promise<readonly TunnelPeerState[]> {
    return this.#alone(async () =>
      this.#ifindex === 0 ? [] : (await this.#parts.engine.state()).peers.map(withoutSecret),
    );
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  /** One after the other: two that configure at a time would undo each other. */
  #alone<T>(action: () => Promise<T>): Promise<T> {
    const next = this.#busy.then(() => {
      if (this.#closed) throw new SidestepError('TUNNEL_FAILED', 'the agent has let go of the tunnel');
      return action();
    });
    this.#busy = next.catch(() => undefined);
    return next;
  }

  async #bringUp(): Promise<string[]> {
    try {
      const mended = await this.#assert();
      this.#watch();
      return mended;
    } catch (error) {
      this.#lose(error);
      // Until the next try: peers that are set meanwhile would each begin another.
      this.#refusal = coded(error);
      throw error;
    }
  }

  async #assert(): Promise<string[]> {
    const { kernel, engine, routes, machine } = this.#parts;
    const mended = routes.bar();
    const found =
      this.#ifindexNow() === 0 || engine.trouble() !== undefined || !this.#met ? await engine.start() : 'kept';
    if (found === 'made') mended.push(`device ${this.name}`);
    const ifindex = this.#ifindexNow();
    if (ifindex === 0) throw new SidestepError('TUNNEL_FAILED', `device ${this.name} is not there`);
    if (kernel.ensureLinkAddress(ifindex, DEVICE_ADDRESS)) mended.push(`address of ${this.name}`);
    mended.push(...machine.settings(this.name).map((path) => `sysctl net/${path}`));
    mended.push(
      ...(await engine.configure({ privateKey: this.#keys.privateKey, port: this.port, fwmark: MARK_OUTER })),
    );
    if (found === 'found' && !this.#met) await this.#import();
    if (this.#setUp(ifindex)) mended.push(`${this.name} up with MTU ${this.#mtu}`);
    await engine.listening(this.port);
    mended.push(...(await this.#assertPeers(found === 'made')));
    mended.push(...routes.open(ifindex));
    this.#arrived(ifindex, found);
    return mended;
  }

  #arrived(ifindex: number, found: 'made' | 'found' | 'kept'): void {
    const before = this.#ifindex;
    if (found === 'made' && this.#met) this.#restarts++;
    if (found !== 'kept') this.#adopted = found === 'found';
    this.#met = true;
    this.#ifindex = ifindex;
    this.#retryAt = this.#refusal = undefined;
    this.#silence = 0;
    if (before === ifindex) return;
    this.#upSince = this.#askedAt = this.#parts.clock.now();
    const status = this.status();
    this.#parts.log.info({ ifindex, pid: status.pid, adopted: this.#adopted }, `tunnel ${this.name} is up`);
    this.#options.changed?.(status);
  }

  #ifindexNow(): number {
    return this.#parts.kernel.interfaces().find(({ name }) => name === this.name)?.ifindex ?? 0;
  }

  /** @returns whether it was otherwise */
  #setUp(ifindex: number): boolean {
    const { kernel } = this.#parts;
    const device = kernel.interfaces().find((each) => each.ifindex === ifindex);
    const endpoints = this.#peers.all().map(({ endpoint }) => endpoint.address);
    this.#mtu = this.#options.mtu ?? tunnelMtu(kernel, endpoints);
    if (device?.up && device.mtu === this.#mtu) return false;
    try {
      kernel.setLinkUp(ifindex, this.#mtu);
    } catch (error) {
      throw portBusy(error, this.port) ?? error;
    }
    return true;
  }

  /** A new peer may be behind a device that takes less. What takes more waits for `ensure`, which looks at all peers. */
  #fitMtu(address: string): void {
    const { kernel } = this.#parts;
    if (this.#options.mtu !== undefined) return;
    const mtu = tunnelMtu(kernel, [address]);
    if (this.#mtu !== undefined && mtu >= this.#mtu) return;
    this.#mtu = mtu;
    kernel.setLinkUp(this.#ifindex, mtu);
  }

  /** What an earlier agent's sessions have agreed on goes on until this one's say otherwise. */
  async #import(): Promise<void> {
    for (const { endpoint, ...peer } of (await this.#parts.engine.state()).peers)
      if (endpoint) this.#peers.remember({ ...peer, endpoint });
  }

  /** @param anew the device knows nobody, and the peers do not know that it is another one */
  async #assertPeers(anew: boolean): Promise<string[]> {
    const { engine } = this.#parts;
    const there = new Map((await engine.state()).peers.map((peer) => [peerId(peer.publicKey), peer]));
    const mended: string[] = [];
    for (const { publicKey } of there.values()) {
      if (this.#peers.has(publicKey)) continue;
      await engine.removePeer(publicKey);
      mended.push(`peer ${keyText(publicKey)} that no session has brought`);
    }
    for (const peer of this.#peers.all()) {
      const lost = difference(peer, there.get(peerId(peer.publicKey)));
      if (lost === undefined) continue;
      await this.#setAwake(peer, lost, anew);
      mended.push(`peer ${keyText(peer.publicKey)}`);
    }
    return mended;
  }

  #watch(): void {
    this.#schedule(WATCH_MS, () => this.#alone(() => this.#look()));
  }

  #schedule(ms: number, action: () => Promise<unknown>): void {
    this.#cancel();
    if (this.#closed) return;
    // A failure is told by #lose; nobody waits for this promise.
    this.#cancel = this.#parts.clock.after(ms, () => void action().catch(() => undefined));
  }

  async #look(): Promise<void> {
    const { engine, clock, machine } = this.#parts;
    const now = clock.now();
    const gone = machine.hasDevice(this.name)
      ? undefined
      : new SidestepError('TUNNEL_FAILED', `device ${this.name} is gone`);
    const trouble = engine.trouble() ?? gone ?? (await this.#silent(now));
    if (trouble === undefined) {
      if (now - this.#upSince >= HEALTHY_MS) this.#failures = 0;
      this.#watch();
      return;
    }
    this.#lose(trouble);
  }

  /** A process that hangs is ended. */
  async #silent(now: number): Promise<SidestepError | undefined> {
    if (now - this.#askedAt < ASK_MS) return undefined;
    this.#askedAt = now;
    this.#parts.engine.tidy();
    try {
      await this.#parts.engine.state();
      this.#silence = 0;
      return undefined;
    } catch (error) {
      if (++this.#silence < MOST_SILENCE) return undefined;
      await this.#parts.engine.stop();
      return coded(error);
    }
  }

  #lose(error: unknown): void {
    const { clock, log, engine, machine } = this.#parts;
    const was = this.#ifindex;
    this.#ifindex = 0;
    this.#failures++;
    const failure = failureOf(error, engine.lastWords(), clock.now());
    this.#lastFailure = failure;
    const pause = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 30));
    // Between half and all of it: nodes that fail together do not try together.
    const jittered = pause * (0.5 + machine.random() / 2);
    this.#retryAt = clock.now() + jittered;
    const { code, message, lastWords } = failure;
    log.warn({ code, lastWords, retryMs: Math.round(jittered) }, `the tunnel is down: ${message}`);
    this.#schedule(jittered, () => this.ensure());
    if (was !== 0) this.#options.changed?.(this.status());
  }
}

function withoutSecret({ presharedKey: _, keepalive: __, ...state }: EnginePeer): TunnelPeerState {
  return state;
}
