/** Policies of one direction -> the entries of one table, made once and then only where identities change. */
import type { NamedPort } from '../model/objects.ts';
import {
  type Direction,
  formatPolicyRef,
  formatRuleRef,
  hasLayer7,
  type Origin,
  type Policy,
  type PolicyRef,
  type Rule,
} from '../model/policy.ts';
import type { PolicyTable, Ruleset, TableEntry } from '../model/snapshot.ts';
import { type Column, type ColumnTerms, type Conflict, columnOf, type Row } from './columns.ts';
import { HOST, isExempt } from './identities.ts';
import { portNumber } from './keys.ts';
import { hasNamedPorts, numbered, portText } from './named-ports.ts';
import { isWildcard } from './peers.ts';
import { remember } from './remember.ts';
import type { SelectorCache } from './selector-cache.ts';
import { type Voice, voiceOf } from './sides.ts';
import type { TableSpec } from './table-spec.ts';

export const ANY_IDENTITY = 0;
/** Rule id of "this node's own processes may reach its workloads". */
const LOCAL_HOST_RULE = 1;

/** Named ports of the pods of each identity. */
export type IdentityPorts = ReadonlyMap<number, readonly NamedPort[]>;

export interface TableOptions {
  /** false: there is no Envoy to look into requests, and what would need it is denied. */
  readonly http: boolean;
  /** Rule id of an origin. */
  readonly numberOf: (origin: Origin) => number;
  /** Ruleset id of a decision point. */
  readonly rulesetOf: (key: string) => number;
}

export interface CompiledTable {
  readonly table: PolicyTable;
  /** Those that its entries name. */
  readonly rulesets: readonly Ruleset[];
  /** Where rules disagree. */
  readonly conflicts: readonly Conflict[];
}

/** What one identity has: the column that it shares with those who hear the same, and its own entries. */
interface Part {
  readonly column: Column;
  readonly entries: readonly TableEntry[];
}

export class TableMaker {
  readonly #spec: TableSpec;
  readonly #selectors: SelectorCache;
  readonly #options: TableOptions;
  readonly #rules: readonly Rule[];
  readonly #voices: readonly Voice[];
  readonly #everybody: readonly Voice[];
  readonly #terms: ColumnTerms;
  readonly #looks: boolean;
  /** Its egress rules name ports, so that it depends on those of peers. */
  readonly #namesPorts: boolean;
  #ports: IdentityPorts;
  #idsByRule: readonly ReadonlySet<number>[] = [];
  #parts = new Map<number, Part>();
  readonly #columns = new Map<string, Column>();
  #compiled: CompiledTable;

  /** @param selectors knows every identity there is, and must be kept so */
  constructor(spec: TableSpec, selectors: SelectorCache, ports: IdentityPorts, options: TableOptions) {
    const { direction, policies, stage, closed } = spec;
    this.#spec = spec;
    this.#selectors = selectors;
    this.#options = options;
    this.#ports = ports;
    this.#rules = sortedRules(direction, policies);
    this.#looks = hasLayer7(this.#rules);
    this.#namesPorts = direction === 'egress' && this.#rules.some(hasNamedPorts);
    this.#voices = this.#rules.map((rule, index) => voiceOf(index, rule));
    this.#everybody = this.#voices.filter(({ rule }) => isWildcard(rule.peers));
    const enforced = new Set(stage === 'audit-all' ? [] : policies.filter(({ audit }) => audit !== true));
    const enforcedRules = new Set([...enforced].flatMap(({ rules }) => rules));
    const enforcing = (list: Iterable<Policy>): boolean => [...list].some(({ defaultDeny }) => defaultDeny[direction]);
    this.#terms = {
      key: spec.key,
      direction,
      enforcing: closed || enforcing(policies),
      ...options,
      ...(stage === 'enforced'
        ? {}
        : {
            enforced: {
              isEnforced: (rule) => enforcedRules.has(rule),
              enforcing: (closed && stage === 'audit') || enforcing(enforced),
            },
          }),
    };
    this.#makeAll();
    this.#compiled = this.#put();
  }

  get compiled(): CompiledTable {
    return this.#compiled;
  }

  /** Takes up what has changed of identities since the last revision. */
  refresh(ports: IdentityPorts): CompiledTable {
    for (const { peers } of this.#rules) this.#selectors.idsOf(peers);
    const isNew = this.#namesPorts && ports !== this.#ports;
    this.#ports = ports;
    const before = this.#parts;
    if (isNew) this.#makeAll();
    else {
      const changes = [...this.#selectors.changed].flatMap((identity) => {
        const heard = this.#heardBy(identity);
        const isHost = identity === HOST && this.#letsHostIn;
        const part = heard.length > 0 || isHost ? this.#partOf(identity, heard) : undefined;
        return part === before.get(identity) ? [] : [[identity, part] as const];
      });
      if (changes.length === 0) return this.#compiled;
      this.#parts = new Map(before);
      for (const [identity, part] of changes)
        if (part) this.#parts.set(identity, part);
        else this.#parts.delete(identity);
      this.#parts = new Map([...this.#parts].sort(([a], [b]) => a - b));
    }
    this.#compiled = this.#put();
    return this.#compiled;
  }

  #makeAll(): void {
    const heard = new Map<number, Voice[]>();
    const add = (identity: number, voice: Voice): void => {
      remember(heard, identity, () => []).push(voice);
    };
    this.#idsByRule = this.#rules.map(({ peers }) => this.#selectors.idsOf(peers));
    for (const voice of this.#everybody) add(ANY_IDENTITY, voice);
    for (const [index, voice] of this.#voices.entries()) for (const id of this.#idsByRule[index] ?? []) add(id, voice);
    if (this.#namesPorts) {
      // Egress by the ports of each peer: a rule for everybody is one for every peer with a port of that name, too.
      const named = new Set([...heard.keys(), ...this.#ports.keys()]);
      for (const identity of named) {
        const voices = this.#heardBy(identity);
        if (voices.length > 0) heard.set(identity, voices);
        else heard.delete(identity);
      }
    }
    if (this.#letsHostIn) remember(heard, HOST, () => []);
    this.#parts = new Map(
      [...heard].sort(([a], [b]) => a - b).map(([identity, voices]) => [identity, this.#partOf(identity, voices)]),
    );
  }

  /** The node's own processes reach its workloads, and are not looked into. */
  get #letsHostIn(): boolean {
    return this.#spec.direction === 'ingress' && (this.#terms.enforcing || this.#looks);
  }

  /** What one identity hears, in order of the rules. */
  #heardBy(identity: number): Voice[] {
    if (identity === ANY_IDENTITY) return [...this.#everybody];
    const ports = this.#ports.get(identity) ?? [];
    return this.#voices.flatMap((voice) => {
      const { index, rule } = voice;
      const isNamed = this.#idsByRule[index]?.has(identity) === true;
      if (!this.#namesPorts || !hasNamedPorts(rule)) return isNamed ? [voice] : [];
      // What a rule for everybody says by number, it says to everybody.
      const asked = isNamed ? rule.ports : isWildcard(rule.peers) ? rule.ports.filter(({ name }) => name) : [];
      const known = asked.flatMap((match) => numbered(match, ports));
      return known.length === 0 ? [] : [voiceOf(index, rule, known)];
    });
  }

  #partOf(identity: number, voices: readonly Voice[]): Part {
    const column = this.#columnFor(identity, voices);
    const before = this.#parts.get(identity);
    if (before?.column === column) return before;
    const entries = column.rows.map((row): TableEntry => ({ identity, ...row }));
    return { column, entries: entries.sort((a, b) => portNumber(a) - portNumber(b)) };
  }

  /** Identities that hear the same share it. */
  #columnFor(identity: number, voices: readonly Voice[]): Column {
    const exempt = isExempt(identity);
    const isHost = identity === HOST;
    const kind = identity === ANY_IDENTITY ? 'any' : isHost ? 'host' : exempt ? 'exempt' : '';
    const ports = this.#namesPorts ? (this.#ports.get(identity) ?? []).map(portText).join(' ') : '';
    const text = `${kind} ${voices.map(({ index }) => index).join(' ')} ${ports}`;
    return remember(this.#columns, text, () => {
      const { direction } = this.#spec;
      const ingress = direction === 'ingress';
      const who = { exempt, looked: !(isHost && ingress), preferred: isHost && ingress && this.#looks };
      const everybody = identity === ANY_IDENTITY ? [] : this.#everybody;
      // What a decision point holds depends on the ports that names stand for, and so does its name.
      const terms = ports === '' ? this.#terms : { ...this.#terms, key: `${this.#terms.key} ${ports}` };
      const column = columnOf(voices, everybody, who, terms);
      return isHost && this.#letsHostIn ? withHost(column, who.preferred) : column;
    });
  }

  #put(): CompiledTable {
    const { key, direction, policies } = this.#spec;
    const { enforcing } = this.#terms;
    const columns = new Set([...this.#parts.values()].map(({ column }) => column));
    for (const [text, column] of this.#columns) if (!columns.has(column)) this.#columns.delete(text);
    const defaultRule = enforcing
      ? this.#options.numberOf({ kind: 'default-deny', policies: closing(direction, policies) })
      : 0;
    return {
      table: { key, direction, enforcing, defaultRule, entries: [...this.#parts.values()].flatMap((p) => p.entries) },
      rulesets: [...new Map([...columns].flatMap(({ rulesets }) => rulesets.map((each) => [each.id, each]))).values()],
      conflicts: [...columns].flatMap(({ conflicts }) => conflicts),
    };
  }
}

/** Lowest of what admits: a rule that names the host for everything names itself. */
function withHost(column: Column, preferred: boolean): Column {
  const all = { protocol: 0, port: 0, prefix: 0 };
  if (column.rows.some(({ prefix }) => prefix === 0)) return column;
  const precedence = preferred ? 254 : 1;
  const row: Row = { ...all, verdict: 'allow', precedence, rule: LOCAL_HOST_RULE, ruleset: 0, auth: 'none' };
  return { ...column, rows: [...column.rows, row] };
}

function sortedRules(direction: Direction, policies: readonly Policy[]): Rule[] {
  return policies
    .flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction))
    .map((rule) => ({ rule, text: formatRuleRef(rule.ref) }))
    .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ rule }) => rule);
}

/** The policies that switch default deny on, sorted; none where it is on without them. */
export function closing(direction: Direction, policies: readonly Policy[]): PolicyRef[] {
  const refs = policies.filter((policy) => policy.defaultDeny[direction]).map((policy) => policy.ref);
  return [...new Map(refs.map((ref): [string, PolicyRef] => [formatPolicyRef(ref), ref]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, ref]) => ref);
}
