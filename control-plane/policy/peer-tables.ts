/**
 * What do peers on other nodes ask of flows from here? Their ingress policy, compiled for the endpoints of this node into
 * tables of which the kernel asks one thing: must this flow be proven before it leaves?
 */
import { createHash } from 'node:crypto';
import { formatRuleRef, type Origin } from '../model/policy.ts';
import { PEER_AUTHENTICATION, type PolicyTable, type TableEntry } from '../model/snapshot.ts';
import type { Answer, Column } from './answers.ts';
import type { Half, Halves } from './halves.ts';
import { coversOf, keyNumber, longest, portNumber } from './keys.ts';
import type { Placed } from './placement.ts';
import { remember } from './remember.ts';

/** Digits of the name of a content. */
const DIGITS = 24;

export interface PeerTables {
  readonly tables: ReadonlyMap<string, PolicyTable>;
  /** By identity of endpoints here; missing: nothing is asked of it. */
  readonly keys: ReadonlyMap<number, string>;
}

/** What the identities that share one ingress policy ask of an endpoint here. */
interface Part {
  readonly half: Half;
  readonly peers: readonly number[];
  readonly demands: readonly Answer[];
}

export interface PeerTablesOptions {
  readonly halves: Halves;
  readonly placed: readonly Placed[];
  readonly demands: Demands;
  /** Rule id of an origin. */
  readonly ruleOf: (origin: Origin) => number;
  /** Tables of the last revision. */
  readonly before: ReadonlyMap<string, PolicyTable>;
}

export function peerTables({ halves, placed, demands, ruleOf, before }: PeerTablesOptions): PeerTables {
  const tables = new Map<string, PolicyTable>();
  const keys = new Map<number, string>();
  for (const [identity, parts] of askedOf(halves, placed, demands)) {
    const key = keyOf(parts);
    keys.set(identity, key);
    if (!tables.has(key)) tables.set(key, unlessSame(before.get(key), tableOf(key, parts, ruleOf)));
  }
  return { tables, keys };
}

/** By identity with endpoints here, in order of the ingress policies elsewhere that ask something of it. */
function askedOf(halves: Halves, placed: readonly Placed[], demands: Demands): ReadonlyMap<number, Part[]> {
  const found = new Map<number, Part[]>();
  const here = new Set(placed.flatMap((each) => (each.here ? each.identity : [])));
  for (const [half, peers] of askingPeers(halves, placed)) {
    const { answers } = half;
    const others = demands.of(answers.toOthers).length > 0;
    for (const identity of others ? here : answers.named) {
      const asked = here.has(identity) ? demands.of(answers.to(identity)) : [];
      if (asked.length > 0) remember(found, identity, () => []).push({ half, peers, demands: asked });
    }
  }
  return found;
}

/** Ingress policies that ask for proofs, each with the identities on other nodes that it is for; by key. */
function askingPeers(halves: Halves, placed: readonly Placed[]): readonly (readonly [Half, readonly number[]])[] {
  const found = new Map<Half, number[]>();
  for (const each of placed) {
    if (each.nodes.size === 0) continue;
    const half = halves.asking(each, 'ingress');
    if (half) remember(found, half, () => []).push(each.identity);
  }
  return [...found].sort(([{ key: a }], [{ key: b }]) => (a < b ? -1 : 1));
}

/** Answers about columns, remembered as long as the columns are. */
export class Demands {
  readonly #known = new WeakMap<Column, readonly Answer[]>();

  /** What a column asks for, without the answers that a wider one gives as well. */
  of(column: Column): readonly Answer[] {
    return remember(this.#known, column, () => [...column.values()].filter((answer) => isNews(answer, column)));
  }
}

function isNews(answer: Answer, column: Column): boolean {
  const [nearest] = coversOf(portNumber(answer));
  const wider = nearest === undefined ? undefined : longest(column, nearest);
  if (answer.auth === 'none') return wider !== undefined && wider.auth !== 'none';
  return answer.auth !== wider?.auth || answer.rule !== wider.rule;
}

/**
 * Named after what it says and which policies say it, but not after who these select: that a peer comes or goes is an
 * edit of the table, and everything else is another table.
 */
function keyOf(parts: readonly Part[]): string {
  const text = parts.map(({ half, demands }) => [
    half.key,
    demands.map((demand) => {
      const { protocol, port, prefix, auth } = demand;
      const origin = originOf(half, demand);
      return [protocol, port, prefix, auth, origin?.kind === 'rules' ? origin.rules.map(formatRuleRef) : []];
    }),
  ]);
  return PEER_AUTHENTICATION + createHash('sha256').update(JSON.stringify(text)).digest('hex').slice(0, DIGITS);
}

/** What asks; nothing where nothing is asked for. */
function originOf(half: Half, { auth, rule }: Answer): Origin | undefined {
  return auth === 'none' ? undefined : half.originOf(rule);
}

function tableOf(key: string, parts: readonly Part[], ruleOf: (origin: Origin) => number): PolicyTable {
  const entries = parts.flatMap(({ half, peers, demands }) => {
    const shared = demands.map((demand) => {
      const { protocol, port, prefix, auth } = demand;
      const origin = originOf(half, demand);
      const asked = { verdict: 'allow', precedence: 1, rule: origin ? ruleOf(origin) : 0, ruleset: 0, auth } as const;
      return { protocol, port, prefix, ...asked };
    });
    return peers.flatMap((identity) => shared.map((entry): TableEntry => ({ identity, ...entry })));
  });
  entries.sort((a, b) => keyNumber(a) - keyNumber(b));
  return { key, direction: 'egress', enforcing: false, defaultRule: 0, entries };
}

/** The earlier object where it has the same peers; the rest follows from the key. */
function unlessSame(before: PolicyTable | undefined, table: PolicyTable): PolicyTable {
  const same =
    before?.entries.length === table.entries.length &&
    before.entries.every((entry, i) => {
      const other = table.entries[i];
      return other && keyNumber(entry) === keyNumber(other);
    });
  return same ? before : table;
}
