/**
 * The flow table from user space: forgets flows whose time is over and says what they carried (the kernel reports the
 * end of TCP flows itself), and forgets flows of addresses that changed hands.
 */
import {
  FLOW_KEY_SIZE,
  FLOW_OFFSETS,
  FLOW_SIZE,
  FlowFlag,
  FlowState,
  readFlow,
  readFlowKey,
  Security,
} from '../generated/bpf.ts';
import type { KernelEvent } from '../model/event.ts';
import { halfOf, securityOf } from './events.ts';
import type { Chunk, KernelMap } from './kernel.ts';

/** Entries handled before other work gets its turn. */
const CHUNK = 4096;
const IPPROTO_TCP = 6;

export interface SweepResult {
  /** Flows that stay. */
  readonly live: number;
  readonly expired: number;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * @param now CLOCK_MONOTONIC in nanoseconds
 * @param report told of each flow that ended without the kernel having said so
 */
export async function sweepExpired(
  flows: KernelMap,
  now: bigint,
  bootTime: number,
  report: (event: KernelEvent) => void,
): Promise<SweepResult> {
  let live = 0;
  let expired = 0;
  for (const chunk of flows.chunks(CHUNK)) {
    const values = viewOf(chunk.values);
    const gone: Uint8Array[] = [];
    for (let i = 0; i < chunk.count; i++) {
      if (values.getBigUint64(i * FLOW_SIZE + FLOW_OFFSETS.deadlineNs, true) >= now) {
        live++;
        continue;
      }
      expired++;
      gone.push(keyAt(chunk, i));
      const flags = values.getUint8(i * FLOW_SIZE + FLOW_OFFSETS.flags);
      const state = values.getUint8(i * FLOW_SIZE + FLOW_OFFSETS.state);
      const security = values.getUint8(i * FLOW_SIZE + FLOW_OFFSETS.security);
      // One whose first packet still waits has never been.
      const silent = (flags & FlowFlag.FLOW_CLOSE_REPORTED) !== 0 || (security & Security.SECURITY_HELD) !== 0;
      if (!silent && state !== FlowState.FLOW_RESET) report(closeEvent(chunk, i, bootTime));
    }
    if (gone.length > 0) flows.deleteBatch(Buffer.concat(gone), gone.length);
    await nextTurn();
  }
  return { live, expired };
}

/** Forgets every flow that has one of these addresses (hex of 16 bytes) at an end. @returns how many */
export async function purgeAddresses(flows: KernelMap, addresses: ReadonlySet<string>): Promise<number> {
  let purged = 0;
  for (const chunk of flows.chunks(CHUNK)) {
    const gone: Uint8Array[] = [];
    for (let i = 0; i < chunk.count; i++) {
      const key = keyAt(chunk, i);
      const { low, high } = readFlowKey(viewOf(key));
      if (addresses.has(Buffer.from(low).toString('hex')) || addresses.has(Buffer.from(high).toString('hex')))
        gone.push(key);
    }
    if (gone.length > 0) flows.deleteBatch(Buffer.concat(gone), gone.length);
    purged += gone.length;
    await nextTurn();
  }
  return purged;
}

/** Addresses that some flow has at an end, as hex of 16 bytes. */
export async function addressesInUse(flows: KernelMap): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const chunk of flows.chunks(CHUNK)) {
    for (let i = 0; i < chunk.count; i++) {
      const { low, high } = readFlowKey(viewOf(chunk.keys), i * FLOW_KEY_SIZE);
      found.add(Buffer.from(low).toString('hex'));
      found.add(Buffer.from(high).toString('hex'));
    }
    await nextTurn();
  }
  return found;
}

function keyAt(chunk: Chunk, i: number): Uint8Array {
  return chunk.keys.subarray(i * FLOW_KEY_SIZE, (i + 1) * FLOW_KEY_SIZE);
}

function closeEvent(chunk: Chunk, i: number, bootTime: number): KernelEvent {
  const flow = readFlow(viewOf(chunk.values), i * FLOW_SIZE);
  const key = readFlowKey(viewOf(chunk.keys), i * FLOW_KEY_SIZE);
  const high = (flow.flags & FlowFlag.FLOW_INITIATOR_IS_HIGH) !== 0;
  const idle = flow.deadlineNs;
  return {
    kind: 'close',
    hook: flow.ifindex[0] !== 0 ? 'from-workload' : 'to-workload',
    time: bootTime + Number(idle) / 1e6,
    reason: undefined,
    protocol: key.protocol,
    tcpFlags: key.protocol === IPPROTO_TCP ? (flow.tcpFlags[0] ?? 0) | (flow.tcpFlags[1] ?? 0) : 0,
    icmpType: 0,
    icmpCode: 0,
    source: (high ? key.high : key.low).slice(),
    destination: (high ? key.low : key.high).slice(),
    sourcePort: high ? key.highPort : key.lowPort,
    destinationPort: high ? key.lowPort : key.highPort,
    sourceIdentity: flow.identity[0],
    destinationIdentity: flow.identity[1],
    sourceIfindex: flow.ifindex[0],
    destinationIfindex: flow.ifindex[1],
    ifindex: flow.ifindex[0] || flow.ifindex[1],
    length: 0,
    egress: halfOf(flow.egress),
    ingress: halfOf(flow.ingress),
    security: securityOf(flow.security),
    adopted: (flow.flags & FlowFlag.FLOW_ADOPTED) !== 0,
    bypassed: (flow.flags & FlowFlag.FLOW_BYPASSED) !== 0,
    reply: false,
    revoked: false,
    related: false,
    deniedBy: undefined,
    durationMs: Number(idle - flow.createdNs) / 1e6,
    packets: [Number(flow.packets[0]), Number(flow.packets[1])],
    bytes: [Number(flow.bytes[0]), Number(flow.bytes[1])],
  };
}
