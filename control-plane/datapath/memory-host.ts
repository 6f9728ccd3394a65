/** Routing, nftables and processes of the kernel in memory: what was asked for stands in fields that a test reads. */

import type { ProcessEnd, SpawnOptions } from '../model/process.ts';
import type { Family, NetworkKernel, PacketRules, PolicyRule, TableRoute, Way } from './kernel-network.ts';
import type { ProcessKernel } from './kernel-process.ts';
import { type Journal, MemoryDevices } from './memory-devices.ts';

export type { Journal };

export interface MemoryProcess {
  readonly program: string;
  readonly args: readonly string[];
  readonly options: SpawnOptions;
  readonly startTime: number;
  /** A test sets it: the process has ended. */
  end: ProcessEnd | undefined;
}

const FIRST_PID = 1000;

const LOCAL: TableRoute = { local: true, unreachable: false, prefixLength: 0, ifindex: 1, metric: 0 };
const UNREACHABLE: TableRoute = { local: false, unreachable: true, prefixLength: 0, ifindex: 0, metric: 0xffffffff };
const deviceRoute = (ifindex: number): TableRoute => ({
  local: false,
  unreachable: false,
  prefixLength: 0,
  ifindex,
  metric: 1,
});

export abstract class MemoryHost extends MemoryDevices implements NetworkKernel, ProcessKernel {
  readonly policyRules: Record<Family, PolicyRule[]> = { 4: [], 6: [] };
  /** By the table's number. */
  readonly tables: Record<Family, Map<number, readonly TableRoute[]>> = { 4: new Map(), 6: new Map() };
  /** By the address: a test sets them. */
  readonly ways = new Map<string, Way>();
  /** By the table's name. */
  readonly packetTables = new Map<string, string>();
  readonly processes = new Map<number, MemoryProcess>();
  /** Open connections by an address of theirs in hexadecimal: a test sets them. */
  readonly connections = new Map<string, number>();

  ensureRule(family: Family, rule: PolicyRule): boolean {
    const text = textOf(rule);
    if (this.policyRules[family].some((each) => textOf(each) === text)) return false;
    this.policyRules[family].push(rule);
    this.policyRules[family].sort((a, b) => a.priority - b.priority);
    this.journal.push(`rule ${family} add ${text}`);
    return true;
  }

  removeRule(family: Family, rule: PolicyRule): boolean {
    const index = this.policyRules[family].findIndex((each) => textOf(each) === textOf(rule));
    if (index === -1) return false;
    this.policyRules[family].splice(index, 1);
    this.journal.push(`rule ${family} remove ${textOf(rule)}`);
    return true;
  }

  rules(family: Family): readonly PolicyRule[] {
    return [...this.policyRules[family]];
  }

  ensureLocalRoute(family: Family, table: number): boolean {
    return this.#ensureRoute(family, table, LOCAL);
  }

  removeLocalRoute(family: Family, table: number): boolean {
    return this.#removeRoute(family, table, LOCAL);
  }

  ensureDeviceRoute(family: Family, table: number, ifindex: number): boolean {
    const wanted = deviceRoute(ifindex);
    const others = this.routes(family, table).filter(({ metric }) => metric !== wanted.metric);
    if (this.#has(family, table, wanted)) return false;
    this.tables[family].set(table, others);
    return this.#ensureRoute(family, table, wanted);
  }

  removeDeviceRoute(family: Family, table: number, ifindex: number): boolean {
    return this.#removeRoute(family, table, deviceRoute(ifindex));
  }

  ensureUnreachableRoute(family: Family, table: number): boolean {
    return this.#ensureRoute(family, table, UNREACHABLE);
  }

  removeUnreachableRoute(family: Family, table: number): boolean {
    return this.#removeRoute(family, table, UNREACHABLE);
  }

  routes(family: Family, table: number): readonly TableRoute[] {
    return this.tables[family].get(table) ?? [];
  }

  wayTo(address: string): Way | undefined {
    return this.ways.get(address);
  }

  #has(family: Family, table: number, route: TableRoute): boolean {
    return this.routes(family, table).some((each) => routeText(each) === routeText(route));
  }

  #ensureRoute(family: Family, table: number, route: TableRoute): boolean {
    if (this.#has(family, table, route)) return false;
    this.tables[family].set(table, [...this.routes(family, table), route]);
    this.journal.push(`route ${family} add ${table} ${routeText(route)}`);
    return true;
  }

  #removeRoute(family: Family, table: number, route: TableRoute): boolean {
    if (!this.#has(family, table, route)) return false;
    const others = this.routes(family, table).filter((each) => routeText(each) !== routeText(route));
    this.tables[family].set(table, others);
    this.journal.push(`route ${family} remove ${table} ${routeText(route)}`);
    return true;
  }

  /** Routes go with their device. */
  protected override deviceGone(ifindex: number): void {
    for (const family of [4, 6] as const)
      for (const [table, routes] of this.tables[family])
        this.tables[family].set(
          table,
          routes.filter((each) => each.ifindex !== ifindex),
        );
  }

  ensurePacketTable(name: string, rules: PacketRules): boolean {
    const texts = (marks: PacketRules['untrackedIn']): string[] => marks.map(({ mark, mask }) => `${mark}/${mask}`);
    const wanted = [
      `in ${[...texts(rules.untrackedIn), ...rules.untrackedFrom].join(' ')}`,
      `out ${texts(rules.untrackedOut).join(' ')}`,
      `stay ${texts(rules.notForwarded).join(' ')}`,
      ...rules.onlyOutBy.map((way) => `${texts([way]).join('')} by ${way.device} only`),
    ].join(', ');
    if (this.packetTables.get(name) === wanted) return false;
    this.packetTables.set(name, wanted);
    this.journal.push(`packet table ${name}: ${wanted}`);
    return true;
  }

  removePacketTable(name: string): boolean {
    const there = this.packetTables.delete(name);
    if (there) this.journal.push(`packet table ${name}: remove`);
    return there;
  }

  destroySockets(addresses: readonly Uint8Array[], cgroup: string): number {
    const keys = addresses.map((address) => Buffer.from(address).toString('hex'));
    const count = keys.reduce((sum, key) => sum + (this.connections.get(key) ?? 0), 0);
    for (const key of keys) this.connections.delete(key);
    this.journal.push(`sockets destroy ${keys.join(' ')} ${cgroup}`);
    return count;
  }

  spawn(program: string, args: readonly string[], options: SpawnOptions): number {
    const pid = FIRST_PID + this.processes.size;
    this.processes.set(pid, { program, args, options, startTime: pid, end: undefined });
    this.journal.push(`process ${pid} spawn ${program}`);
    return pid;
  }

  waitPid(pid: number, startTime?: number): ProcessEnd | undefined {
    const found = this.#find(pid, startTime);
    return found === undefined ? { code: undefined, signal: undefined } : found.end;
  }

  processStartTime(pid: number): number | undefined {
    return this.processes.get(pid)?.startTime;
  }

  /** Only tells: a test decides what the process makes of it. */
  signalProcess(pid: number, startTime: number, signal: number): boolean {
    const found = this.#find(pid, startTime);
    if (found === undefined || found.end !== undefined) return false;
    this.journal.push(`process ${pid} signal ${signal}`);
    return true;
  }

  #find(pid: number, startTime: number | undefined): MemoryProcess | undefined {
    const found = this.processes.get(pid);
    return startTime === undefined || found?.startTime === startTime ? found : undefined;
  }
}

function textOf({ fwmark, mask, table, priority }: PolicyRule): string {
  return `${priority}: ${fwmark}/${mask} -> ${table}`;
}

function routeText({ local, unreachable, ifindex, metric }: TableRoute): string {
  return local ? 'local' : unreachable ? 'unreachable' : `device ${ifindex} metric ${metric}`;
}
