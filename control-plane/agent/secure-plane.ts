/**
 * Everything that authentication and encryption need besides the tables: certificates, sessions with other nodes, the tunnel,
 * the device for packets that wait. The chain: certificate -> session -> tunnel key -> source address -> identity; the kernel
 * holds the last link (bpf/lib/protect.h). Open while a policy asks for authentication or all pod traffic is encrypted.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { type HoldNumbers, HoldQueue, type Pair } from '../auth/hold-queue.ts';
import { type InheritedFacts, InheritedProofs } from '../auth/inherited-proofs.ts';
import type { Proof, ProofSink } from '../auth/peers.ts';
import { type BookEntry, kernelProofs, ProofBook } from '../auth/proof-book.ts';
import type { SessionCounters } from '../auth/session/counters.ts';
import { Sessions } from '../auth/session/sessions.ts';
import { TlsTransport } from '../auth/session/tls-transport.ts';
import type { PeerView, ProofView } from '../auth/session/view.ts';
import { nodeId, workloadId } from '../auth/spiffe-id.ts';
import type { ServiceAccountRef } from '../auth/svid.ts';
import type { AttachKind } from '../datapath/attachments.ts';
import { attachPutBack } from '../datapath/hold-device.ts';
import { mapped } from '../datapath/interfaces.ts';
import type { Closeable, Kernel, KernelObject } from '../datapath/kernel.ts';
import type { Tap } from '../datapath/kernel-devices.ts';
import type { Protection } from '../datapath/protection.ts';
import { TunnelGuard } from '../datapath/tunnel-guard.ts';
import { AllowedAddresses } from '../encryption/allowed.ts';
import { TunnelBinding } from '../encryption/binding.ts';
import { holdName } from '../encryption/names.ts';
import { openTunnel } from '../encryption/open.ts';
import type { TunnelStatus } from '../encryption/status.ts';
import type { SupervisedTunnel } from '../encryption/supervised.ts';
import type { TunnelPeerState } from '../encryption/tunnel.ts';
import { formatAddress } from '../model/address.ts';
import { systemClock } from '../model/clock.ts';
import { SidestepError } from '../model/error.ts';
import type { MeshNode, ObjectSet } from '../model/objects.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { processCgroup } from '../process/cgroup.ts';
import { writeMeshNode } from '../sources/mesh-node-file.ts';
import { Certificates } from './certificates.ts';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';
import { MeshView } from './mesh-view.ts';
import { type RotationView, TunnelRotation } from './tunnel-rotation.ts';

/** Proofs that are over are taken out of the kernel, and what others took away of the tunnel is put back. */
const TICK_MS = 1000;

export interface SecurePlaneParts {
  readonly config: Config;
  readonly kernel: Kernel;
  readonly object: KernelObject;
  readonly attach: AttachKind;
  readonly protection: Protection;
  /** wireguard-go, where the kernel has no WireGuard. */
  readonly wireguard: string;
  readonly log: Logger;
}

export interface SecureView {
  readonly source: { readonly kind: string; readonly trustDomain: string; readonly authority: boolean };
  readonly node: { readonly spiffeId: string; readonly serial?: string; readonly expires?: string };
  readonly trouble: readonly { readonly spiffeId: string; readonly code: string; readonly message: string }[];
  readonly certificates: readonly { readonly spiffeId: string; readonly serial: string; readonly expires: string }[];
  readonly peers: readonly PeerView[];
  readonly proofs: readonly ProofView[];
  readonly held: HoldNumbers;
}

/** For metrics. */
export interface SecureNumbers {
  readonly sessions: SessionCounters;
  readonly held: HoldNumbers;
  /** Of this node's certificate and its workloads', in milliseconds since the epoch; undefined: there is none. */
  readonly soonestExpiry: number | undefined;
  readonly tunnelUp: boolean;
}

export interface TunnelView {
  readonly encryption: Config['encryption'];
  readonly tunnel: TunnelStatus | undefined;
  readonly peers: readonly {
    readonly node: string;
    readonly publicKey: string;
    readonly endpoint: string;
    readonly allowed: readonly string[];
    readonly lastHandshake: string;
    readonly received: number;
    readonly sent: number;
  }[];
}

export class SecurePlane {
  readonly #parts: SecurePlaneParts;
  readonly #mesh: MeshView;
  readonly #certificates: Certificates;
  readonly #book = new ProofBook();
  readonly #inherited: InheritedProofs;
  readonly #startedAt = Date.now();
  readonly #allowed = new AllowedAddresses();
  readonly #tunnel: SupervisedTunnel;
  readonly #guard: TunnelGuard;
  readonly #binding: TunnelBinding;
  readonly #sessions: Sessions;
  readonly #rotation: TunnelRotation;
  readonly #queue: HoldQueue;
  /** Why a pair was not proven, by its key. */
  readonly #failures = new Map<string, SidestepError>();
  #tap: Tap | undefined;
  #putBack: Closeable | undefined;
  #snapshot: Snapshot | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #mending = false;
  #waiters: (() => void)[] = [];

  private constructor(parts: SecurePlaneParts, mesh: MeshView, certificates: Certificates) {
    this.#parts = parts;
    this.#mesh = mesh;
    this.#certificates = certificates;
    this.#inherited = new InheritedProofs(parts.protection.entries());
    const { config, kernel, object, log, wireguard } = parts;
    this.#guard = new TunnelGuard(kernel, object);
    const { instance, stateDir, runDir, node, trustDomain, sessionPort, tunnelPort, tunnelMtu } = config;
    this.#tunnel = openTunnel(
      {
        kernel,
        wireguard: kernel.features().wireguard,
        cgroup: processCgroup(instance, 'tunnel'),
        clock: systemClock,
        log,
      },
      {
        instance,
        stateDir,
        runDir,
        kind: 'auto',
        binary: wireguard,
        port: tunnelPort,
        ...(tunnelMtu === undefined ? {} : { mtu: tunnelMtu }),
        changed: () => {
          this.#guardTunnel();
          this.#devicesChanged();
        },
      },
    );
    this.#binding = new TunnelBinding(this.#tunnel, node);
    this.#sessions = new Sessions({
      node,
      trustDomain,
      tunnel: this.#tunnel,
      source: certificates.source,
      whereabouts: mesh,
      sink: this.#sink(),
      transport: new TlsTransport({ source: certificates.source, listen: { port: sessionPort } }),
      log,
    });
    this.#rotation = new TunnelRotation({
      tunnel: this.#tunnel,
      binding: this.#binding,
      sessions: this.#sessions,
      announce: () => this.#announce(),
      log,
      ageMs: config.tunnelKeyAgeSeconds * 1000,
      random: Math.random,
      pause: delay,
    });
    this.#queue = new HoldQueue({
      pairOf: (source, destination) => this.#pairOf(source, destination),
      writeBack: (frame) => this.#tap?.write(frame),
      failed: (key, error) => this.#failed(key, error),
    });
  }

  /** @throws TUNNEL_UNAVAILABLE, STATE_UNUSABLE, CA_*, SVID_*, KERNEL_* */
  static async open(parts: SecurePlaneParts, objects: ObjectSet, snapshot: Snapshot): Promise<SecurePlane> {
    const mesh = new MeshView(parts.config.node);
    mesh.update(objects, snapshot);
    const { log } = parts;
    const certificates = await Certificates.open(parts.config, { mesh, clock: systemClock, log });
    const self = new SecurePlane(parts, mesh, certificates);
    await self.#start();
    return self;
  }

  async #start(): Promise<void> {
    // Tried again by itself when it fails; what must be encrypted is refused meanwhile.
    await this.#tunnel.ensure().catch((error: unknown) => this.#parts.log.error({ err: error }, 'no tunnel'));
    this.#openTap();
    this.#certificates.source.subscribe(() => this.#certificatesChanged());
    await this.#sessions.start();
    this.#announce();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  /** Another view of the world is in force. */
  async update(objects: ObjectSet, snapshot: Snapshot): Promise<void> {
    this.#snapshot = snapshot;
    this.#mesh.update(objects, snapshot);
    this.#certificates.source.want(snapshot.certified);
    const { byNode, conflicts } = this.#allowed.update(this.#mesh.claims);
    for (const { code, message } of conflicts) this.#parts.log.warn({ code }, message);
    this.#sessions.setPeers(this.#mesh.peers);
    this.#sessions.want(this.#needs(snapshot));
    this.#sessions.recheck();
    this.#write();
    await this.#certificates.meshChanged();
    this.#announce();
    for (const node of this.#binding.nodes)
      if (!this.#mesh.peers.some(({ name }) => name === node)) await this.#binding.remove(node);
    for (const [node, error] of await this.#binding.allow(byNode))
      this.#parts.log.error({ node, code: error.code }, error.message);
  }

  /** With all pod traffic encrypted every node needs a tunnel, whatever is to be proven. */
  #needs(snapshot: Snapshot): Snapshot['needs'] {
    const { encryption } = this.#parts.config;
    if (encryption !== 'on' && encryption !== 'strict') return snapshot.needs;
    const named = new Set(snapshot.needs.map(({ node }) => node));
    const others = this.#mesh.peers.filter(({ name }) => !named.has(name));
    return [...snapshot.needs, ...others.map(({ name }) => ({ node: name, ours: [], theirs: [] }))];
  }

  #openTap(): void {
    const { kernel, object, attach, log, config } = this.#parts;
    if (this.#closed) return;
    try {
      this.#tap = kernel.openTap(holdName(config.instance), {
        frames: (frames) => {
          for (const frame of frames) this.#queue.take(frame, this.#tap?.headerLength ?? 0);
        },
        gone: () => {
          this.#putBack?.close();
          this.#tap = undefined;
          this.#devicesChanged();
          this.#openTap();
        },
      });
      this.#putBack = attachPutBack(kernel, object, 'put_back', this.#tap.ifindex, attach);
      this.#devicesChanged();
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      log.error(
        { err: error, code: error.code },
        'packets cannot wait for a proof: they are refused until there is one',
      );
    }
  }

  /** @returns whether somebody had taken it away */
  #guardTunnel(): boolean {
    try {
      return this.#guard.ensure(this.#tunnel.ifindex);
    } catch (error) {
      this.#parts.log.error({ err: error }, 'what comes out of the tunnel for pods that have left may be forwarded');
      return false;
    }
  }

  #devicesChanged(): void {
    this.#parts.protection.setDevices({
      tunnel: this.#tunnel.ifindex,
      hold: this.#tap?.ifindex ?? 0,
      strict: this.#parts.config.encryption === 'strict',
    });
  }

  #sink(): ProofSink {
    return {
      prepareKey: (key) => this.#binding.prepare(key),
      commitKey: (node, epoch, over) => this.#binding.commit(node, epoch, over),
      proven: async (proof) => this.#proven(proof, 'theirs'),
      accepted: async (proof) => this.#proven(proof, 'ours'),
      withdrawn: (node, spiffeId, side, cause) => {
        this.#parts.log.info({ node, spiffeId, side, cause }, 'no longer proven');
        if (this.#book.strike({ node, spiffeId, side })) this.#write();
      },
    };
  }

  #proven(proof: Proof, side: BookEntry['side']): void {
    const entry = { ...proof, side };
    this.#book.write(entry);
    const proven = kernelProofs(entry, this.#mesh, Date.now());
    // Else it would be found again when this proof is withdrawn.
    this.#inherited.forget(proven);
    this.#toKernel((protection) => protection.add(proven));
  }

  #certificatesChanged(): void {
    const { source } = this.#certificates;
    const certificates = (this.#snapshot?.certified ?? []).flatMap((of) => source.workload(of) ?? []);
    this.#book.own(certificates.map(({ spiffeId, serial, notAfter }) => ({ spiffeId, serial, expires: notAfter })));
    this.#write();
    this.#announce();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #write(): void {
    const now = Date.now();
    const proven = this.#book.forKernel(this.#mesh, now);
    const inherited = this.#inherited.beside(proven, this.#inheritedFacts(), now);
    this.#toKernel((protection) => protection.replace([...proven, ...inherited]));
  }

  #toKernel(write: (protection: Protection) => void): void {
    const { protection, log } = this.#parts;
    try {
      write(protection);
    } catch (error) {
      log.error({ err: error }, 'proofs could not be written');
    }
  }

  #inheritedFacts(): InheritedFacts {
    const open = new Map(
      this.#sessions
        .peers()
        .flatMap(({ node, state, since }) =>
          state === 'open' ? [[this.#mesh.nodeNumber(node) ?? 0, since] as const] : [],
        ),
    );
    open.set(0, this.#startedAt);
    return { runs: (identity, node) => this.#mesh.hasIdentity(node, identity), openSince: (node) => open.get(node) };
  }

  #tick(): void {
    this.#book.sweep(Date.now());
    this.#write();
    this.#rotation.tick(Date.now());
    void this.#mendTunnel();
  }

  /** Rules, routes and peers that others took away. A tunnel that is down comes back by itself, in its own time. */
  async #mendTunnel(): Promise<void> {
    if (this.#mending || this.#tunnel.ifindex === 0) return;
    this.#mending = true;
    try {
      const mended = [...(await this.#tunnel.ensure()), ...(this.#guardTunnel() ? ['program on its device'] : [])];
      if (mended.length > 0) this.#parts.log.warn({ mended }, 'put back what somebody took away from the tunnel');
    } catch (error) {
      if (!this.#closed) this.#parts.log.error({ err: error }, 'the tunnel could not be put back');
    } finally {
      this.#mending = false;
    }
  }

  /** Other nodes find this one by what it says of itself; nothing of it is believed without proof. */
  #announce(): void {
    const { config, kernel, log } = this.#parts;
    const authority = this.#certificates.announcement;
    const addresses = config.nodeAddresses.length > 0 ? config.nodeAddresses : ownAddresses(kernel);
    const node: MeshNode = {
      name: config.node,
      addresses,
      port: config.sessionPort,
      tunnelPort: config.tunnelPort,
      publicKey: Buffer.from(this.#tunnel.publicKey).toString('base64'),
      spiffeId: this.#certificates.source.node?.spiffeId ?? nodeId(config.trustDomain, config.node),
      ...(authority ? { certificateAuthority: { address: addresses[0] ?? '', ...authority } } : {}),
    };
    try {
      writeMeshNode(config.source, node, config.stateDir);
    } catch (error) {
      log.error({ err: error }, 'this node cannot be made known to others');
    }
  }

  #pairOf(source: Uint8Array, destination: Uint8Array): Pair | undefined {
    const [from, to] = [this.#mesh.ownerOf(source), this.#mesh.ownerOf(destination)];
    if (from === undefined || to === undefined) return undefined;
    if (from.node === '' && to.node === '') return this.#localPair([from.account, to.account]);
    const [ours, theirs] = from.node === '' ? [from, to] : [to, from];
    const key = this.#keyOf(theirs.node, ours.account, theirs.account);
    return {
      key,
      prove: async () => {
        await this.#sessions.demand(theirs.node, ours.account, theirs.account);
        this.#failures.delete(key);
      },
    };
  }

  /** Of one node: both certificates must be there. */
  #localPair(accounts: readonly [ServiceAccountRef, ServiceAccountRef]): Pair {
    const { source } = this.#certificates;
    const key = this.#keyOf('', ...accounts);
    const ready = (): boolean => accounts.every((of) => source.workload(of) !== undefined);
    return {
      key,
      prove: async () => {
        while (!ready()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
        this.#failures.delete(key);
      },
    };
  }

  #keyOf(node: string, ours: ServiceAccountRef, theirs: ServiceAccountRef): string {
    const { trustDomain } = this.#parts.config;
    return `${node} ${workloadId(trustDomain, ours)} ${workloadId(trustDomain, theirs)}`;
  }

  #failed(key: string, error: SidestepError): void {
    this.#failures.delete(key);
    this.#failures.set(key, error);
    const oldest = this.#failures.size > 1024 ? this.#failures.keys().next() : undefined;
    if (oldest && !oldest.done) this.#failures.delete(oldest.value);
    this.#parts.log.warn({ pair: key, code: error.code }, error.message);
  }

  /** Why two ends are not proven to each other, in words; for flow records. */
  unproven(source: Uint8Array, destination: Uint8Array): string | undefined {
    const [from, to] = [this.#mesh.ownerOf(source), this.#mesh.ownerOf(destination)];
    if (from === undefined || to === undefined) return 'an end that no pod is known to have';
    const [ours, theirs] = from.node === '' ? [from, to] : [to, from];
    const { trustDomain } = this.#parts.config;
    const { source: certificates } = this.#certificates;
    for (const end of from.node === to.node ? [from, to] : [ours]) {
      if (certificates.workload(end.account)) continue;
      const spiffeId = workloadId(trustDomain, end.account);
      const why = certificates.trouble.get(spiffeId) ?? certificates.trouble.get('');
      return `no certificate of ${spiffeId}${why ? `: ${why.code}, ${why.message}` : ''}`;
    }
    if (theirs.node === '') return undefined;
    const failure = this.#failures.get(this.#keyOf(theirs.node, ours.account, theirs.account));
    const peer = this.#sessions.peers().find(({ node }) => node === theirs.node);
    const last = peer?.lastError;
    // That it took too long is no cause where there is one.
    if (failure && !(failure.code === 'AUTH_HOLD_TIMEOUT' && last))
      return `${theirs.node}: ${failure.code}, ${failure.message}`;
    if (peer === undefined) return `there is no node ${theirs.node}`;
    return last ? `${theirs.node}: ${last.code}, ${last.text}` : `${theirs.node}: not proven yet`;
  }

  view(): SecureView {
    const { trustDomain, node } = this.#parts.config;
    const { source, authority } = this.#certificates;
    const iso = (ms: number): string => new Date(ms).toISOString();
    return {
      source: { kind: source.kind, trustDomain, authority: authority !== undefined },
      node: {
        spiffeId: source.node?.spiffeId ?? nodeId(trustDomain, node),
        ...(source.node ? { serial: source.node.serial, expires: iso(source.node.notAfter) } : {}),
      },
      trouble: [...source.trouble].map(([spiffeId, { code, message }]) => ({ spiffeId, code, message })),
      certificates: this.#book
        .list()
        .filter((entry) => entry.node === '')
        .map(({ spiffeId, serial, expires }) => ({ spiffeId, serial, expires: iso(expires) })),
      peers: this.#sessions.peers(),
      proofs: this.#sessions.list(),
      held: this.#queue.numbers,
    };
  }

  get numbers(): SecureNumbers {
    const own = this.#book.list().filter(({ node }) => node === '');
    const node = this.#certificates.source.node;
    const ends = [...(node ? [node.notAfter] : []), ...own.map(({ expires }) => expires)];
    return {
      sessions: this.#sessions.counters,
      held: this.#queue.numbers,
      soonestExpiry: ends.length === 0 ? undefined : Math.min(...ends),
      tunnelUp: this.#tunnel.status().state === 'up',
    };
  }

  async tunnelView(): Promise<TunnelView> {
    const nodes = new Map(
      this.#binding.nodes.map((node) => [Buffer.from(this.#binding.publicKeyOf(node) ?? []).toString('base64'), node]),
    );
    const peers = await this.#tunnel.peers().catch((): readonly TunnelPeerState[] => []);
    return {
      encryption: this.#parts.config.encryption,
      tunnel: this.#tunnel.status(),
      peers: peers.map(({ publicKey, endpoint, allowed, lastHandshake, received, sent }) => {
        const key = Buffer.from(publicKey).toString('base64');
        return {
          node: nodes.get(key) ?? '',
          publicKey: key,
          endpoint: endpoint ? `${endpoint.address}:${endpoint.port}` : '',
          allowed: allowed.map(({ address, bits }) => `${formatAddress(mapped(address))}/${bits}`),
          lastHandshake: lastHandshake === 0 ? '' : new Date(lastHandshake).toISOString(),
          received,
          sent,
        };
      }),
    };
  }

  /** @throws AUTH_NO_SESSION, AUTH_HANDSHAKE_TIMEOUT, AUTH_KEY_BUSY, STATE_UNUSABLE: nothing has changed */
  rotateTunnelKey(): Promise<RotationView> {
    return this.#rotation.rotate();
  }

  /** @throws NOT_FOUND where another process holds the authority's key */
  createJoinToken(node: string, ttlMs: number): string {
    const { authority } = this.#certificates;
    if (authority === undefined)
      throw new SidestepError('NOT_FOUND', 'this agent does not hold the certificate authority', {
        hint: 'Ask the agent that was started with --ca true.',
      });
    return authority.createJoinToken(node, ttlMs);
  }

  /** The tunnel stays, and what was proven until it expires; packets that wait are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    const { protection } = this.#parts;
    protection.setDevices({ ...protection.devices, hold: 0 });
    await this.#sessions.close();
    await this.#certificates.close();
    this.#tunnel.close();
    this.#putBack?.close();
    this.#tap?.close();
  }
}

/** Global ones, of devices that are no workload's: those come with a /32 or /128 of the gateway. */
function ownAddresses(kernel: Kernel): string[] {
  return kernel
    .interfaces()
    .filter(({ up, name }) => up && name !== 'lo')
    .flatMap(({ addresses }) => addresses)
    .filter(({ address, prefixLength }) => prefixLength < address.length * 8 && !isLinkLocal(address))
    .map(({ address }) => formatAddress(mapped(address)));
}

function isLinkLocal(address: Uint8Array): boolean {
  return address.length === 4 ? address[0] === 169 && address[1] === 254 : address[0] === 0xfe;
}
