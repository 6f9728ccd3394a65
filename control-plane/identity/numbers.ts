/**
 * Numbers that stand for texts: identities for label sets, those of addresses outside included, rule ids for origins,
 * ruleset ids for decision points, node numbers for names. They survive restarts, because the kernel holds them: the file is written before anybody sees a new
 * one.
 */
import { SidestepError } from '../model/error.ts';
import { formatPolicyRef, formatRuleRef, type Origin } from '../model/policy.ts';
import type { Issue } from '../model/snapshot.ts';
import { LateIds, LOCAL_IDENTITIES, NODES, RULESETS } from './late-ids.ts';
import { moveAside, readNumbers, type StoredNumbers, writeNumbers } from './store.ts';

/** Cilium's range of allocated identities. */
const FIRST_IDENTITY = 256;
const LAST_IDENTITY = 65535;
const IDENTITIES = LAST_IDENTITY - FIRST_IDENTITY + 1;
/** Above this share numbers of label sets that no pod has are given back. */
const CROWDED = 0.75;
/** RULE_FIRST in bpf/include/shared.h. */
const FIRST_RULE = 16;

export const RESERVED_ORIGINS: ReadonlyMap<number, Origin> = new Map([
  [0, { kind: 'reserved', name: 'none' }],
  [1, { kind: 'reserved', name: 'local-host' }],
  [2, { kind: 'reserved', name: 'bypass' }],
  [3, { kind: 'reserved', name: 'not-synced' }],
]);

export class Numbers {
  readonly #path: string | undefined;
  readonly #identities = new Map<string, number>();
  readonly #owners = new Map<number, string>();
  readonly #rules = new Map<string, number>();
  readonly #origins = new Map<number, Origin>(RESERVED_ORIGINS);
  readonly #rulesets = new LateIds(RULESETS);
  readonly #nodes = new LateIds(NODES);
  readonly #local = new LateIds(LOCAL_IDENTITIES);
  #nextRule = FIRST_RULE;
  #dirty = false;
  #problem: Issue | undefined;

  /**
   * @param path where they are kept; undefined: nowhere (offline commands, tests)
   * @param ruleFloor rule ids below it may still be in the kernel and are not given out
   * @param rulesetFloor ruleset ids below it may still be in the kernel; where nothing is stored, counting begins here
   * @param nodeFloor likewise for node numbers
   * @throws STATE_UNUSABLE when a file that cannot be used cannot be moved aside either
   */
  constructor(path: string | undefined, ruleFloor = 0, rulesetFloor = 0, nodeFloor = 0) {
    this.#path = path;
    if (path !== undefined) this.#load(path);
    this.#nextRule = Math.max(this.#nextRule, ruleFloor);
    this.#rulesets.beginAt(rulesetFloor);
    this.#nodes.beginAt(nodeFloor);
  }

  get origins(): ReadonlyMap<number, Origin> {
    return this.#origins;
  }

  /** The stored numbers were unusable and all are given out anew. */
  get problem(): Issue | undefined {
    return this.#problem;
  }

  /**
   * The number of a label set; hashed from its text, so that the same labels mostly get the same number everywhere.
   * @throws MAP_FULL when every identity is taken
   */
  identity(labels: readonly string[]): number {
    const text = labels.join('\n');
    const known = this.#identities.get(text);
    if (known !== undefined) return known;
    if (this.#owners.size >= IDENTITIES) throw new SidestepError('MAP_FULL', `all ${IDENTITIES} identities are taken`);
    let number = FIRST_IDENTITY + (fnv1a(text) % IDENTITIES);
    while (this.#owners.has(number)) number = number === LAST_IDENTITY ? FIRST_IDENTITY : number + 1;
    this.#identities.set(text, number);
    this.#owners.set(number, text);
    this.#dirty = true;
    return number;
  }

  /**
   * The number of the label set of addresses outside of the cluster; another node may have another for it.
   * @throws MAP_FULL when every number is taken
   */
  localIdentity(labels: readonly string[]): number {
    return this.#local.of(labels.join('\n'));
  }

  /** Gives those back that are not in use, once most are taken. */
  releaseLocal(inUse: { has(identity: number): boolean }): void {
    this.#local.release(inUse);
  }

  /** The number of an origin; never used again for another. */
  rule(origin: Origin): number {
    const text = textOf(origin);
    const known = this.#rules.get(text);
    if (known !== undefined) return known;
    const number = this.#nextRule++;
    this.#rules.set(text, number);
    this.#origins.set(number, origin);
    this.#dirty = true;
    return number;
  }

  /**
   * The number of a decision point of HTTP rules; given to another only when all others have been given.
   * @throws MAP_FULL when every number is taken
   */
  ruleset(key: string): number {
    return this.#rulesets.of(key);
  }

  /** Gives ruleset ids back that are not in use, once most are taken. */
  releaseRulesets(inUse: { has(id: number): boolean }): void {
    this.#rulesets.release(inUse);
  }

  /**
   * The number of another node; given to another only when all others have been given.
   * @throws MAP_FULL when every number is taken
   */
  node(name: string): number {
    return this.#nodes.of(name);
  }

  /** Gives node numbers back that are not in use, once most are taken. */
  releaseNodes(inUse: { has(number: number): boolean }): void {
    this.#nodes.release(inUse);
  }

  /**
   * Gives identities back that are not in use, once most are taken. Not sooner: flows of pods that have just gone
   * still carry theirs.
   */
  release(inUse: { has(identity: number): boolean }): void {
    if (this.#owners.size < IDENTITIES * CROWDED) return;
    for (const [number, text] of this.#owners) {
      if (inUse.has(number)) continue;
      this.#owners.delete(number);
      this.#identities.delete(text);
      this.#dirty = true;
    }
  }

  /** Writes what is new to disk. Call before a new number leaves the process. @throws STATE_UNUSABLE */
  save(): void {
    const late = [this.#rulesets, this.#nodes, this.#local];
    if (!(this.#dirty || late.some(({ dirty }) => dirty)) || this.#path === undefined) return;
    const rules = [...this.#origins].filter(([number]) => number >= FIRST_RULE);
    const [rulesets, nodes, local] = [this.#rulesets.stored(), this.#nodes.stored(), this.#local.stored()];
    writeNumbers(this.#path, {
      identities: [...this.#owners],
      rules,
      rulesets: rulesets.ids,
      nextRuleset: rulesets.next,
      nodes: nodes.ids,
      nextNode: nodes.next,
      localIdentities: local.ids,
      nextLocalIdentity: local.next,
    });
    this.#dirty = false;
    for (const each of late) each.saved();
  }

  #load(path: string): void {
    try {
      const stored = readNumbers(path);
      if (stored) this.#take(stored);
    } catch (error) {
      if (!(error instanceof SidestepError)) throw error;
      const { code, message, hint } = error;
      const aside = moveAside(path);
      this.#problem = {
        code,
        path: '',
        message: `${message}; numbers start anew, the file is kept as ${aside}`,
        hint,
        origin: path,
        object: '',
      };
    }
  }

  #take(stored: StoredNumbers): void {
    this.#rulesets.take(stored.rulesets, stored.nextRuleset);
    this.#nodes.take(stored.nodes, stored.nextNode);
    this.#local.take(stored.localIdentities, stored.nextLocalIdentity);
    for (const [number, labels] of stored.identities) {
      this.#identities.set(labels, number);
      this.#owners.set(number, labels);
    }
    for (const [number, origin] of stored.rules) {
      this.#rules.set(textOf(origin), number);
      this.#origins.set(number, origin);
      this.#nextRule = Math.max(this.#nextRule, number + 1);
    }
  }
}

function textOf(origin: Origin): string {
  switch (origin.kind) {
    case 'rules':
      return `rules ${origin.rules.map(formatRuleRef).join(' ')}`;
    case 'default-deny':
      return `default-deny ${origin.policies.map(formatPolicyRef).join(' ')}`;
    case 'reserved':
      return `reserved ${origin.name}`;
  }
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
