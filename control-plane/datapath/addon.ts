/** The Kernel port over the native addon. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { basename, join } from 'node:path';
import type * as Native from '../../native/index.d.ts';
import { SidestepError } from '../model/error.ts';
import type {
  AttachPoint,
  Chunk,
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
  TestRunResult,
} from './kernel.ts';
import { KernelCause, kernelError } from './kernel-error.ts';

type Addon = typeof Native;
type Doing = Parameters<typeof kernelError>[1];

function call<T>(doing: Doing, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw kernelError(error, doing);
  }
}

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

class AddonMap implements KernelMap {
  readonly raw: Native.BpfMap;
  readonly name: string;
  readonly type: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;

  /** @param name as the object has it: the kernel keeps only its first 15 characters */
  constructor(raw: Native.BpfMap, name: string) {
    this.raw = raw;
    const info = raw.info;
    this.name = name;
    this.type = info.kind;
    this.keySize = info.keySize;
    this.valueSize = info.valueSize;
    this.maxEntries = info.maxEntries;
  }

  lookup(key: Uint8Array): Uint8Array | undefined {
    return call('other', () => this.raw.lookup(key)) ?? undefined;
  }

  update(key: Uint8Array, value: Uint8Array, flags: 'any' | 'create' | 'exist' = 'any'): void {
    call('write', () => this.raw.update(key, value, { any: 0, create: 1, exist: 2 }[flags]));
  }

  delete(key: Uint8Array): boolean {
    return call('other', () => this.raw.delete(key));
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number {
    const [written = 0, errno = 0] = call('write', () => this.raw.updateBatch(keys, values, count));
    if (errno === 0) return written;
    const error = kernelError(
      new Error(JSON.stringify({ errno, message: `${this.name}: ${written} of ${count} entries written`, log: '' })),
      'write',
    );
    if (error.cause instanceof KernelCause) Object.assign(error.cause, { written });
    throw error;
  }

  deleteBatch(keys: Uint8Array, count: number): number {
    return call('other', () => this.raw.deleteBatch(keys, count));
  }

  dump(): Chunk {
    const chunks = [...this.chunks(4096)];
    const only = chunks[0];
    if (chunks.length === 1 && only) return only;
    return {
      keys: Buffer.concat(chunks.map((chunk) => chunk.keys)),
      values: Buffer.concat(chunks.map((chunk) => chunk.values)),
      count: chunks.reduce((sum, chunk) => sum + chunk.count, 0),
    };
  }

  *chunks(size: number): Generator<Chunk> {
    let cursor: Buffer | undefined;
    do {
      const from = cursor;
      const chunk = call('other', () => this.raw.chunk(from, size));
      cursor = chunk.cursor;
      yield chunk;
    } while (cursor !== undefined);
  }

  /** The descriptor is closed with the object, when it is collected. */
  close(): void {}
}

class AddonProgram implements KernelProgram {
  readonly raw: Native.BpfProgram;
  readonly id: number;
  readonly name: string;

  constructor(raw: Native.BpfProgram) {
    this.raw = raw;
    this.id = raw.id;
    this.name = raw.name;
  }

  pin(path: string): void {
    call('other', () => this.raw.pin(path));
  }

  testRun(
    packet: Uint8Array,
    options: { repeat?: number; ifindex?: number; ingressIfindex?: number; mark?: number } = {},
  ): TestRunResult {
    return call('other', () =>
      this.raw.testRun(
        packet,
        options.repeat ?? 1,
        options.ifindex ?? 0,
        options.ingressIfindex ?? 0,
        options.mark ?? 0,
      ),
    );
  }

  close(): void {}
}

class AddonObject implements KernelObject {
  readonly #raw: Native.BpfObject;

  constructor(raw: Native.BpfObject) {
    this.#raw = raw;
  }

  get mapNames(): readonly string[] {
    return this.#raw.mapNames;
  }

  get programNames(): readonly string[] {
    return this.#raw.programNames;
  }

  map(name: string): KernelMap {
    return new AddonMap(
      call('other', () => this.#raw.map(name)),
      name,
    );
  }

  program(name: string): KernelProgram {
    return new AddonProgram(call('other', () => this.#raw.program(name)));
  }

  close(): void {}
}

class AddonLink implements KernelLink {
  readonly #raw: Native.BpfLink;
  readonly id: number;

  constructor(raw: Native.BpfLink) {
    this.#raw = raw;
    this.id = raw.info().id;
  }

  get ifindex(): number {
    return call('other', () => this.#raw.info().ifindex);
  }

  get programId(): number {
    return call('other', () => this.#raw.info().programId);
  }

  pin(path: string): void {
    call('other', () => this.#raw.pin(path));
  }

  update(program: KernelProgram): void {
    call('attach', () => this.#raw.update(rawProgram(program)));
  }

  detach(): void {
    call('other', () => this.#raw.detach());
  }

  close(): void {}
}

function rawProgram(program: KernelProgram): Native.BpfProgram {
  if (program instanceof AddonProgram) return program.raw;
  throw new SidestepError('KERNEL_CALL_FAILED', 'the program belongs to another kernel');
}

function rawMap(map: KernelMap): Native.BpfMap {
  if (map instanceof AddonMap) return map.raw;
  throw new SidestepError('KERNEL_CALL_FAILED', 'the map belongs to another kernel');
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
    return new AddonObject(
      call('load', () => this.#addon.BpfObject.load(object, options.pinDirectory, [...(options.rodata ?? [])], sizes)),
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
