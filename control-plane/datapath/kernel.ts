/**
 * The port to the kernel. Real: addon.ts (the native addon). In memory: memory.ts, for tests.
 * All calls are synchronous and short; failures are SidestepErrors with a KERNEL_* or MAP_FULL code whose cause
 * carries `errno` (e.g. 'ENOENT').
 */
import type { DeviceKernel } from './kernel-devices.ts';
import type { NetworkKernel } from './kernel-network.ts';
import type { ProcessKernel } from './kernel-process.ts';

export interface KernelMap {
  readonly name: string;
  readonly type: string;
  readonly keySize: number;
  /** For per-CPU kinds: of all CPUs together, each rounded up to 8 bytes. */
  readonly valueSize: number;
  readonly maxEntries: number;
  lookup(key: Uint8Array): Uint8Array | undefined;
  update(key: Uint8Array, value: Uint8Array, flags?: 'any' | 'create' | 'exist'): void;
  /** @returns false when the key was not there */
  delete(key: Uint8Array): boolean;
  /**
   * Writes `count` entries laid end to end; batch where the kernel has it, one by one for the rest.
   * @returns entries written; on an error the ones before it are written and the error's cause has `written`.
   */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number;
  /** Missing keys are not an error. @returns entries removed */
  deleteBatch(keys: Uint8Array, count: number): number;
  /** Every entry, laid end to end. A map that changes meanwhile may show an entry twice or not at all. */
  dump(): Chunk;
  /** The same in pieces of at most about `size` entries, for tables too large to copy at once; other work may run between. */
  chunks(size: number): Iterable<Chunk>;
  close(): void;
}

/** Entries laid end to end. */
export interface Chunk {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
}

export interface TestRunResult {
  /** What the program returned (TC_ACT_OK 0, TC_ACT_SHOT 2, TC_ACT_UNSPEC -1 as 0xffffffff, TC_ACT_REDIRECT 7). */
  readonly returnValue: number;
  readonly packet: Uint8Array;
  /** Mean over `repeat`, nanoseconds. */
  readonly durationNs: number;
}

export interface KernelProgram {
  readonly id: number;
  readonly name: string;
  pin(path: string): void;
  /** BPF_PROG_TEST_RUN with a packet and the fields of struct __sk_buff that the kernel lets one set. */
  testRun(
    packet: Uint8Array,
    options?: { repeat?: number; ifindex?: number; ingressIfindex?: number; mark?: number },
  ): TestRunResult;
  close(): void;
}

export interface LoadOptions {
  /** Maps are pinned here by name; one that is there and fits is used again. */
  readonly pinDirectory?: string;
  /** Maps that are not pinned: each load has its own. */
  readonly privateMaps?: readonly string[];
  /** Bytes written into .rodata before the load. */
  readonly rodata?: readonly { readonly offset: number; readonly data: Uint8Array }[];
  readonly maxEntries?: Readonly<Record<string, number>>;
}

export interface KernelObject {
  map(name: string): KernelMap;
  program(name: string): KernelProgram;
  readonly mapNames: readonly string[];
  readonly programNames: readonly string[];
  close(): void;
}

export type AttachPoint = 'ingress' | 'egress';

/** Hooks of a cgroup v2, by the names that programs have behind `cgroup/`. */
export type CgroupHook = 'sock_ops' | 'getsockopt' | 'setsockopt' | 'connect4' | 'connect6';

export interface KernelLink {
  readonly id: number;
  /** 0 when the device is gone, and for what does not hang on one. */
  readonly ifindex: number;
  /** What it hangs on: the ifindex, the cgroup's id (its inode) or the network namespace's inode; 0 when that is gone. */
  readonly target: bigint;
  readonly programId: number;
  pin(path: string): void;
  /** Swaps the program without a gap. */
  update(program: KernelProgram): void;
  /** Detaches now, even while pinned. */
  detach(): void;
  close(): void;
}

export interface RingStats {
  readonly delivered: number;
  /** Records that the kernel made and user space could not take: buffers ran out. */
  readonly droppedInUserSpace: number;
}

export interface KernelRing {
  /** Gives buffer `index` back. Every callback must be answered by one credit, from setImmediate or later. */
  credit(index: number): void;
  stats(): RingStats;
  close(): void;
}

export interface RingOptions {
  readonly recordSize: number;
  readonly buffers?: number;
  readonly recordsPerBuffer?: number;
}

export interface NetworkInterface {
  readonly ifindex: number;
  readonly name: string;
  /** veth, bridge, dummy, '' for a device without a link kind. */
  readonly kind: string;
  readonly mac: Uint8Array;
  /** IFLA_LINK: the peer of a veth, in its own namespace; 0 when there is none. */
  readonly peerIfindex: number;
  /** The bridge it is a port of, or 0. */
  readonly masterIfindex: number;
  readonly up: boolean;
  readonly mtu: number;
  /** 4 or 16 bytes each. */
  readonly addresses: readonly { readonly address: Uint8Array; readonly prefixLength: number }[];
}

export interface Closeable {
  close(): void;
}

export interface KernelFeatures {
  readonly release: string;
  readonly bpf: boolean;
  readonly tcx: boolean;
  readonly clsact: boolean;
  readonly ringBuffer: boolean;
  readonly lpmTrie: boolean;
  readonly lruHash: boolean;
  readonly coarseClock: boolean;
  /** Programs that pick the socket of a connection (5.9). */
  readonly skLookup: boolean;
  /** Programs that answer getsockopt for a cgroup. */
  readonly cgroupSockopt: boolean;
  /** Ending connections of others (CONFIG_INET_DIAG_DESTROY). */
  readonly socketDestroy: boolean;
  /** The kernel's own WireGuard (CONFIG_WIREGUARD, 5.6). */
  readonly wireguard: boolean;
  readonly btf: boolean;
  readonly bpffs: boolean;
  readonly cgroup2: string | undefined;
  readonly capabilities: readonly string[];
}

export interface Kernel extends NetworkKernel, DeviceKernel, ProcessKernel {
  loadObject(object: Uint8Array, options?: LoadOptions): KernelObject;
  openMap(path: string): KernelMap;
  openLink(path: string): KernelLink;
  openProgram(path: string): KernelProgram;
  /** @throws KERNEL_FEATURE_MISSING before 6.6; use attachClsact then. */
  attachTcx(program: KernelProgram, ifindex: number, point: AttachPoint): KernelLink;
  /** Program ids attached with tcx, in the order they run. */
  tcxPrograms(ifindex: number, point: AttachPoint): readonly number[];
  /** Creates the clsact qdisc and the filter, or replaces the filter's program. */
  attachClsact(program: KernelProgram, ifindex: number, point: AttachPoint): void;
  detachClsact(ifindex: number, point: AttachPoint): void;
  /** Id of the program in our clsact filter, or 0. */
  clsactProgram(ifindex: number, point: AttachPoint): number;
  /** Beside the programs that others have there. @param path folder of a cgroup v2 */
  attachCgroup(program: KernelProgram, path: string, hook: CgroupHook): KernelLink;
  /** An sk_lookup program on a network namespace, by default the own one. */
  attachSkLookup(program: KernelProgram, netns?: string): KernelLink;
  openRing(
    map: KernelMap,
    options: RingOptions,
    callback: (index: number, buffer: Uint8Array, count: number) => void,
  ): KernelRing;
  /** Interfaces of the process's own namespace, or of the one at `netns` (looked at by a thread that enters it). */
  interfaces(netns?: string): readonly NetworkInterface[];
  /** Calls back, coalesced, when a link or address of the own namespace changes. */
  watchInterfaces(callback: () => void): Closeable;
  /** Inode number of a network namespace: tells two apart. */
  netnsId(netns?: string): bigint;
  possibleCpus(): number;
  /** CLOCK_MONOTONIC. */
  monotonicNs(): bigint;
  features(): KernelFeatures;
  /** Mounts a bpf file system; false when there already is one. */
  mountBpffs(path: string): boolean;
  unmountBpffs(path: string): void;
}
