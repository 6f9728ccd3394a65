/** Keys of a policy table as numbers, so that what covers a key is found by arithmetic. */
import type { TableEntry } from '../model/snapshot.ts';

export type Key = Pick<TableEntry, 'identity' | 'protocol' | 'port' | 'prefix'>;
/** A key of one identity, see TableEntry. */
export type PortKey = Omit<Key, 'identity'>;

/** The protocol's own bits of a prefix. */
export const PROTOCOL_PREFIX = 16;
export const PORT_PREFIX = 32;

export const EVERYTHING: PortKey = { protocol: 0, port: 0, prefix: 0 };

/** Blocks of ports within one protocol form a binary tree: number 1 is all of them, below n stand 2n and 2n + 1. */
const BLOCKS = 1 << 17;
const PORT_KEYS = BLOCKS * 256;

/** One number for each key of an identity; in order of protocol, prefix, port. */
export function portNumber({ protocol, port, prefix }: PortKey): number {
  if (prefix === 0) return 0;
  const bits = prefix - PROTOCOL_PREFIX;
  return protocol * BLOCKS + ((1 << bits) | (port >> (16 - bits)));
}

/** One number for each key; in order of identity, protocol, prefix, port. */
export function keyNumber(key: Key): number {
  return key.identity * PORT_KEYS + portNumber(key);
}

/** Numbers of the keys that cover it, without its own, nearest first. @param number see portNumber */
export function coversOf(number: number): number[] {
  if (number === 0) return [];
  const block = number % BLOCKS;
  const covers: number[] = [];
  for (let wider = block >> 1; wider > 0; wider >>= 1) covers.push(number - block + wider);
  covers.push(0);
  return covers;
}

/**
 * Those that no flow hits: narrower ones together cover all of their ports.
 * @param numbers see portNumber
 */
export function shadowed(numbers: Iterable<number>): ReadonlySet<number> {
  const whole = new Set(numbers);
  const found = new Set<number>();
  // What is added on the way, two halves that make a whole, is looked at as well.
  for (const number of whole) {
    const block = number % BLOCKS;
    if (block <= 1 || !whole.has(number - block + (block ^ 1))) continue;
    const wider = number - block + (block >> 1);
    found.add(wider);
    whole.add(wider);
  }
  return found;
}

/** What the map has for the key or, failing that, for the nearest that covers it. */
export function longest<T>(entries: ReadonlyMap<number, T>, number: number): T | undefined {
  const own = entries.get(number);
  if (own !== undefined) return own;
  for (const cover of coversOf(number)) {
    const found = entries.get(cover);
    if (found !== undefined) return found;
  }
  return undefined;
}
