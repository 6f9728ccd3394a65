/**
 * The tunnel as the agent has it: puts device, settings, peers and routes in place in the one order that lets nothing out in the
 * clear, watches what it made, and makes it anew, peers and all, when it is lost.
 */
import { SidestepError } from '../model/error.ts';
import type { Clock } from '../process/clock.ts';
import { portBusy } from './kernel.ts';
import { keyText, type TunnelKeys } from './keys.ts';
import { tunnelMtu } from './mtu.ts';
import { DEVICE_ADDRESS, MARK_OUTER } from './numbers.ts';
import type { EnginePeer, Machine, TunnelEngine, TunnelKernel, TunnelLog } from './ports.ts';
import { prefixText, samePrefixes, without } from './prefixes.ts';
import type { TunnelRoutes } from './routes.ts';
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

export interface TunnelFailure {
  /** RFC 3339. */
  readonly at: string;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  /** The end of the process's log. */
  readonly lastWords: readonly string[];
}

/** What `sidestep tunnel list` shows of this node. */
export interface TunnelStatus {
  readonly state: 'up' | 'down';
  readonly kind: 'kernel' | 'user-space';
  readonly name: string;
  /** 0 while it is down. */
  readonly ifindex: number;
  readonly publicKey: string;
  readonly port: number;
  readonly mtu?: number;
  readonly pid?: number;
  /** An earlier agent made it. */
  readonly adopted: boolean;
  readonly peers: number;
  /** How often it was made anew after a loss, by this agent. */
  readonly restarts: number;
  /** While it is down: when the next try is. */
  readonly retryAt?: string;
  readonly lastFailure?: TunnelFailure;
}

export interface SupervisedParts {
  readonly kernel: TunnelKernel;
  readonly engine: TunnelEngine;
  readonly routes: TunnelRoutes;
  readonly keys: TunnelKeys;
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

type Remembered = TunnelPeer & { readonly keepalive: number };

const idOf = (publicKey: Uint8Array): string => Buffer.from(publicKey).toString('hex');

export class SupervisedTunnel implements Tunnel {
  readonly kind: 'kernel' | 'user-space';
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly port: number;
  readonly #parts: SupervisedParts;
  readonly #options: SupervisedOptions;
  readonly #peers = new Map<string, Remembered>();
  /** Prefix -> the peer that has it. */
  readonly #owners = new Map<string, string>();
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
  #retryAt: number | undefined;
  #cancel: () => void = () => undefined;

  constructor(parts: SupervisedParts, options: SupervisedOptions) {
    this.#parts = parts;
    this.#options = options;
    this.kind = parts.engine.kind;
    this.name = options.name;
    this.port = options.port;
    this.publicKey = parts.keys.publicKey;
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
   * @throws TUNNEL_PREFIX_CONFLICT when another peer has one of its prefixes: WireGuard would move it without a word. TUNNEL_*
   *   when the tunnel is down and cannot be brought up now: then the peer is not remembered either
   */
  setPeer(peer: TunnelPeer): Promise<void> {
    return this.#alone(async () => {
      if (this.#ifindex === 0) await this.#bringUp();
      const id = idOf(peer.publicKey);
      this.#requireFree(peer, id);
      const lost = without(this.#peers.get(id)?.allowed ?? [], peer.allowed);
      await this.#parts.engine.setPeer(peer, lost);
      this.#remember({ ...peer, keepalive: peer.keepalive ?? 0 });
      this.#fitMtu(peer.endpoint.address);
    });
  }

  /** Without effect when there is none. */
  removePeer(publicKey: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      // Forgotten first: should the call fail, it does not come back with the next start.
      this.#forget(idOf(publicKey));
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
      throw error;
    }
  }

  async #assert(): Promise<string[]> {
    const { kernel, engine, routes, keys, machine } = this.#parts;
    const mended = routes.bar();
    const found =
      this.#ifindexNow() === 0 || engine.trouble() !== undefined || !this.#met ? await engine.start() : 'kept';
    if (found === 'made') mended.push(`device ${this.name}`);
    const ifindex = this.#ifindexNow();
    if (ifindex === 0) throw new SidestepError('TUNNEL_FAILED', `device ${this.name} is not there`);
    if (kernel.ensureLinkAddress(ifindex, DEVICE_ADDRESS)) mended.push(`address of ${this.name}`);
    mended.push(...machine.settings(this.name).map((path) => `sysctl net/${path}`));
    mended.push(...(await engine.configure({ privateKey: keys.privateKey, port: this.port, fwmark: MARK_OUTER })));
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
    this.#retryAt = undefined;
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
    const endpoints = [...this.#peers.values()].map(({ endpoint }) => endpoint.address);
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
    for (const { publicKey, presharedKey, endpoint, allowed, keepalive } of (await this.#parts.engine.state()).peers)
      if (endpoint) this.#remember({ publicKey, presharedKey, endpoint, allowed, keepalive });
  }

  #remember(peer: Remembered): void {
    const id = idOf(peer.publicKey);
    this.#forget(id);
    this.#peers.set(id, peer);
    for (const each of peer.allowed) this.#owners.set(prefixText(each), id);
  }

  #forget(id: string): void {
    for (const each of this.#peers.get(id)?.allowed ?? []) this.#owners.delete(prefixText(each));
    this.#peers.delete(id);
  }

  #requireFree({ publicKey, allowed }: TunnelPeer, id: string): void {
    for (const each of allowed) {
      const owner = this.#peers.get(this.#owners.get(prefixText(each)) ?? id);
      if (owner === undefined || idOf(owner.publicKey) === id) continue;
      throw new SidestepError(
        'TUNNEL_PREFIX_CONFLICT',
        `${prefixText(each)} is peer ${keyText(owner.publicKey)}'s and stays so; ${keyText(publicKey)} does not get it`,
      );
    }
  }

  /** @param anew the device knows nobody, and the peers do not know that it is another one */
  async #assertPeers(anew: boolean): Promise<string[]> {
    const { engine } = this.#parts;
    const there = new Map((await engine.state()).peers.map((peer) => [idOf(peer.publicKey), peer]));
    const mended: string[] = [];
    for (const [id, peer] of there) {
      if (this.#peers.has(id)) continue;
      await engine.removePeer(peer.publicKey);
      mended.push(`peer ${keyText(peer.publicKey)} that no session has brought`);
    }
    for (const [id, peer] of this.#peers) {
      const lost = difference(peer, there.get(id));
      if (lost === undefined) continue;
      if (anew && peer.keepalive === 0) await engine.setPeer({ ...peer, keepalive: WAKE_SECONDS }, lost);
      await engine.setPeer(peer, lost);
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
    try {
      await this.#parts.engine.state();
      this.#silence = 0;
      return undefined;
    } catch (error) {
      if (++this.#silence < MOST_SILENCE) return undefined;
      await this.#parts.engine.stop();
      return error instanceof SidestepError
        ? error
        : new SidestepError('TUNNEL_FAILED', String(error), { cause: error });
    }
  }

  #lose(error: unknown): void {
    const { clock, log, engine, machine } = this.#parts;
    const was = this.#ifindex;
    this.#ifindex = 0;
    this.#failures++;
    const { code, message, hint } =
      error instanceof SidestepError
        ? error
        : new SidestepError('TUNNEL_FAILED', error instanceof Error ? error.message : String(error));
    const lastWords = engine.lastWords();
    this.#lastFailure = { at: new Date(clock.now()).toISOString(), code, message, hint, lastWords };
    const pause = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 30));
    // Between half and all of it: nodes that fail together do not try together.
    const jittered = pause * (0.5 + machine.random() / 2);
    this.#retryAt = clock.now() + jittered;
    log.warn({ code, lastWords, retryMs: Math.round(jittered) }, `the tunnel is down: ${message}`);
    this.#schedule(jittered, () => this.ensure());
    if (was !== 0) this.#options.changed?.(this.status());
  }
}

function withoutSecret({ presharedKey: _, keepalive: __, ...state }: EnginePeer): TunnelPeerState {
  return state;
}

/** @returns prefixes that the device has too many; undefined: it has the peer as it should be */
function difference(peer: TunnelPeer, there: EnginePeer | undefined): readonly TunnelPrefix[] | undefined {
  if (there === undefined) return [];
  const same =
    samePrefixes(peer.allowed, there.allowed) && Buffer.from(there.presharedKey).equals(Buffer.from(peer.presharedKey));
  return same ? undefined : without(there.allowed, peer.allowed);
}
