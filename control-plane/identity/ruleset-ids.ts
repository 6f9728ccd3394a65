/**
 * Which number stands for which decision point of HTTP rules? Connections that Envoy holds carry it for their life, so
 * a number is given to another decision point as late as can be: when every other has been given since.
 */
import { SidestepError } from '../model/error.ts';

/** RULESET_FIRST in bpf/include/shared.h; the flow entry has 16 bits for it. */
export const FIRST_RULESET = 16;
export const LAST_RULESET = 65535;
const COUNT = LAST_RULESET - FIRST_RULESET + 1;
/** Above this share numbers of decision points that are no more are given back. */
const CROWDED = 0.75;

export class RulesetIds {
  readonly #ids = new Map<string, number>();
  readonly #owners = new Map<number, string>();
  #next = FIRST_RULESET;
  #dirty = false;

  /** Something has changed since `saved`. */
  get dirty(): boolean {
    return this.#dirty;
  }

  /** @throws MAP_FULL */
  of(key: string): number {
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    if (this.#owners.size >= COUNT) throw new SidestepError('MAP_FULL', `all ${COUNT} ruleset ids are taken`);
    let id = this.#next;
    while (this.#owners.has(id)) id = after(id);
    this.#ids.set(key, id);
    this.#owners.set(id, key);
    this.#next = after(id);
    this.#dirty = true;
    return id;
  }

  release(inUse: { has(id: number): boolean }): void {
    if (this.#owners.size < COUNT * CROWDED) return;
    for (const [id, key] of this.#owners) {
      if (inUse.has(id)) continue;
      this.#owners.delete(id);
      this.#ids.delete(key);
      this.#dirty = true;
    }
  }

  /** Where nothing has been given yet: begins here, or at the first where it is beyond the last. */
  beginAt(floor: number): void {
    if (this.#owners.size === 0 && this.#next < floor) this.#next = floor > LAST_RULESET ? FIRST_RULESET : floor;
  }

  stored(): { readonly rulesets: readonly (readonly [number, string])[]; readonly nextRuleset: number } {
    return { rulesets: [...this.#owners], nextRuleset: this.#next };
  }

  saved(): void {
    this.#dirty = false;
  }

  /** @param next where the search for a free one goes on */
  take(rulesets: readonly (readonly [number, string])[], next: number): void {
    for (const [id, key] of rulesets) {
      this.#owners.set(id, key);
      this.#ids.set(key, id);
    }
    this.#next = next;
  }
}

function after(id: number): number {
  return id === LAST_RULESET ? FIRST_RULESET : id + 1;
}
