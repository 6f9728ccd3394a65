/** The part of the port to the kernel that steers packets within the own network namespace. All of it may be called again. */

export type Family = 4 | 6;

/** `fwmark/mask -> table` at a priority. */
export interface PolicyRule {
  readonly fwmark: number;
  readonly mask: number;
  readonly table: number;
  readonly priority: number;
}

/** Hints on packets, inside a mask. */
export interface SteeringMarks {
  /** On their way to Envoy. */
  readonly steered: number;
  /** Sent by Envoy, and to stay out of connection tracking. */
  readonly untracked: number;
  readonly mask: number;
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
   * The nftables table `inet NAME`: steered packets that come in and untracked ones that are sent from here are not
   * tracked, and no steered packet is forwarded. What else stands in the table is taken out.
   * @returns false when it was there as it should be
   */
  ensureSteeringTable(name: string, marks: SteeringMarks): boolean;
  /** @returns false when there was none */
  removeSteeringTable(name: string): boolean;
  /**
   * Resets the TCP connections whose local end is this address (16 bytes), listening sockets excepted.
   * @returns how many
   */
  destroySockets(address: Uint8Array): number;
}
