/** The Kernel port over the native addon. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { basename, join } from 'node:path';
import type * as Native from '../../native/index.d.ts';
import { SidestepError } from '../model/error.ts';
import type { ProcessEnd, SpawnOptions } from '../model/process.ts';
import { AddonLink, AddonMap, AddonObject, AddonProgram, call, rawMap, rawProgram } from './addon-objects.ts';
import type {
  AttachPoint,
  CgroupHook,
  Closeable,
  Kernel,
  KernelFeatures,
  KernelLink,
  KernelMap,
  KernelObject,
  KernelProgram,
  KernelRing,
  LoadOptions,
  NetworkInterface,
  RingOptions,
} from './kernel.ts';
import type { Tap, TapEvents, WireGuardPeerChange, WireGuardState } from './kernel-devices.ts';
import type { Family, PacketRules, PolicyRule, TableRoute, Way } from './kernel-network.ts';

type Addon = typeof Native;

/** Beside the bundle, in the folder above its chunks, or in a checkout's native folder; SIDESTEP_ADDON overrides. */
function findAddon(): string {
  const here = import.meta.dirname;
  const places = [
    process.env['SIDESTEP_ADDON'],
    join(here, 'sidestep.node'),
    join(here, '..', 'sidestep.node'),
    join(here, '../../native/sidestep.node'),
  ];
  const found = places.find((path) => path !== undefined && existsSync(path));
  if (found === undefined) throw new SidestepError('ADDON_MISSING', 'sidestep.node is not built');
  return found;
}

/** @throws ADDON_MISSING */
export function openKernel(): Kernel {
  const path = findAddon();
  try {
    return new AddonKernel(createRequire(import.meta.url)(path) as Addon);
  } catch (cause) {
    throw new SidestepError(
      'ADDON_MISSING',
      `${path} does not load: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
}

const BUFFERS = 8;
const RECORDS_PER_BUFFER = 4096;

class AddonKernel implements Kernel {
  readonly #addon: Addon;

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  loadObject(object: Uint8Array, options: LoadOptions = {}): KernelObject {
    if (options.pinDirectory !== undefined) mkdirSync(options.pinDirectory, { recursive: true });
    const sizes = Object.entries(options.maxEntries ?? {}).map(([name, maxEntries]) => ({ name, maxEntries }));
    const { pinDirectory, rodata = [], privateMaps = [] } = options;
    return new AddonObject(
      call('load', () => this.#addon.BpfObject.load(object, pinDirectory, [...rodata], sizes, [...privateMaps])),
    );
  }

  openMap(path: string): KernelMap {
    return new AddonMap(
      call('other', () => this.#addon.BpfMap.open(path)),
      basename(path),
    );
  }

  openLink(path: string): KernelLink {
    return new AddonLink(call('other', () => this.#addon.BpfLink.open(path)));
  }

  openProgram(path: string): KernelProgram {
    return new AddonProgram(call('other', () => this.#addon.BpfProgram.open(path)));
  }

  attachTcx(program: KernelProgram, ifindex: number, point: AttachPoint): KernelLink {
    return new AddonLink(
      call('attach', () => this.#addon.BpfLink.attachTcx(rawProgram(program), ifindex, point === 'ingress')),
    );
  }

  tcxPrograms(ifindex: number, point: AttachPoint): readonly number[] {
    return call('attach', () => this.#addon.tcxPrograms(ifindex, point === 'ingress'));
  }

  attachClsact(program: KernelProgram, ifindex: number, point: AttachPoint): void {
    call('attach', () => this.#addon.attachClsact(rawProgram(program), ifindex, point === 'ingress'));
  }

  detachClsact(ifindex: number, point: AttachPoint): void {
    call('other', () => this.#addon.detachClsact(ifindex, point === 'ingress'));
  }

  clsactProgram(ifindex: number, point: AttachPoint): number {
    return call('other', () => this.#addon.clsactProgram(ifindex, point === 'ingress'));
  }

  attachCgroup(program: KernelProgram, path: string, hook: CgroupHook): KernelLink {
    return new AddonLink(call('attach', () => this.#addon.BpfLink.attachCgroup(rawProgram(program), path, hook)));
  }

  attachSkLookup(program: KernelProgram, netns?: string): KernelLink {
    return new AddonLink(call('attach', () => this.#addon.BpfLink.attachSkLookup(rawProgram(program), netns)));
  }

  openRing(
    map: KernelMap,
    options: RingOptions,
    callback: (index: number, buffer: Uint8Array, count: number) => void,
  ): KernelRing {
    const size = options.recordSize * (options.recordsPerBuffer ?? RECORDS_PER_BUFFER);
    // Not from Buffer's pool: each is lent to the reader thread as a whole.
    const buffers = Array.from({ length: options.buffers ?? BUFFERS }, () => new Uint8Array(new ArrayBuffer(size)));
    const ring = call('other', () =>
      this.#addon.BpfRing.open(rawMap(map), options.recordSize, buffers, (index, count) => {
        const buffer = buffers[index];
        if (buffer) callback(index, buffer, count);
      }),
    );
    return {
      credit: (index) => ring.credit(index),
      stats: () => ({ delivered: Number(ring.delivered), droppedInUserSpace: 0 }),
      close: () => ring.close(),
    };
  }

  interfaces(netns?: string): readonly NetworkInterface[] {
    return call('other', () => this.#addon.interfaces(netns));
  }

  watchInterfaces(callback: () => void): Closeable {
    return call('other', () => this.#addon.InterfaceWatch.open(callback));
  }

  netnsId(netns?: string): bigint {
    return call('other', () => this.#addon.netnsId(netns));
  }

  ensureRule(family: Family, rule: PolicyRule): boolean {
    return call('network', () => this.#addon.ensureRule(family, rule));
  }

  removeRule(family: Family, rule: PolicyRule): boolean {
    return call('network', () => this.#addon.removeRule(family, rule));
  }

  rules(family: Family): readonly PolicyRule[] {
    return call('network', () => this.#addon.rules(family));
  }

  ensureLocalRoute(family: Family, table: number): boolean {
    return call('network', () => this.#addon.ensureLocalRoute(family, table));
  }

  removeLocalRoute(family: Family, table: number): boolean {
    return call('network', () => this.#addon.removeLocalRoute(family, table));
  }

  routes(family: Family, table: number): readonly TableRoute[] {
    return call('network', () => this.#addon.routes(family, table));
  }

  ensureDeviceRoute(family: Family, table: number, ifindex: number): boolean {
    return call('network', () => this.#addon.ensureDeviceRoute(family, table, ifindex));
  }

  removeDeviceRoute(family: Family, table: number, ifindex: number): boolean {
    return call('network', () => this.#addon.removeDeviceRoute(family, table, ifindex));
  }

  ensureUnreachableRoute(family: Family, table: number): boolean {
    return call('network', () => this.#addon.ensureUnreachableRoute(family, table));
  }

  removeUnreachableRoute(family: Family, table: number): boolean {
    return call('network', () => this.#addon.removeUnreachableRoute(family, table));
  }

  wayTo(address: string, mark: number): Way | undefined {
    const way = call('network', () => this.#addon.wayTo(address, mark));
    return way ? { ifindex: way.ifindex, mtu: way.mtu } : undefined;
  }

  ensurePacketTable(name: string, rules: PacketRules): boolean {
    const { untrackedIn, untrackedFrom, untrackedOut, notForwarded, onlyOutBy } = rules;
    const copy = {
      untrackedIn: [...untrackedIn],
      untrackedFrom: [...untrackedFrom],
      untrackedOut: [...untrackedOut],
      notForwarded: [...notForwarded],
      onlyOutBy: [...onlyOutBy],
    };
    return call('network', () => this.#addon.ensurePacketTable(name, copy));
  }

  removePacketTable(name: string): boolean {
    return call('network', () => this.#addon.removePacketTable(name));
  }

  createWireGuard(name: string): boolean {
    return call('network', () => this.#addon.createWireguard(name));
  }

  setWireGuard(name: string, settings: { privateKey: Uint8Array; port: number; fwmark: number }): void {
    call('network', () => this.#addon.setWireguard(name, settings));
  }

  setWireGuardPeer(name: string, { allowed, lost, ...peer }: WireGuardPeerChange): void {
    const change = { ...peer, allowed: [...allowed], lost: [...lost] };
    call('network', () => this.#addon.setWireguardPeer(name, change));
  }

  removeWireGuardPeer(name: string, publicKey: Uint8Array): void {
    call('network', () => this.#addon.removeWireguardPeer(name, publicKey));
  }

  wireGuard(name: string): WireGuardState {
    const { publicKey, peers, ...rest } = call('network', () => this.#addon.wireguard(name));
    return { ...rest, publicKey, peers: peers.map(({ endpoint, ...peer }) => ({ ...peer, endpoint })) };
  }

  setLinkUp(ifindex: number, mtu: number): void {
    call('network', () => this.#addon.setLinkUp(ifindex, mtu));
  }

  ensureLinkAddress(ifindex: number, address: string): boolean {
    return call('network', () => this.#addon.ensureLinkAddress(ifindex, address));
  }

  deleteLink(ifindex: number): boolean {
    return call('network', () => this.#addon.deleteLink(ifindex));
  }

  openTap(name: string, events: TapEvents): Tap {
    return new AddonTap(this.#addon, name, events);
  }

  destroySockets(addresses: readonly Uint8Array[], cgroup: string): number {
    return call('network', () => this.#addon.destroySockets([...addresses], cgroup));
  }

  spawn(program: string, args: readonly string[], options: SpawnOptions): number {
    const env = Object.entries(options.env).map(([name, value]) => ({ name, value }));
    const capabilities = [...options.capabilities];
    return call('other', () =>
      this.#addon.spawn(program, [...args], { ...options, file: options.file, capabilities, env }),
    );
  }

  waitPid(pid: number, startTime?: number): ProcessEnd | undefined {
    const end = call('other', () => this.#addon.waitPid(pid, startTime));
    return end ? { code: end.code, signal: end.signal } : undefined;
  }

  processStartTime(pid: number): number | undefined {
    return call('other', () => this.#addon.processStartTime(pid)) ?? undefined;
  }

  signalProcess(pid: number, startTime: number, signal: number): boolean {
    return call('other', () => this.#addon.signalProcess(pid, startTime, signal));
  }

  possibleCpus(): number {
    return call('other', () => this.#addon.possibleCpus());
  }

  monotonicNs(): bigint {
    return call('other', () => this.#addon.monotonicNs());
  }

  features(): KernelFeatures {
    return {
      ...this.#addon.features(),
      release: release(),
      btf: existsSync('/sys/kernel/btf/vmlinux'),
      bpffs: this.#addon.isBpffs('/sys/fs/bpf'),
      cgroup2: cgroup2(),
      capabilities: capabilities(),
    };
  }

  mountBpffs(path: string): boolean {
    if (this.#addon.isBpffs(path)) return false;
    mkdirSync(path, { recursive: true });
    call('other', () => this.#addon.mountBpffs(path));
    return true;
  }

  unmountBpffs(path: string): void {
    call('other', () => this.#addon.unmount(path));
  }
}

class AddonTap implements Tap {
  readonly #raw: Native.Tap;

  constructor(addon: Addon, name: string, events: TapEvents) {
    this.#raw = call('network', () =>
      addon.Tap.open(name, (frames) => {
        // Not at once: other work gets its turn between two batches.
        setImmediate(() => this.#raw.credit());
        if (frames.length > 0) events.frames(frames);
        else events.gone();
      }),
    );
  }

  get ifindex(): number {
    return this.#raw.ifindex;
  }

  get headerLength(): number {
    return this.#raw.headerLength;
  }

  get dropped(): number {
    return call('network', () => this.#raw.dropped());
  }

  write(frame: Uint8Array): void {
    call('network', () => this.#raw.write(frame));
  }

  close(): void {
    this.#raw.close();
  }
}

/** The mount point, which on a hybrid hierarchy is not /sys/fs/cgroup. */
function cgroup2(): string | undefined {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  return mounts.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
}

/** Of the effective set, those that matter here. Bit numbers: linux/capability.h. */
function capabilities(): string[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const bits = { CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n, CAP_PERFMON: 38n, CAP_BPF: 39n };
  return Object.entries(bits).flatMap(([name, bit]) => ((effective >> bit) & 1n ? [name] : []));
}
