/**
 * The Kernel port without a kernel: tables with bounds, links that are pinned as files, interfaces that a test sets.
 * It runs no program. Every write is kept in order, because the order is what fails open or closed.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { MAPS, type MapName } from '../generated/bpf.ts';
import { SidestepError } from '../model/error.ts';
import type {
  AttachPoint,
  CgroupHook,
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
  TestRunResult,
} from './kernel.ts';
import { type Journal, MemoryHost } from './memory-host.ts';

export type { Journal };

/** Kinds whose keys are 0 to maxEntries - 1 and always there. */
const ARRAYS: readonly MapName[] = [
  'policy_tables',
  'counters',
  'statistics',
  'proxy',
  'protection',
  'naming',
  'scratch',
];

const PROGRAMS = [
  'from_workload',
  'to_workload',
  'pick_envoy',
  'envoy_sockets',
  'envoy_connect4',
  'envoy_connect6',
  'envoy_identity',
  'put_back',
  'put_back_dns',
  'leave_tunnel',
] as const;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export class MemoryMap implements KernelMap {
  readonly type: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly name: MapName;
  readonly maxEntries: number;
  readonly #journal: Journal;
  readonly #entries = new Map<string, Uint8Array>();

  constructor(name: MapName, maxEntries: number, journal: Journal) {
    const shape: { readonly maxEntries: number; readonly keySize?: number; readonly valueSize?: number } = MAPS[name];
    this.name = name;
    this.type = ARRAYS.includes(name) ? 'array' : 'hash';
    this.keySize = shape.keySize ?? 0;
    this.valueSize = shape.valueSize ?? 0;
    this.maxEntries = maxEntries;
    this.#journal = journal;
  }

  get size(): number {
    return this.#entries.size;
  }

  lookup(key: Uint8Array): Uint8Array | undefined {
    return this.#entries.get(hex(key)) ?? (this.type === 'array' ? new Uint8Array(this.valueSize) : undefined);
  }

  update(key: Uint8Array, value: Uint8Array): void {
    const id = hex(key);
    const full =
      this.type === 'array'
        ? new DataView(key.buffer, key.byteOffset).getUint32(0, true) >= this.maxEntries
        : !this.#entries.has(id) && this.#entries.size >= this.maxEntries;
    if (full) throw new SidestepError('MAP_FULL', `${this.name}: no room`);
    this.#entries.set(id, Uint8Array.from(value));
    this.#journal.push(`${this.name} set ${id}`);
  }

  delete(key: Uint8Array): boolean {
    const there = this.#entries.delete(hex(key));
    if (there) this.#journal.push(`${this.name} delete ${hex(key)}`);
    return there;
  }

  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number {
    for (let i = 0; i < count; i++) this.update(slice(keys, i, this.keySize), slice(values, i, this.valueSize));
    return count;
  }

  deleteBatch(keys: Uint8Array, count: number): number {
    let gone = 0;
    for (let i = 0; i < count; i++) if (this.delete(slice(keys, i, this.keySize))) gone++;
    return gone;
  }

  dump(): Chunk {
    const entries =
      this.type === 'array'
        ? Array.from({ length: this.maxEntries }, (_, i) => {
            const key = new Uint8Array(4);
            new DataView(key.buffer).setUint32(0, i, true);
            return [key, this.lookup(key) ?? new Uint8Array(this.valueSize)] as const;
          })
        : [...this.#entries].map(([key, value]) => [Buffer.from(key, 'hex'), value] as const);
    return {
      keys: Buffer.concat(entries.map(([key]) => key)),
      values: Buffer.concat(entries.map(([, value]) => value)),
      count: entries.length,
    };
  }

  *chunks(): Iterable<Chunk> {
    yield this.dump();
  }

  close(): void {}
}

function slice(bytes: Uint8Array, index: number, size: number): Uint8Array {
  return bytes.subarray(index * size, (index + 1) * size);
}

class MemoryProgram implements KernelProgram {
  readonly id: number;
  readonly name: string;

  constructor(id: number, name: string) {
    this.id = id;
    this.name = name;
  }

  pin(): void {}
  testRun(): TestRunResult {
    throw new SidestepError('KERNEL_FEATURE_MISSING', 'the kernel in memory runs no programs');
  }
  close(): void {}
}

/** Where a link is: an interface's hook, a cgroup's, a namespace. */
interface Place {
  /** As the journal has it. */
  readonly name: string;
  readonly point?: AttachPoint;
  readonly ifindex: () => number;
  readonly target: () => bigint;
}

class MemoryLink implements KernelLink {
  readonly id: number;
  readonly place: Place;
  readonly #kernel: MemoryKernel;
  #program: KernelProgram;

  constructor(kernel: MemoryKernel, id: number, place: Place, program: KernelProgram) {
    this.#kernel = kernel;
    this.id = id;
    this.place = place;
    this.#program = program;
    kernel.links.add(this);
    kernel.journal.push(`link ${place.name} attach`);
  }

  get ifindex(): number {
    return this.place.ifindex();
  }
  get target(): bigint {
    return this.place.target();
  }
  get programId(): number {
    return this.#program.id;
  }

  pin(path: string): void {
    writeFileSync(path, '');
    this.#kernel.pinned.set(path, this);
  }

  update(program: KernelProgram): void {
    this.#program = program;
    this.#kernel.journal.push(`link ${this.place.name} update`);
  }

  detach(): void {
    this.#kernel.links.delete(this);
    this.#kernel.journal.push(`link ${this.place.name} detach`);
  }

  close(): void {}
}

export class MemoryKernel extends MemoryHost implements Kernel {
  readonly links = new Set<MemoryLink>();
  readonly pinned = new Map<string, MemoryLink>();
  /** Interfaces of a namespace, by its path. */
  readonly inside = new Map<string, NetworkInterface[]>();
  readonly #filters = new Map<string, number>();
  readonly #targets = new Map<string, bigint>();
  #maps = new Map<MapName, MemoryMap>();
  #nextId = 1;

  exists(ifindex: number): boolean {
    return this.own.some((each) => each.ifindex === ifindex);
  }

  /** Tables outlive the object, as pinned ones do. */
  loadObject(_object: Uint8Array, options: LoadOptions = {}): KernelObject {
    for (const name of Object.keys(MAPS) as MapName[])
      if (!this.#maps.has(name))
        this.#maps.set(name, new MemoryMap(name, options.maxEntries?.[name] ?? MAPS[name].maxEntries, this.journal));
    const programs = new Map<string, MemoryProgram>(
      PROGRAMS.map((name) => [name, new MemoryProgram(this.#nextId++, name)]),
    );
    return {
      map: (name) => this.map(name as MapName),
      program: (name) => {
        const found = programs.get(name);
        if (found === undefined) throw new SidestepError('KERNEL_CALL_FAILED', `no program ${name}`);
        return found;
      },
      mapNames: [...this.#maps.keys()],
      programNames: [...programs.keys()],
      close: () => undefined,
    };
  }

  map(name: MapName): MemoryMap {
    const map = this.#maps.get(name);
    if (map === undefined) throw new SidestepError('KERNEL_CALL_FAILED', `no map ${name}`);
    return map;
  }

  openMap(path: string): KernelMap {
    return this.map(path.slice(path.lastIndexOf('/') + 1) as MapName);
  }

  openLink(path: string): KernelLink {
    const link = this.pinned.get(path);
    if (link === undefined) throw new SidestepError('KERNEL_CALL_FAILED', `no link at ${path}`);
    return link;
  }

  openProgram(): KernelProgram {
    throw new SidestepError('KERNEL_FEATURE_MISSING', 'the kernel in memory pins no programs');
  }

  attachTcx(program: KernelProgram, ifindex: number, point: AttachPoint): KernelLink {
    const now = (): number => (this.exists(ifindex) ? ifindex : 0);
    const place = { name: `${ifindex} ${point}`, point, ifindex: now, target: () => BigInt(now()) };
    return new MemoryLink(this, this.#nextId++, place, program);
  }

  attachCgroup(program: KernelProgram, path: string, hook: CgroupHook): KernelLink {
    return this.#attachTo(program, `${path} ${hook}`, path);
  }

  attachSkLookup(program: KernelProgram, netns?: string): KernelLink {
    return this.#attachTo(program, `${netns ?? 'own'} sk_lookup`, netns ?? 'own');
  }

  /** A cgroup or namespace, which stays the same one as long as its path does. */
  #attachTo(program: KernelProgram, name: string, path: string): KernelLink {
    const target = this.#targets.get(path) ?? BigInt(this.#targets.size + 1);
    this.#targets.set(path, target);
    return new MemoryLink(this, this.#nextId++, { name, ifindex: () => 0, target: () => target }, program);
  }

  tcxPrograms(ifindex: number, point: AttachPoint): readonly number[] {
    const here = [...this.links].filter((link) => link.ifindex === ifindex && link.place.point === point);
    return here.map((link) => link.programId);
  }

  attachClsact(program: KernelProgram, ifindex: number, point: AttachPoint): void {
    this.#filters.set(`${ifindex} ${point}`, program.id);
    this.journal.push(`filter ${ifindex} ${point} attach`);
  }

  detachClsact(ifindex: number, point: AttachPoint): void {
    this.#filters.delete(`${ifindex} ${point}`);
    this.journal.push(`filter ${ifindex} ${point} detach`);
  }

  clsactProgram(ifindex: number, point: AttachPoint): number {
    return this.#filters.get(`${ifindex} ${point}`) ?? 0;
  }

  openRing(): KernelRing {
    return { credit: () => undefined, stats: () => ({ delivered: 0, droppedInUserSpace: 0 }), close: () => undefined };
  }

  interfaces(netns?: string): readonly NetworkInterface[] {
    if (netns === undefined) return this.own;
    const found = this.inside.get(netns);
    if (found === undefined) throw new SidestepError('KERNEL_CALL_FAILED', `no namespace ${netns}`);
    return found;
  }

  watchInterfaces(): Closeable {
    return { close: () => undefined };
  }

  netnsId(netns?: string): bigint {
    if (netns === undefined) return 1n;
    if (!this.inside.has(netns)) throw new SidestepError('KERNEL_CALL_FAILED', `no namespace ${netns}`);
    return BigInt([...this.inside.keys()].indexOf(netns) + 2);
  }

  possibleCpus(): number {
    return 1;
  }

  monotonicNs(): bigint {
    return 1_000_000_000n;
  }

  features(): KernelFeatures {
    return {
      release: '6.18.0',
      bpf: true,
      tcx: true,
      clsact: true,
      ringBuffer: true,
      lpmTrie: true,
      lruHash: true,
      coarseClock: true,
      skLookup: true,
      cgroupSockopt: true,
      socketDestroy: true,
      wireguard: this.wireguardThere,
      btf: true,
      bpffs: true,
      cgroup2: undefined,
      capabilities: [],
    };
  }

  mountBpffs(): boolean {
    return false;
  }

  unmountBpffs(path: string): void {
    rmSync(path, { recursive: true, force: true });
  }
}
