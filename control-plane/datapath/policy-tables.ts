/**
 * Compiled policy tables -> kernel. A table that only gains entries is edited in place and gets a new revision; any
 * other change builds a table under a new id, and the endpoints are flipped to it with one write each. The old table is
 * taken away later, when no program can still be reading it.
 */
import {
  Authentication,
  encodePolicyEntry,
  encodePolicyKey,
  encodePolicyTable,
  POLICY_ENTRY_SIZE,
  POLICY_TABLE_SIZE,
  readPolicyEntry,
  readPolicyTable,
  Verdict,
} from '../generated/bpf.ts';
import type { PolicyTable, TableEntry } from '../model/snapshot.ts';
import type { KernelMap } from './kernel.ts';
import type { MirroredMap } from './mirror.ts';

/** Bits of {table, identity} in front of {protocol, pad, port}: POLICY_PREFIX_BASE in bpf/include/shared.h. */
const PREFIX_BASE = 64;

interface Installed {
  readonly id: number;
  readonly table: PolicyTable;
  readonly revision: number;
}

const u32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

function keyOf(table: number, entry: TableEntry): Uint8Array {
  return encodePolicyKey({
    prefixLength: PREFIX_BASE + entry.prefix,
    table,
    identity: entry.identity,
    protocol: entry.protocol,
    port: entry.port,
  });
}

const VERDICTS = {
  allow: Verdict.VERDICT_ALLOW,
  deny: Verdict.VERDICT_DENY,
  redirect: Verdict.VERDICT_REDIRECT,
  dns: Verdict.VERDICT_DNS,
} as const;

const AUTHENTICATION = {
  none: Authentication.AUTHENTICATION_NONE,
  required: Authentication.AUTHENTICATION_REQUIRED,
  'always-fail': Authentication.AUTHENTICATION_ALWAYS_FAIL,
  inherit: Authentication.AUTHENTICATION_INHERIT,
} as const;

function contentOf(entry: TableEntry): Uint8Array {
  return encodePolicyEntry({
    rule: entry.rule,
    ruleset: entry.ruleset,
    verdict: VERDICTS[entry.verdict],
    precedence: entry.precedence,
    prefix: entry.prefix,
    auth: AUTHENTICATION[entry.auth],
  });
}

const entryId = (e: TableEntry): string => `${e.identity} ${e.prefix} ${e.protocol} ${e.port}`;
const entryContent = (e: TableEntry): string => `${e.verdict} ${e.precedence} ${e.rule} ${e.ruleset} ${e.auth}`;

/** The entries that `next` has more than `before`, or undefined when anything was taken away or changed. */
function additions(before: PolicyTable, next: PolicyTable): TableEntry[] | undefined {
  if (before.enforcing !== next.enforcing) return undefined;
  const old = new Map(before.entries.map((entry) => [entryId(entry), entryContent(entry)]));
  const added: TableEntry[] = [];
  for (const entry of next.entries) {
    const known = old.get(entryId(entry));
    if (known === undefined) added.push(entry);
    else if (known !== entryContent(entry)) return undefined;
    else old.delete(entryId(entry));
  }
  return old.size === 0 ? added : undefined;
}

export class PolicyTables {
  readonly #entries: MirroredMap;
  readonly #states: KernelMap;
  readonly #countWrites: (count: number) => void;
  readonly #installed = new Map<string, Installed>();
  readonly #used = new Set<number>();
  #retired: number[] = [];
  #nextRevision: number;

  /** Reads what an earlier agent left: its tables stay in force until `retire` finds them unused. */
  constructor(entries: MirroredMap, states: KernelMap, countWrites: (count: number) => void) {
    this.#entries = entries;
    this.#states = states;
    this.#countWrites = countWrites;
    let highest = 0;
    const { values, count } = states.dump();
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    for (let id = 0; id < count; id++) {
      const { revision } = readPolicyTable(view, id * states.valueSize);
      if (revision === 0) continue;
      highest = Math.max(highest, revision);
      this.#used.add(id);
      this.#retired.push(id);
    }
    this.#nextRevision = highest + 1;
  }

  /** Kernel id of the table with this key; 0, the closed table, when it is not installed. */
  idOf(key: string): number {
    return this.#installed.get(key)?.id ?? 0;
  }

  revisionOf(key: string): number {
    return this.#installed.get(key)?.revision ?? 0;
  }

  /**
   * Brings every wanted table into the kernel. Endpoints are not flipped here. Tables that do not fit keep their last
   * complete content.
   * @returns the errors of tables that could not be written, by key
   */
  install(wanted: ReadonlyMap<string, PolicyTable>): Map<string, unknown> {
    const failures = new Map<string, unknown>();
    for (const table of wanted.values()) {
      try {
        this.#installOne(table);
      } catch (error) {
        failures.set(table.key, error);
      }
    }
    return failures;
  }

  #installOne(table: PolicyTable): void {
    const before = this.#installed.get(table.key);
    if (before?.table === table) return;
    const added = before && additions(before.table, table);
    if (before && added) {
      if (added.length === 0 && before.table.defaultRule === table.defaultRule) return;
      this.#entries.addAll(added.map((entry) => ({ key: keyOf(before.id, entry), value: contentOf(entry) })));
      this.#installed.set(table.key, { id: before.id, table, revision: this.#writeState(before.id, table) });
      return;
    }
    const id = this.#freeId();
    this.#entries.addAll(table.entries.map((entry) => ({ key: keyOf(id, entry), value: contentOf(entry) })));
    this.#used.add(id);
    this.#installed.set(table.key, { id, table, revision: this.#writeState(id, table) });
    if (before) this.#retired.push(before.id);
  }

  /** A new revision of the same content: every live flow under it is judged again at its next packet. */
  touch(key: string): void {
    const installed = this.#installed.get(key);
    if (installed === undefined) return;
    this.#installed.set(key, { ...installed, revision: this.#writeState(installed.id, installed.table) });
  }

  #writeState(id: number, table: PolicyTable): number {
    const revision = this.#nextRevision++;
    this.#states.update(
      u32(id),
      encodePolicyTable({ revision, defaultRule: table.defaultRule, enforcing: table.enforcing ? 1 : 0 }),
    );
    this.#countWrites(1);
    return revision;
  }

  /** Id 0 is the closed table and never given out. @throws MAP_FULL by way of the array's bound */
  #freeId(): number {
    for (let id = 1; id < this.#states.maxEntries; id++) if (!this.#used.has(id)) return id;
    return this.#states.maxEntries; // the write of its state fails with the kernel's own words
  }

  /** Notes tables that nothing wants any more. Call after the endpoints were flipped. */
  forget(wanted: ReadonlyMap<string, PolicyTable>): void {
    for (const [key, { id }] of this.#installed) {
      if (wanted.has(key)) continue;
      this.#installed.delete(key);
      this.#retired.push(id);
    }
  }

  /**
   * Takes retired tables away. Call when every program that could have read them has returned: some milliseconds later.
   * @param inUse ids that an endpoint still points to, because its newer table could not be written: they stay
   */
  sweep(inUse: ReadonlySet<number>): void {
    const retired = new Set(this.#retired.filter((id) => !inUse.has(id)));
    if (retired.size === 0) return;
    this.#retired = this.#retired.filter((id) => inUse.has(id));
    const gone = this.#entries.keys().filter((key) => retired.has(new DataView(key.buffer).getUint32(4, true)));
    this.#entries.deleteAll(gone);
    for (const id of retired) {
      this.#states.update(u32(id), encodePolicyTable({ revision: 0, defaultRule: 0, enforcing: 0 }));
      this.#countWrites(1);
      this.#used.delete(id);
    }
  }
}

/** The highest ruleset id that the kernel's tables hold: ids at or below it may still be in flows. */
export function highestRuleset(object: { map(name: string): KernelMap }): number {
  const { values, count } = object.map('policy').dump();
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  let highest = 0;
  for (let i = 0; i < count; i++) highest = Math.max(highest, readPolicyEntry(view, i * POLICY_ENTRY_SIZE).ruleset);
  return highest;
}

/** The highest rule id that the kernel's tables hold: ids at or below it may still be in flows. */
export function highestRule(object: { map(name: string): KernelMap }): number {
  let highest = 0;
  const entries = object.map('policy').dump();
  const entryView = new DataView(entries.values.buffer, entries.values.byteOffset, entries.values.byteLength);
  for (let i = 0; i < entries.count; i++)
    highest = Math.max(highest, readPolicyEntry(entryView, i * POLICY_ENTRY_SIZE).rule);
  const states = object.map('policy_tables').dump();
  const stateView = new DataView(states.values.buffer, states.values.byteOffset, states.values.byteLength);
  for (let i = 0; i < states.count; i++)
    highest = Math.max(highest, readPolicyTable(stateView, i * POLICY_TABLE_SIZE).defaultRule);
  return highest;
}
