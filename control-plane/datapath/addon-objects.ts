/** The kernel's objects over the native addon: maps, programs, links. */
import type * as Native from '../../native/index.d.ts';
import { SidestepError } from '../model/error.ts';
import type { Chunk, KernelLink, KernelMap, KernelObject, KernelProgram, TestRunResult } from './kernel.ts';
import { type Doing, KernelCause, kernelError } from './kernel-error.ts';

/** Gives what the addon throws its code. */
export function call<T>(doing: Doing, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw kernelError(error, doing);
  }
}

export class AddonMap implements KernelMap {
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

export class AddonProgram implements KernelProgram {
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

export class AddonObject implements KernelObject {
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

export class AddonLink implements KernelLink {
  readonly #raw: Native.BpfLink;
  readonly id: number;

  constructor(raw: Native.BpfLink) {
    this.#raw = raw;
    this.id = raw.info().id;
  }

  get ifindex(): number {
    return call('other', () => this.#raw.info().ifindex);
  }

  get target(): bigint {
    return call('other', () => this.#raw.info().target);
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

export function rawProgram(program: KernelProgram): Native.BpfProgram {
  if (program instanceof AddonProgram) return program.raw;
  throw new SidestepError('KERNEL_CALL_FAILED', 'the program belongs to another kernel');
}

export function rawMap(map: KernelMap): Native.BpfMap {
  if (map instanceof AddonMap) return map.raw;
  throw new SidestepError('KERNEL_CALL_FAILED', 'the map belongs to another kernel');
}
