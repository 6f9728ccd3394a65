/** A kernel table and our knowledge of it, so that a change costs only the writes it needs. */
import type { KernelMap } from './kernel.ts';

/** Counts writes into the kernel; shared by everything that writes. */
export class WriteCounter {
  total = 0;
  add(count: number): void {
    this.total += count;
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

export class MirroredMap {
  readonly #map: KernelMap;
  readonly #writes: WriteCounter;
  readonly #known = new Map<string, Uint8Array>();

  constructor(map: KernelMap, writes: WriteCounter) {
    this.#map = map;
    this.#writes = writes;
    const { keys, values, count } = map.dump();
    for (let i = 0; i < count; i++) {
      const key = keys.slice(i * map.keySize, (i + 1) * map.keySize);
      this.#known.set(hex(key), values.slice(i * map.valueSize, (i + 1) * map.valueSize));
    }
  }

  get name(): string {
    return this.#map.name;
  }
  get size(): number {
    return this.#known.size;
  }
  get maxEntries(): number {
    return this.#map.maxEntries;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#known.get(hex(key));
  }

  keys(): Uint8Array[] {
    return [...this.#known.keys()].map((key) => Uint8Array.from(Buffer.from(key, 'latin1')));
  }

  /** Writes unless the kernel already has it. @throws MAP_FULL */
  set(key: Uint8Array, value: Uint8Array): void {
    const known = this.#known.get(hex(key));
    if (known !== undefined && Buffer.compare(known, value) === 0) return;
    this.#map.update(key, value);
    this.#writes.add(1);
    this.#known.set(hex(key), value);
  }

  delete(key: Uint8Array): void {
    if (!this.#known.has(hex(key))) return;
    this.#map.delete(key);
    this.#writes.add(1);
    this.#known.delete(hex(key));
  }

  /** Many new entries at once. On MAP_FULL what was written of them is taken back before the error goes on. */
  addAll(entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]): void {
    if (entries.length === 0) return;
    const keys = Buffer.concat(entries.map((entry) => entry.key));
    try {
      this.#map.updateBatch(keys, Buffer.concat(entries.map((entry) => entry.value)), entries.length);
    } catch (error) {
      this.#map.deleteBatch(keys, entries.length);
      throw error;
    }
    this.#writes.add(entries.length);
    for (const { key, value } of entries) this.#known.set(hex(key), value);
  }

  deleteAll(keys: readonly Uint8Array[]): void {
    const present = keys.filter((key) => this.#known.has(hex(key)));
    if (present.length === 0) return;
    this.#map.deleteBatch(Buffer.concat(present), present.length);
    this.#writes.add(present.length);
    for (const key of present) this.#known.delete(hex(key));
  }

  /** Makes the table hold exactly `wanted`. @returns keys that were removed or whose value changed */
  replace(wanted: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]): Uint8Array[] {
    const keep = new Set(wanted.map(({ key }) => hex(key)));
    const changed: Uint8Array[] = [];
    const fresh: { key: Uint8Array; value: Uint8Array }[] = [];
    for (const { key, value } of wanted) {
      const known = this.#known.get(hex(key));
      if (known === undefined) fresh.push({ key, value });
      else if (Buffer.compare(known, value) !== 0) {
        changed.push(key);
        this.set(key, value);
      }
    }
    const stale = this.keys().filter((key) => !keep.has(hex(key)));
    this.deleteAll(stale);
    this.addAll(fresh);
    return [...changed, ...stale];
  }
}
