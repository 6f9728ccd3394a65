/** Precedence between the prefixes of one identity: the kernel takes the longest, so the longest must say what holds. */
import type { TableEntry } from '../model/snapshot.ts';

export type Key = Pick<TableEntry, 'identity' | 'protocol' | 'port' | 'prefix'>;

/** One number for each key; in order of identity, protocol, port, prefix. */
export function keyNumber({ identity, protocol, port, prefix }: Key): number {
  return ((identity * 256 + protocol) * 65536 + port) * 64 + prefix;
}

/**
 * Raises each entry to the strongest that covers it: an allow for one port does not pierce a denial of its protocol.
 * @param entries by keyNumber
 */
export function settle(entries: ReadonlyMap<number, TableEntry>): TableEntry[] {
  return [...entries.values()].map((entry) => {
    let strongest = entry;
    for (const wider of coversOf(entry)) {
      const cover = entries.get(keyNumber(wider));
      if (cover && cover.precedence > strongest.precedence) strongest = cover;
    }
    const { verdict, precedence, rule, ruleset } = strongest;
    return strongest === entry ? entry : { ...entry, verdict, precedence, rule, ruleset };
  });
}

function coversOf({ identity, protocol, prefix }: TableEntry): Key[] {
  const all = { identity, protocol: 0, port: 0, prefix: 0 };
  if (prefix === 0) return [];
  return prefix === 16 ? [all] : [{ identity, protocol, port: 0, prefix: 16 }, all];
}
