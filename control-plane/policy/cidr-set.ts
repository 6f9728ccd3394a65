/** Ranges of addresses, asked for what they hold in as many steps as they have lengths, however many they are. */
import { addressKey, isMappedIpv4, MAPPED_BITS, maskAddress, type Prefix } from '../model/address.ts';
import type { CidrMatch } from '../model/policy.ts';

/** Values by prefix. */
export class PrefixMap<T> {
  readonly #byBits = new Map<number, Map<string, T>>();
  #lengths: readonly number[] = [];

  get({ address, bits }: Prefix): T | undefined {
    return this.#byBits.get(bits)?.get(addressKey(maskAddress(address, bits)));
  }

  set({ address, bits }: Prefix, value: T): void {
    let values = this.#byBits.get(bits);
    if (values === undefined) {
      values = new Map();
      this.#byBits.set(bits, values);
      this.#lengths = [...this.#byBits.keys()].sort((a, b) => b - a);
    }
    values.set(addressKey(maskAddress(address, bits)), value);
  }

  /** Values of the prefixes that hold all of the asked one, itself included; the longest first. */
  *covering(prefix: Prefix): Generator<T> {
    // No range of IPv6 has addresses of IPv4, whatever the bits of the mapped form say.
    const least = prefix.bits >= MAPPED_BITS && isMappedIpv4(prefix.address) ? MAPPED_BITS : 0;
    for (const bits of this.#lengths) {
      if (bits > prefix.bits || bits < least) continue;
      const found = this.get({ address: prefix.address, bits });
      if (found !== undefined) yield found;
    }
  }

  /** Whether one of the prefixes holds all of it. */
  covers(prefix: Prefix): boolean {
    return this.covering(prefix).next().done !== true;
  }
}

/** CidrMatches of one rule. */
export class CidrSet {
  readonly #matches = new PrefixMap<PrefixMap<true>[]>();

  constructor(matches: readonly CidrMatch[]) {
    for (const { prefix, except } of matches) {
      const without = new PrefixMap<true>();
      for (const each of except) without.set(each, true);
      const known = this.#matches.get(prefix);
      if (known) known.push(without);
      else this.#matches.set(prefix, [without]);
    }
  }

  /** Whether one of the matches takes the whole range, by `prefix` and without anything of `except`. */
  takes(prefix: Prefix): boolean {
    for (const excepts of this.#matches.covering(prefix))
      if (excepts.some((without) => !without.covers(prefix))) return true;
    return false;
  }
}
