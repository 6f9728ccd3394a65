/**
 * Precedence and authentication between the prefixes of one identity: the kernel takes the longest, so the longest must
 * say what holds.
 */
import type { TableEntry } from '../model/snapshot.ts';

export type Key = Pick<TableEntry, 'identity' | 'protocol' | 'port' | 'prefix'>;

/** One number for each key; in order of identity, protocol, port, prefix. */
export function keyNumber({ identity, protocol, port, prefix }: Key): number {
  return ((identity * 256 + protocol) * 65536 + port) * 64 + prefix;
}

/**
 * Raises each entry to the strongest that covers it: an allow for one port does not pierce a denial of its protocol.
 * One that says nothing of authentication takes it from the nearest cover of equal precedence that does.
 * @param entries by keyNumber
 */
export function settle(entries: ReadonlyMap<number, TableEntry>): TableEntry[] {
  return [...entries.values()].map((entry) => {
    const covers = coversOf(entry).flatMap((wider) => entries.get(keyNumber(wider)) ?? []);
    let strongest = entry;
    for (const cover of covers) if (cover.precedence > strongest.precedence) strongest = cover;
    const { verdict, precedence, rule, ruleset } = strongest;
    const auth = inherited(strongest, covers);
    const same = strongest === entry && auth === entry.auth;
    return same ? entry : { ...entry, verdict, precedence, rule, ruleset, auth };
  });
}

/**
 * As in Cilium, where only an explicit mode keeps another peer's out: that a wider entry switches authentication off is
 * no more than the default, and the entry for every identity (or the identity's own) still has a say.
 * @param covers nearest first; those before the entry itself are narrower and have nothing to give
 */
function inherited(entry: TableEntry, covers: readonly TableEntry[]): TableEntry['auth'] {
  if (entry.auth !== 'inherit') return entry.auth;
  const from = covers.find(
    (cover) => cover.prefix < entry.prefix && cover.precedence === entry.precedence && cover.auth !== 'inherit',
  );
  return from === undefined || from.auth === 'none' ? 'inherit' : from.auth;
}

/** Nearest first. */
export function coversOf({ identity, protocol, prefix }: Key): Key[] {
  const all = { identity, protocol: 0, port: 0, prefix: 0 };
  if (prefix === 0) return [];
  return prefix === 16 ? [all] : [{ identity, protocol, port: 0, prefix: 16 }, all];
}
