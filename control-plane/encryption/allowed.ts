/**
 * Which inner addresses are whose? From our own source, never from the peer: an address that two nodes claim is taken away
 * from neither and given to neither.
 */
import { addressKey, formatAddress, isMappedIpv4, MAPPED_BITS } from '../model/address.ts';
import { SidestepError } from '../model/error.ts';
import type { TunnelPrefix } from './tunnel.ts';

/** Our source has this address for a pod of that node. */
export interface Claim {
  /** '' is this node. */
  readonly node: string;
  /** 16 bytes, see model/address.ts. */
  readonly address: Uint8Array;
}

export interface Allowed {
  /** By node, without this one. Each address stands under one node at most. */
  readonly byNode: ReadonlyMap<string, readonly TunnelPrefix[]>;
  /** TUNNEL_PREFIX_CONFLICT for every address that more than one node claims, the first MOST_NAMED of them. */
  readonly conflicts: readonly SidestepError[];
}

const MOST_NAMED = 64;

interface Claims {
  readonly address: Uint8Array;
  readonly nodes: Set<string>;
}

export class AllowedAddresses {
  /** Address -> who has it. */
  #holders: ReadonlyMap<string, string> = new Map();

  /** @param claims all of them, each time: what is not claimed any more is free */
  update(claims: Iterable<Claim>): Allowed {
    const holders = new Map<string, string>();
    const byNode = new Map<string, TunnelPrefix[]>();
    const conflicts: SidestepError[] = [];
    for (const [key, { address, nodes }] of gather(claims)) {
      const before = this.#holders.get(key);
      const [first = ''] = nodes;
      // Who has it keeps it while it claims it; else it is nobody's until one claimant is left.
      const holder = nodes.size === 1 ? first : before !== undefined && nodes.has(before) ? before : undefined;
      if (nodes.size > 1 && conflicts.length < MOST_NAMED) conflicts.push(conflict(address, nodes, holder));
      if (holder === undefined) continue;
      holders.set(key, holder);
      if (holder === '') continue;
      const list = byNode.get(holder) ?? [];
      list.push(prefixOf(address));
      byNode.set(holder, list);
    }
    this.#holders = holders;
    return { byNode, conflicts };
  }
}

function gather(claims: Iterable<Claim>): Map<string, Claims> {
  const all = new Map<string, Claims>();
  for (const { node, address } of claims) {
    const key = addressKey(address);
    const known = all.get(key) ?? { address, nodes: new Set() };
    known.nodes.add(node);
    all.set(key, known);
  }
  return all;
}

function prefixOf(address: Uint8Array): TunnelPrefix {
  return isMappedIpv4(address) ? { address: address.slice(MAPPED_BITS / 8), bits: 32 } : { address, bits: 128 };
}

function conflict(address: Uint8Array, nodes: ReadonlySet<string>, holder: string | undefined): SidestepError {
  const name = (node: string): string => (node === '' ? 'this node' : node);
  const kept = holder === undefined ? 'none of them gets it' : `${name(holder)} had it first and keeps it`;
  return new SidestepError(
    'TUNNEL_PREFIX_CONFLICT',
    `${formatAddress(address)} is claimed by ${[...nodes].map(name).sort().join(', ')}: ${kept}`,
  );
}
