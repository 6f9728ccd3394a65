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
  /** 0 for a default route. */
  readonly prefixLength: number;
  readonly ifindex: number;
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
  routes(family: Family, table: number): readonly TableRoute[];
  /**
   * The nftables table `inet NAME`: packets with this mark, coming in or sent from here, are not tracked. What else stands
   * in the table is taken out. @returns false when it was there as it should be
   */
  ensureNotrackTable(name: string, mark: number, mask: number): boolean;
  /** @returns false when there was none */
  removeNotrackTable(name: string): boolean;
  /**
   * Resets the TCP connections that processes of this control group (a folder) hold with one of these addresses (16 bytes
   * each) at either end. @returns how many
   */
  destroySockets(addresses: readonly Uint8Array[], cgroup: string): number;
}
