/**
 * Addresses outside of the cluster change their identity when policy names other ranges or names. Live flows are not looked up
 * again by address: which tables must judge theirs anew?
 */
import type { PolicyTable, PrefixIdentity } from '../model/snapshot.ts';

/** From which identity to which addresses have moved; both 0 where none was known. */
export type Move = readonly [from: number, to: number];

const textOf = (address: Uint8Array, bits: number): string => `${Buffer.from(address).toString('hex')}/${bits}`;

/** The ranges of one revision, and who is in them. */
class Ranges {
  readonly byText: ReadonlyMap<string, PrefixIdentity>;
  readonly #lengths: readonly number[];

  constructor(prefixes: readonly PrefixIdentity[]) {
    this.byText = new Map(prefixes.map((each) => [textOf(each.address, each.bits), each]));
    this.#lengths = [...new Set(prefixes.map(({ bits }) => bits))].sort((a, b) => b - a);
  }

  /** Of the longest range that holds all of it. */
  identityOf({ address, bits }: PrefixIdentity): number {
    for (const length of this.#lengths) {
      if (length > bits) continue;
      const found = this.byText.get(textOf(masked(address, length), length));
      if (found) return found.identity;
    }
    return 0;
  }
}

function masked(address: Uint8Array, bits: number): Uint8Array {
  return address.map((byte, i) => byte & (0xff << Math.min(8, Math.max(0, 8 * (i + 1) - bits))));
}

/** Between two revisions, each move once. */
export function movesBetween(before: readonly PrefixIdentity[], after: readonly PrefixIdentity[]): readonly Move[] {
  if (before === after) return [];
  const [old, next] = [new Ranges(before), new Ranges(after)];
  const moves = new Map<string, Move>();
  const note = (range: PrefixIdentity): void => {
    const move = [old.identityOf(range), next.identityOf(range)] as const;
    if (move[0] !== move[1]) moves.set(move.join(' '), move);
  };
  for (const [text, range] of next.byText) if (old.byText.get(text)?.identity !== range.identity) note(range);
  for (const [text, range] of old.byText) if (!next.byText.has(text)) note(range);
  return [...moves.values()];
}

/** What a table says to each identity, as text that is equal where it says the same. */
const columns = new WeakMap<PolicyTable, ReadonlyMap<number, string>>();

function columnsOf(table: PolicyTable): ReadonlyMap<number, string> {
  const known = columns.get(table);
  if (known) return known;
  const made = new Map<number, string>();
  for (const { identity, ...rest } of table.entries)
    made.set(identity, `${made.get(identity) ?? ''}${Object.values(rest).join(' ')};`);
  columns.set(table, made);
  return made;
}

/** Whether a table says something else to those who moved. */
export function tellsApart(table: PolicyTable, moves: readonly Move[]): boolean {
  if (moves.length === 0) return false;
  const known = columnsOf(table);
  return moves.some(([from, to]) => known.get(from) !== known.get(to));
}
