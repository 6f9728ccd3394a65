/** Routing, nftables and processes of the kernel in memory: what was asked for stands in fields that a test reads. */
import type { ProcessEnd, SpawnOptions } from '../model/process.ts';
import type { Family, NetworkKernel, PolicyRule, TableRoute } from './kernel-network.ts';
import type { ProcessKernel } from './kernel-process.ts';

/** One write, e.g. `endpoints set 0a000000`, `link 7 egress attach`. */
export type Journal = string[];

export interface MemoryProcess {
  readonly program: string;
  readonly args: readonly string[];
  readonly options: SpawnOptions;
  readonly startTime: number;
  /** A test sets it: the process has ended. */
  end: ProcessEnd | undefined;
}

const FIRST_PID = 1000;

export abstract class MemoryHost implements NetworkKernel, ProcessKernel {
  readonly journal: Journal = [];
  readonly policyRules: Record<Family, PolicyRule[]> = { 4: [], 6: [] };
  /** Tables with the local route. */
  readonly localTables: Record<Family, Set<number>> = { 4: new Set(), 6: new Set() };
  /** Mark and mask by the table's name. */
  readonly notrack = new Map<string, string>();
  readonly processes = new Map<number, MemoryProcess>();
  /** Open connections by the local address in hexadecimal: a test sets them. */
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
    if (this.localTables[family].has(table)) return false;
    this.localTables[family].add(table);
    this.journal.push(`route ${family} add ${table}`);
    return true;
  }

  removeLocalRoute(family: Family, table: number): boolean {
    const there = this.localTables[family].delete(table);
    if (there) this.journal.push(`route ${family} remove ${table}`);
    return there;
  }

  routes(family: Family, table: number): readonly TableRoute[] {
    return this.localTables[family].has(table) ? [{ local: true, prefixLength: 0, ifindex: 1 }] : [];
  }

  ensureNotrackTable(name: string, mark: number, mask: number): boolean {
    const wanted = `${mark}/${mask}`;
    if (this.notrack.get(name) === wanted) return false;
    this.notrack.set(name, wanted);
    this.journal.push(`notrack ${name} ${wanted}`);
    return true;
  }

  removeNotrackTable(name: string): boolean {
    const there = this.notrack.delete(name);
    if (there) this.journal.push(`notrack ${name} remove`);
    return there;
  }

  destroySockets(address: Uint8Array): number {
    const key = Buffer.from(address).toString('hex');
    const count = this.connections.get(key) ?? 0;
    this.connections.delete(key);
    this.journal.push(`sockets destroy ${key}`);
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
