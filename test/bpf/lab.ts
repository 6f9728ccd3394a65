/**
 * The real programs in the real kernel, fed packet by packet through BPF_PROG_TEST_RUN. No interface, no namespace: the
 * workload under test sits on ifindex 1, where test runs happen; others exist only in the tables.
 */
import { join } from 'node:path';
import { openKernel } from '../../control-plane/datapath/addon.ts';
import { readStatistic } from '../../control-plane/datapath/counters.ts';
import { decodeEvents, EVENT_SIZE } from '../../control-plane/datapath/events.ts';
import type { Kernel, KernelMap, KernelObject, KernelRing } from '../../control-plane/datapath/kernel.ts';
import { findObject, loadDatapath, type SteeringConfig } from '../../control-plane/datapath/load.ts';
import { MirroredMap } from '../../control-plane/datapath/mirror.ts';
import { PolicyTables } from '../../control-plane/datapath/policy-tables.ts';
import {
  EndpointFlag,
  encodeAddressKey,
  encodeEndpoint,
  encodeEndpointAddress,
  encodeFlowKey,
  encodeIpcacheEntry,
  encodePrefixKey,
  encodeQuota,
  FLOW_OFFSETS,
  FLOW_SIZE,
  type Flow,
  FlowFlag,
  FlowState,
  IpcacheFlag,
  readFlow,
  type Statistic,
} from '../../control-plane/generated/bpf.ts';
import { DROP_REASON_BY_NUMBER, type DropReason } from '../../control-plane/generated/reasons.ts';
import { parseAddress } from '../../control-plane/model/address.ts';
import type { KernelEvent } from '../../control-plane/model/event.ts';
import type { PolicyTable, TableEntry } from '../../control-plane/model/snapshot.ts';
import { frame, type PacketSpec, WORKLOAD_MAC } from './packets.ts';

/** Where BPF_PROG_TEST_RUN runs: the loopback device. */
export const HERE = 1;
const SHOT = 2;
const LEG_ENVOY = 1;
/** TC_ACT_REDIRECT: handed to Envoy, or put aside. */
const REDIRECT = 7;

export interface LabEndpoint {
  readonly ifindex: number;
  readonly identity: number;
  readonly addresses: readonly string[];
  readonly egress?: string;
  readonly ingress?: string;
  /** What peers on other nodes ask for; absent: nothing. */
  readonly authentication?: string;
  /** With what is only audited; absent: nothing is. */
  readonly auditEgress?: string;
  readonly auditIngress?: string;
  readonly master?: number;
  readonly namespaceId?: number;
  readonly learnsNames?: boolean;
}

export interface Outcome {
  readonly passed: boolean;
  /** Handed to Envoy, or put aside. */
  readonly steered: boolean;
  readonly returnValue: number;
  readonly packet: Uint8Array;
}

const u32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

export class Lab implements Disposable {
  readonly kernel: Kernel;
  readonly object: KernelObject;
  readonly tables: PolicyTables;
  readonly #entries: MirroredMap;
  readonly #ring: KernelRing;
  readonly #events: KernelEvent[] = [];
  #wake: (() => void) | undefined;

  constructor(
    options: {
      readonly flows?: number;
      readonly flowQuota?: number;
      readonly object?: string;
      readonly steering?: SteeringConfig;
    } = {},
  ) {
    this.kernel = openKernel();
    const path = options.object ?? findObject(join(import.meta.dirname, '../../control-plane/datapath'));
    const sizes = {
      flows: options.flows ?? 65536,
      policyEntries: 65536,
      ipcache: 4096,
      prefixes: 4096,
      endpoints: 256,
      flowQuota: options.flowQuota ?? 1_000_000,
      ringBytes: 1 << 20,
    };
    const { coarseClock } = this.kernel.features();
    this.object = loadDatapath(this.kernel, path, undefined, sizes, coarseClock, options.steering).object;
    const uncounted = (): void => undefined;
    this.#entries = new MirroredMap(this.map('policy'), { total: 0, add: uncounted });
    this.tables = new PolicyTables(this.#entries, this.map('policy_tables'), uncounted);
    this.#ring = this.kernel.openRing(this.map('events'), { recordSize: EVENT_SIZE }, (index, buffer, count) => {
      this.#events.push(...decodeEvents(buffer, count, 0));
      setImmediate(() => this.#ring.credit(index));
      this.#wake?.();
    });
  }

  map(name: string): KernelMap {
    return this.object.map(name);
  }

  /** Installs tables and sweeps the old ones. Table keys are the caller's. */
  install(tables: readonly PolicyTable[]): void {
    const wanted = new Map(tables.map((table) => [table.key, table]));
    const failures = this.tables.install(wanted);
    for (const error of failures.values()) throw error;
    this.tables.forget(wanted);
  }

  endpoint(endpoint: LabEndpoint): void {
    this.map('endpoints').update(
      u32(endpoint.ifindex),
      encodeEndpoint({
        id: endpoint.ifindex,
        identity: endpoint.identity,
        egressTable: this.tables.idOf(endpoint.egress ?? 'open'),
        ingressTable: this.tables.idOf(endpoint.ingress ?? 'open'),
        namespaceId: endpoint.namespaceId ?? 1,
        masterIfindex: endpoint.master ?? 0,
        mac: WORKLOAD_MAC,
        flags:
          (endpoint.ifindex === HERE ? EndpointFlag.ENDPOINT_CHECK_MAC : 0) |
          (endpoint.learnsNames ? EndpointFlag.ENDPOINT_LEARNS_NAMES : 0),
        version: 1,
        authenticationTable: this.#tableId(endpoint.authentication),
        auditEgressTable: this.#tableId(endpoint.auditEgress),
        auditIngressTable: this.#tableId(endpoint.auditIngress),
      }),
    );
    this.map('quotas').update(
      u32(endpoint.ifindex),
      encodeQuota({ refilledNs: this.kernel.monotonicNs(), tokens: this.#quota }),
    );
    for (const address of endpoint.addresses)
      this.map('endpoint_addresses').update(
        encodeAddressKey({ scope: 0, address: parseAddress(address) }),
        encodeEndpointAddress({ ifindex: endpoint.ifindex, generation: 1 }),
      );
  }

  #tableId(key: string | undefined): number {
    return key === undefined ? 0 : this.tables.idOf(key);
  }

  /** Tokens that new endpoints start with. */
  #quota = 1_000_000n;
  startTokens(tokens: number): void {
    this.#quota = BigInt(tokens);
  }

  /** A pod on another node. */
  remote(address: string, identity: number, node: number, encrypt = false): void {
    this.map('ipcache').update(
      encodeAddressKey({ scope: 0, address: parseAddress(address) }),
      encodeIpcacheEntry({ identity, node, flags: encrypt ? IpcacheFlag.IPCACHE_ENCRYPT : 0 }),
    );
  }

  identity(address: string, identity: number, nodeAddress = false): void {
    this.map('ipcache').update(
      encodeAddressKey({ scope: 0, address: parseAddress(address) }),
      encodeIpcacheEntry({ identity, node: 0, flags: nodeAddress ? IpcacheFlag.IPCACHE_NODE_ADDRESS : 0 }),
    );
  }

  prefix(address: string, bits: number, identity: number): void {
    this.map('ipcache_prefixes').update(
      encodePrefixKey({ prefixLength: 32 + bits, scope: 0, address: parseAddress(address) }),
      encodeIpcacheEntry({ identity, node: 0, flags: 0 }),
    );
  }

  run(
    program: 'from_workload' | 'to_workload' | 'put_back' | 'put_back_dns',
    packet: Uint8Array,
    ingressIfindex = 0,
    mark = 0,
  ): Outcome {
    const result = this.object.program(program).testRun(packet, { ingressIfindex, mark });
    const { returnValue, packet: after } = result;
    return { passed: returnValue !== SHOT, steered: returnValue === REDIRECT, returnValue, packet: after };
  }

  /** From the workload on ifindex 1. */
  send(spec: PacketSpec, mark = 0): Outcome {
    return this.run('from_workload', frame(spec), 0, mark);
  }

  /** To the workload on ifindex 1, as if it came in by `ingressIfindex` (0: made by this host). */
  deliver(spec: PacketSpec, ingressIfindex = 99, mark = 0): Outcome {
    return this.run('to_workload', frame(spec), ingressIfindex, mark);
  }

  /** Waits until `count` events have come since the last call and takes them. @throws after 5 s */
  async events(count: number): Promise<KernelEvent[]> {
    const deadline = Date.now() + 5000;
    while (this.#events.length < count) {
      if (Date.now() > deadline) throw new Error(`${this.#events.length} of ${count} events came`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#events.splice(0);
  }

  flows(): Flow[] {
    const { values, count } = this.map('flows').dump();
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    return Array.from({ length: count }, (_, i) => readFlow(view, i * this.map('flows').valueSize));
  }

  /** One of Envoy's own connections, as the hook on its cgroup notes it. */
  leg(source: string, sourcePort: number, destination: string, destinationPort: number): void {
    const [from, to] = [parseAddress(source), parseAddress(destination)];
    // As the programs compare them: two words of this machine.
    const word = (address: Uint8Array, at: number): bigint =>
      new DataView(address.buffer, address.byteOffset).getBigUint64(at, true);
    const at = word(from, 0) === word(to, 0) ? 8 : 0;
    const high = word(from, at) > word(to, at);
    const [low, lowPort] = high ? [to, destinationPort] : [from, sourcePort];
    const [top, highPort] = high ? [from, sourcePort] : [to, destinationPort];
    const key = { scope: 0, protocol: 6, leg: LEG_ENVOY, echo: 0, low, high: top, lowPort, highPort };
    const flags = FlowFlag.FLOW_CLOSE_REPORTED | (high ? FlowFlag.FLOW_INITIATOR_IS_HIGH : 0);
    const value = new Uint8Array(FLOW_SIZE);
    const view = new DataView(value.buffer);
    view.setBigUint64(FLOW_OFFSETS.deadlineNs, this.kernel.monotonicNs() + 60_000_000_000n, true);
    view.setUint8(FLOW_OFFSETS.state, FlowState.FLOW_NEW);
    view.setUint8(FLOW_OFFSETS.flags, flags);
    view.setUint8(FLOW_OFFSETS.version, 1);
    this.map('flows').update(encodeFlowKey(key), value);
  }

  forgetFlows(): void {
    const flows = this.map('flows');
    const { keys, count } = flows.dump();
    if (count > 0) flows.deleteBatch(keys, count);
  }

  statistic(name: keyof typeof Statistic): number {
    return readStatistic(this.map('statistics'), name);
  }

  /** Packets counted under a reason, both hooks and all CPUs together. */
  counted(reason: DropReason | 'passed'): number {
    const number = reason === 'passed' ? 0 : [...DROP_REASON_BY_NUMBER].find(([, name]) => name === reason)?.[0];
    if (number === undefined) throw new Error(`no reason ${reason}`);
    let packets = 0n;
    for (const direction of [0, 1]) {
      const value = this.map('counters').lookup(u32(number * 2 + direction));
      if (!value) continue;
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
      for (let offset = 0; offset < value.length; offset += 16) packets += view.getBigUint64(offset, true);
    }
    return Number(packets);
  }

  [Symbol.dispose](): void {
    this.#ring.close();
    this.object.close();
  }
}

/** A table in which everything is allowed because no policy asks for anything. */
export const OPEN: PolicyTable = { key: 'open', direction: 'egress', enforcing: false, defaultRule: 0, entries: [] };

export function closedTable(key: string, entries: readonly TableEntry[] = [], defaultRule = 100): PolicyTable {
  return { key, direction: 'ingress', enforcing: true, defaultRule, entries };
}

export function allow(identity: number, rule: number, l4?: { protocol: number; port?: number }): TableEntry {
  const prefix = l4 === undefined ? 0 : l4.port === undefined ? 16 : 32;
  return {
    identity,
    protocol: l4?.protocol ?? 0,
    port: l4?.port ?? 0,
    prefix,
    verdict: 'allow',
    precedence: 1,
    rule,
    ruleset: 0,
    auth: 'inherit',
  };
}
