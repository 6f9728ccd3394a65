/**
 * What makes marked packets go into the tunnel and nowhere else. Order at start: "unreachable", rule, (device), default route;
 * at stop the reverse. While there is a rule there is something behind it: a packet that must be encrypted is refused, with
 * an ICMP error, rather than sent as it is.
 */
import { existsSync } from 'node:fs';
import type { Family, NetworkKernel, PacketRules, PolicyRule, TableRoute } from '../datapath/kernel-network.ts';
import { SidestepError } from '../model/error.ts';
import { MARK_ENCRYPT, MARK_MASK, RULE_PRIORITY, TABLE_TUNNEL } from './numbers.ts';

const RULE: PolicyRule = { fwmark: MARK_ENCRYPT, mask: MARK_MASK, table: TABLE_TUNNEL, priority: RULE_PRIORITY };
const LOCAL_TABLE = 255;
const DEVICE_METRIC = 1;
const IPV6 = '/proc/sys/net/ipv6/conf';

/** A kernel without IPv6 sends none. */
export function familiesHere(): readonly Family[] {
  return existsSync(IPV6) ? [4, 6] : [4];
}

export class TunnelRoutes {
  readonly #kernel: NetworkKernel;
  readonly #device: string;
  readonly #table: string;
  readonly #families: readonly Family[];

  /** @param device its name */
  constructor(kernel: NetworkKernel, instance: string, device: string, families: readonly Family[] = familiesHere()) {
    this.#kernel = kernel;
    this.#device = device;
    this.#table = `sidestep-${instance}-tunnel`;
    this.#families = families;
  }

  /**
   * Before there is a device: from then on marked packets go into the tunnel or nowhere, and are neither tracked nor
   * translated on their way in and out. Two things see to that, each by itself: the rule with its table, and nftables.
   * @returns what was missing, in words. @throws TUNNEL_ROUTING_CONFLICT
   */
  bar(): string[] {
    const mended: string[] = [];
    for (const family of this.#families) {
      this.#requireOurs(family);
      if (this.#kernel.ensureUnreachableRoute(family, TABLE_TUNNEL))
        mended.push(`IPv${family} "unreachable" in table ${TABLE_TUNNEL}`);
      if (this.#kernel.ensureRule(family, RULE)) mended.push(`IPv${family} rule for table ${TABLE_TUNNEL}`);
    }
    if (this.#kernel.ensurePacketTable(this.#table, this.#rules)) mended.push(`nftables table inet ${this.#table}`);
    return mended;
  }

  get #rules(): PacketRules {
    const marks = [{ mark: MARK_ENCRYPT, mask: MARK_MASK }];
    return {
      untrackedIn: marks,
      untrackedFrom: [this.#device],
      untrackedOut: marks,
      notForwarded: [],
      // Should somebody delete our rule, they would go as any other packet does.
      onlyOutBy: [{ mark: MARK_ENCRYPT, mask: MARK_MASK, device: this.#device }],
    };
  }

  /** Once the device is up and knows its peers. @returns what was missing, in words */
  open(ifindex: number): string[] {
    return this.#families
      .filter((family) => this.#kernel.ensureDeviceRoute(family, TABLE_TUNNEL, ifindex))
      .map((family) => `IPv${family} route by ${this.#device} in table ${TABLE_TUNNEL}`);
  }

  /** Before the device goes; marked packets are refused from now on. @returns whether there was anything */
  shut(ifindex: number): boolean {
    return this.#families.map((family) => this.#kernel.removeDeviceRoute(family, TABLE_TUNNEL, ifindex)).includes(true);
  }

  /** For good, and only when nothing marks packets any more. @returns whether there was anything */
  remove(): boolean {
    const removed = this.#families.flatMap((family) => [
      this.#kernel.removeRule(family, RULE),
      this.#kernel.removeUnreachableRoute(family, TABLE_TUNNEL),
    ]);
    return [...removed, this.#kernel.removePacketTable(this.#table)].includes(true);
  }

  #requireOurs(family: Family): void {
    const foreign = this.#kernel.routes(family, TABLE_TUNNEL).find((route) => !isOurs(route));
    if (foreign)
      throw new SidestepError(
        'TUNNEL_ROUTING_CONFLICT',
        `IPv${family} table ${TABLE_TUNNEL} has a route that is not ours (/${foreign.prefixLength}, device ${foreign.ifindex}, metric ${foreign.metric})`,
      );
    const before = this.#kernel.rules(family).find(captures);
    if (before)
      throw new SidestepError(
        'TUNNEL_ROUTING_CONFLICT',
        `the IPv${family} rule of priority ${before.priority} (fwmark 0x${before.fwmark.toString(16)}/0x${before.mask.toString(16)}, table ${before.table}) takes packets before ours`,
      );
  }
}

/** A route by an earlier device of ours is replaced. */
function isOurs({ prefixLength, metric, unreachable, local }: TableRoute): boolean {
  return prefixLength === 0 && !local && (unreachable || metric === DEVICE_METRIC);
}

/** By their mark. A rule without one may be for certain sources only, which the list does not say. */
function captures({ fwmark, mask, table, priority }: PolicyRule): boolean {
  if (priority > RULE_PRIORITY || mask === 0 || table === TABLE_TUNNEL || table === LOCAL_TABLE) return false;
  return (MARK_ENCRYPT & mask) === fwmark;
}
