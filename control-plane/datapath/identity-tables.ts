/**
 * Which identity has an address? The tables that the programs ask: exact addresses (`ipcache`) and ranges (`ipcache_prefixes`).
 * Three layers say what an address is, the first that knows it counts: a pod, this node itself, what policy says of addresses
 * outside. What did not change since the last snapshot costs nothing.
 */
import {
  encodeAddressKey,
  encodeIpcacheEntry,
  encodePrefixKey,
  IpcacheFlag,
  ReservedIdentity,
  readIpcacheEntry,
} from '../generated/bpf.ts';
import { SidestepError } from '../model/error.ts';
import { changeBetween } from '../model/list-change.ts';
import type { AddressIdentity, PrefixIdentity, Snapshot } from '../model/snapshot.ts';
import { mapped } from './interfaces.ts';
import type { NetworkInterface } from './kernel.ts';
import type { MirroredMap } from './mirror.ts';
import { movesBetween, tellsApart } from './prefix-changes.ts';

/** The only scope so far: one network per node. */
const SCOPE = 0;
/** Bits of {scope} in front of the address in ipcache_prefixes. */
const SCOPE_BITS = 32;
const ADDRESS_BITS = 128;
/** Of a key: where the address begins. */
const ADDRESS_OFFSET = 4;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const entry = (identity: number, flags = 0, node = 0): Uint8Array => encodeIpcacheEntry({ identity, node, flags });
const keyOf = (address: Uint8Array): Uint8Array => encodeAddressKey({ scope: SCOPE, address });
const same = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && Buffer.compare(a, b) === 0);

interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}
/** By key, in hex. */
type Layer = Map<string, Entry>;

export type IdentitySnapshot = Pick<Snapshot, 'addresses' | 'prefixes' | 'nodes' | 'tables'>;

export interface IdentityChange {
  /** Addresses that became, were or are pods or this node, and are somebody else than before. Hex. */
  readonly changed: ReadonlySet<string>;
  /** Keys of tables that tell an earlier identity of addresses outside from the present one. */
  readonly stale: ReadonlySet<string>;
  /** To be called when endpoints point to the tables that know the new identities of pods on other nodes. */
  readonly settle: () => void;
}

export class IdentityTables {
  readonly #exact: MirroredMap;
  readonly #ranges: MirroredMap;
  readonly #encryptPods: boolean;
  readonly #pods: Layer = new Map();
  #own: Layer = new Map();
  #interfaces: readonly NetworkInterface[] = [];
  #outside: Layer = new Map();
  /** What the layers were made from; undefined: all is to be looked at. */
  #last: IdentitySnapshot | undefined;
  /** Ranges that the kernel has. */
  #prefixes: readonly PrefixIdentity[] = [];

  /** @param encryptPods all traffic between pods on different nodes goes through the tunnel */
  constructor(exact: MirroredMap, ranges: MirroredMap, encryptPods: boolean) {
    this.#exact = exact;
    this.#ranges = ranges;
    this.#encryptPods = encryptPods;
  }

  /**
   * Whether all of it has room. Asked before any table that speaks of its identities is in force: a range that is not in the
   * kernel would be `world`, and a rule that denies or excepts it would be without effect.
   * @returns MAP_FULL, or undefined
   */
  problemOf({ addresses, prefixes }: IdentitySnapshot): SidestepError | undefined {
    const exact = countWhere(prefixes, ({ bits }) => bits === ADDRESS_BITS);
    return (
      tooMany('prefixes', prefixes.length - exact, this.#ranges.maxEntries, 'ranges of addresses') ??
      tooMany('ipcache', addresses.length + exact, this.#exact.maxEntries, 'addresses')
    );
  }

  /**
   * Until endpoints point to the tables that know a pod's new identity, no table says that flows to it need proofs: until then
   * they go encrypted, whatever it is.
   * @throws MAP_FULL; what had room is written, and the next call looks at everything again
   */
  write(snapshot: IdentitySnapshot, interfaces: readonly NetworkInterface[]): IdentityChange {
    const last = this.#last;
    this.#last = undefined;
    const dirty = this.#layersOf(snapshot, interfaces, last);
    const { changed, settled } = this.#writeExact(dirty, last === undefined);
    const stale = this.#writeRanges(snapshot);
    this.#last = snapshot;
    return {
      changed,
      stale,
      settle: () => {
        for (const { key, value } of settled) this.#exact.set(key, value);
      },
    };
  }

  /** Brings the layers up to date. @returns keys that may have another value, with whether a pod or this node had them */
  #layersOf(
    snapshot: IdentitySnapshot,
    interfaces: readonly NetworkInterface[],
    last: IdentitySnapshot | undefined,
  ): ReadonlyMap<string, boolean> {
    const dirty = new Map<string, boolean>();
    const touch = (key: string): void => {
      if (!dirty.has(key)) dirty.set(key, this.#pods.has(key) || this.#own.has(key));
    };
    if (last === undefined) {
      for (const key of this.#exact.keys()) touch(hex(key));
      for (const layer of [this.#pods, this.#own, this.#outside]) for (const key of layer.keys()) touch(key);
    }
    const own = this.#interfaces === interfaces ? this.#own : ownLayer(interfaces);
    this.#interfaces = interfaces;
    const outside = last?.prefixes === snapshot.prefixes ? this.#outside : outsideLayer(snapshot.prefixes);
    for (const [before, now] of [
      [this.#own, own],
      [this.#outside, outside],
    ] as const)
      if (before !== now) for (const key of differences(before, now)) touch(key);
    const before = last !== undefined && sameNumbers(last.nodes, snapshot.nodes) ? last.addresses : undefined;
    const gone = before === undefined ? [...this.#pods.keys()] : undefined;
    const change = changeBetween<AddressIdentity>(before ?? [], snapshot.addresses);
    const removed = gone ?? change.removed.map(({ address }) => hex(keyOf(address)));
    const added = change.added.map((each): [string, Entry] => {
      const key = keyOf(each.address);
      return [hex(key), { key, value: this.#valueOf(each, snapshot) }];
    });
    for (const key of removed) touch(key);
    for (const [key] of added) touch(key);
    for (const key of removed) this.#pods.delete(key);
    for (const [key, value] of added) this.#pods.set(key, value);
    this.#own = own;
    this.#outside = outside;
    return dirty;
  }

  #valueOf({ identity, node }: AddressIdentity, { nodes }: IdentitySnapshot): Uint8Array {
    const number = nodes.get(node) ?? 0;
    return entry(identity, number !== 0 && this.#encryptPods ? IpcacheFlag.IPCACHE_ENCRYPT : 0, number);
  }

  #writeExact(
    dirty: ReadonlyMap<string, boolean>,
    isFirst: boolean,
  ): { readonly changed: Set<string>; readonly settled: readonly Entry[] } {
    const changed = new Set<string>();
    const settled: Entry[] = [];
    const fresh: Entry[] = [];
    const gone: Uint8Array[] = [];
    for (const [text, wasOwned] of dirty) {
      const pod = this.#pods.get(text);
      const own = pod ?? this.#own.get(text);
      const wanted = own ?? this.#outside.get(text);
      const key = wanted?.key ?? Uint8Array.from(Buffer.from(text, 'hex'));
      const known = this.#exact.get(key);
      if (same(known, wanted?.value)) continue;
      const address = text.slice(ADDRESS_OFFSET * 2);
      if (known === undefined && wanted !== undefined) {
        fresh.push(wanted);
        if (pod) changed.add(address); // it was world or unmanaged until now
        continue;
      }
      if (isFirst || wasOwned || own !== undefined) changed.add(address);
      if (wanted === undefined) gone.push(key);
      else this.#exact.set(key, pod ? this.#meanwhile(pod, settled) : wanted.value);
    }
    this.#exact.deleteAll(gone);
    this.#exact.addAll(fresh);
    return { changed, settled };
  }

  /** What a pod that has another identity now is until its tables are in force; with all pods encrypted it says so by itself. */
  #meanwhile(pod: Entry, settled: Entry[]): Uint8Array {
    const { identity, node, flags } = readIpcacheEntry(new DataView(pod.value.buffer, pod.value.byteOffset));
    if (node === 0 || flags !== 0) return pod.value;
    settled.push(pod);
    return entry(identity, IpcacheFlag.IPCACHE_ENCRYPT, node);
  }

  #writeRanges({ prefixes, tables }: IdentitySnapshot): ReadonlySet<string> {
    if (prefixes === this.#prefixes) return new Set();
    const ranges = prefixes.filter(({ bits }) => bits < ADDRESS_BITS);
    this.#ranges.replace(
      ranges.map(({ address, bits, identity }) => ({
        key: encodePrefixKey({ prefixLength: SCOPE_BITS + bits, scope: SCOPE, address }),
        value: entry(identity),
      })),
    );
    const moves = movesBetween(this.#prefixes, prefixes);
    this.#prefixes = prefixes;
    return new Set([...tables].flatMap(([key, table]) => (tellsApart(table, moves) ? [key] : [])));
  }
}

function ownLayer(interfaces: readonly NetworkInterface[]): Layer {
  const value = entry(ReservedIdentity.IDENTITY_HOST, IpcacheFlag.IPCACHE_NODE_ADDRESS);
  const keys = interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => keyOf(mapped(address))));
  return new Map(keys.map((key) => [hex(key), { key, value }]));
}

function outsideLayer(prefixes: readonly PrefixIdentity[]): Layer {
  const exact = prefixes.filter(({ bits }) => bits === ADDRESS_BITS);
  return new Map(
    exact.map(({ address, identity }) => {
      const key = keyOf(address);
      return [hex(key), { key, value: entry(identity) }];
    }),
  );
}

/** Keys that one of the layers lacks, or that have another value. */
function differences(a: Layer, b: Layer): string[] {
  const changed = [...a].flatMap(([key, { value }]) => (same(value, b.get(key)?.value) ? [] : [key]));
  return [...changed, ...[...b.keys()].filter((key) => !a.has(key))];
}

function sameNumbers(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  return a === b || (a.size === b.size && [...a].every(([name, number]) => b.get(name) === number));
}

function countWhere<T>(list: readonly T[], test: (item: T) => boolean): number {
  return list.reduce((sum, each) => sum + (test(each) ? 1 : 0), 0);
}

function tooMany(option: string, wanted: number, room: number, what: string): SidestepError | undefined {
  if (wanted <= room) return undefined;
  return new SidestepError('MAP_FULL', `${wanted} ${what} do not fit into ${room}: policy stays what it was`, {
    hint: `Raise --${option}.`,
  });
}
