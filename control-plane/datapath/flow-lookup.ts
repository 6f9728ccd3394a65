/** One flow out of the kernel's table. */
import { encodeFlowKey, type Flow, FlowFlag, readFlow } from '../generated/bpf.ts';
import type { KernelMap } from './kernel.ts';

export interface FlowEnds {
  readonly protocol: number;
  /** 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface FoundFlow {
  readonly flow: Flow;
  /** The source is who opened it. */
  readonly fromInitiator: boolean;
}

/** Either way round. */
export function findFlow(flows: KernelMap, ends: FlowEnds): FoundFlow | undefined {
  const high = sourceIsHigher(ends);
  const [low, lowPort] = high ? [ends.destination, ends.destinationPort] : [ends.source, ends.sourcePort];
  const [top, highPort] = high ? [ends.source, ends.sourcePort] : [ends.destination, ends.destinationPort];
  const bytes = flows.lookup(
    encodeFlowKey({ scope: 0, protocol: ends.protocol, leg: 0, echo: 0, low, high: top, lowPort, highPort }),
  );
  if (bytes === undefined) return undefined;
  const flow = readFlow(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const initiatorIsHigh = (flow.flags & FlowFlag.FLOW_INITIATOR_IS_HIGH) !== 0;
  return { flow, fromInitiator: high === initiatorIsHigh };
}

/** The order of the canonical key (source_is_higher in bpf/lib/packet.h): two words of this machine, then ports as they lie in memory. */
export function sourceIsHigher({
  source,
  destination,
  sourcePort,
  destinationPort,
}: Omit<FlowEnds, 'protocol'>): boolean {
  const word = (address: Uint8Array, at: number): bigint =>
    new DataView(address.buffer, address.byteOffset).getBigUint64(at, true);
  for (const at of [0, 8]) {
    const [ours, theirs] = [word(source, at), word(destination, at)];
    if (ours !== theirs) return ours > theirs;
  }
  return swapped(sourcePort) > swapped(destinationPort);
}

function swapped(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}
