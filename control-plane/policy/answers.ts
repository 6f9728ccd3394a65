/** What does a compiled table say to each peer, port by port? The kernel's two look-ups, done for every port at once. */
import type { Authentication, PolicyTable, TableEntry } from '../model/snapshot.ts';
import { ANY_IDENTITY } from './compile-table.ts';
import { EVERYTHING, longest, type PortKey, portNumber } from './keys.ts';
import { remember } from './remember.ts';

/** For the ports of a prefix that no longer one of the same column covers. */
export interface Answer extends PortKey {
  readonly allowed: boolean;
  /** none where it is denied. */
  readonly auth: Authentication;
  /** Of the entry that decides. */
  readonly rule: number;
}

/** By portNumber, in rising order of prefix; the first is for every protocol and port. */
export type Column = ReadonlyMap<number, Answer>;

type Entries = ReadonlyMap<number, TableEntry>;

const NOBODY: Entries = new Map();

export class Answers {
  readonly #table: PolicyTable;
  readonly #entries: ReadonlyMap<number, Entries>;
  readonly #columns = new Map<number, Column>();
  /** Columns that say the same are the same object. */
  readonly #byText = new Map<string, Column>();

  constructor(table: PolicyTable) {
    this.#table = table;
    const entries = new Map<number, Map<number, TableEntry>>();
    for (const entry of table.entries) {
      const own = entries.get(entry.identity) ?? new Map<number, TableEntry>();
      entries.set(entry.identity, own.set(portNumber(entry), entry));
    }
    this.#entries = entries;
  }

  /** Identities that have an answer of their own. */
  get named(): IterableIterator<number> {
    return this.#entries.keys();
  }

  /** To every peer that is not named. */
  get toOthers(): Column {
    return this.to(ANY_IDENTITY);
  }

  /** @param identity of pods: `host` and `world`, which are never authenticated, are not asked for here */
  to(identity: number): Column {
    const asked = this.#entries.has(identity) ? identity : ANY_IDENTITY;
    return remember(this.#columns, asked, () => this.#make(asked));
  }

  #make(identity: number): Column {
    const own = identity === ANY_IDENTITY ? NOBODY : (this.#entries.get(identity) ?? NOBODY);
    const any = this.#entries.get(ANY_IDENTITY) ?? NOBODY;
    const keys = new Map<number, PortKey>([[portNumber(EVERYTHING), EVERYTHING]]);
    for (const [number, { protocol, port, prefix }] of [...own, ...any]) keys.set(number, { protocol, port, prefix });
    const answers = [...keys]
      .sort(([a, { prefix }], [b, { prefix: other }]) => prefix - other || a - b)
      .map(([number, key]): [number, Answer] => [
        number,
        this.#answer(key, longest(own, number), longest(any, number)),
      ]);
    const text = answers.map(([number, { allowed, auth, rule }]) => `${number} ${allowed} ${auth} ${rule}`).join('\n');
    return remember(this.#byText, text, () => new Map(answers));
  }

  #answer(key: PortKey, own: TableEntry | undefined, any: TableEntry | undefined): Answer {
    const [winner, loser] = own && (any === undefined || ownWins(own, any)) ? [own, any] : [any, own];
    if (winner === undefined)
      return { ...key, allowed: !this.#table.enforcing, auth: 'none', rule: this.#table.defaultRule };
    const { verdict, rule } = winner;
    const allowed = verdict !== 'deny';
    return { ...key, allowed, auth: allowed ? authOf(winner, loser) : 'none', rule };
  }
}

/** exact_wins in bpf/lib/policy.h. */
function ownWins(own: TableEntry, any: TableEntry): boolean {
  if (own.precedence !== any.precedence) return own.precedence > any.precedence;
  if (own.verdict !== any.verdict) return own.verdict === 'deny';
  return own.prefix >= any.prefix;
}

/** @see TableEntry.auth */
function authOf(winner: TableEntry, loser: TableEntry | undefined): Authentication {
  if (winner.auth !== 'inherit') return winner.auth;
  return loser === undefined || loser.precedence !== winner.precedence || loser.auth === 'inherit'
    ? 'none'
    : loser.auth;
}
