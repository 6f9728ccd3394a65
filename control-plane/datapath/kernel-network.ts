/** The part of the port to the kernel that steers packets within the own network namespace. All of it may be called again. */

export type Family = 4 | 6;

/** `fwmark/mask -> table` at a priority. */
export interface PolicyRule {
  readonly fwmark: number;
  readonly mask: number;
  readonly table: number;
  readonly priority: number;
}

export interface TableRoute {
  /** Delivered to this machine. */
  readonly local: boolean;
  /** Refused, with an ICMP error to the sender. */
  readonly unreachable: boolean;
  /** 0 for a default route. */
  readonly prefixLength: number;
  readonly ifindex: number;
  /** The least is asked first. */
  readonly metric: number;
}

/** How packets to an address leave. */
export interface Way {
  readonly ifindex: number;
  /** Of the route, or learned of the path; undefined: the device's. */
  readonly mtu: number | undefined;
}

export interface FwMark {
  readonly mark: number;
  readonly mask: number;
}

/** What connection tracking, and with it address translation, leaves alone, and what is never forwarded. */
export interface PacketRules {
  /** Coming in. */
  readonly untrackedIn: readonly FwMark[];
  /** Names of interfaces that they come in by; the interface need not be there. */
  readonly untrackedFrom: readonly string[];
  /** Sent from here. */
  readonly untrackedOut: readonly FwMark[];
  readonly notForwarded: readonly FwMark[];
  /** Leave by the interface of this name, which need not be there, or not at all, wherever they are routed. */
  readonly onlyOutBy: readonly (FwMark & { readonly device: string })[];
}

/** Failures have the code KERNEL_FEATURE_MISSING where the kernel was built without what is asked for. */
export interface NetworkKernel {
  /** @returns false when the rule was there */
  ensureRule(family: Family, rule: PolicyRule): boolean;
  /** @returns false when there was none */
  removeRule(family: Family, rule: PolicyRule): boolean;
  /** Rules that lead to a table, in the order they are asked. Without a mark both numbers are 0. */
  rules(family: Family): readonly PolicyRule[];
  /** `local default dev lo table N`. @returns false when it was there. @throws when the table has another default route */
  ensureLocalRoute(family: Family, table: number): boolean;
  /** @returns false when there was none */
  removeLocalRoute(family: Family, table: number): boolean;
  /** `default dev IFINDEX metric 1 table N`, in place of another one of this metric. @returns false when it was there */
  ensureDeviceRoute(family: Family, table: number, ifindex: number): boolean;
  /** @returns false when there was none: it goes with its device, and when that goes down */
  removeDeviceRoute(family: Family, table: number, ifindex: number): boolean;
  /** `unreachable default metric 4294967295 table N`: behind every other route. @returns false when it was there */
  ensureUnreachableRoute(family: Family, table: number): boolean;
  /** @returns false when there was none */
  removeUnreachableRoute(family: Family, table: number): boolean;
  routes(family: Family, table: number): readonly TableRoute[];
  /** Where a packet of ours to this address (in text), under this mark, would go. undefined: nowhere */
  wayTo(address: string, mark: number): Way | undefined;
  /** The nftables table `inet NAME`. What else stands in it is taken out. @returns false when it was there as it should be */
  ensurePacketTable(name: string, rules: PacketRules): boolean;
  /** @returns false when there was none */
  removePacketTable(name: string): boolean;
  /**
   * Resets the TCP connections that processes of this control group (a folder) hold with one of these addresses (16 bytes
   * each) at either end. @returns how many
   */
  destroySockets(addresses: readonly Uint8Array[], cgroup: string): number;
}
