/** A flow as it was seen, with what policy asks of it: the input of `policy diff` and `policy recommend`. */
import type { Labels } from './labels.ts';

export interface RecordedEnd {
  readonly labels: Labels;
  /** 16 bytes. */
  readonly address: Uint8Array;
  /** '' where it is no pod. */
  readonly namespace: string;
  readonly pod: string;
  /** It was an endpoint of the node that recorded, which decided its half. */
  readonly decides: boolean;
  /** Of DNS, as the other end was told; sorted. */
  readonly names: readonly string[];
}

export interface RecordedFlow {
  readonly source: RecordedEnd;
  readonly destination: RecordedEnd;
  readonly protocol: number;
  /** Destination port, or ICMP type. */
  readonly port: number;
  /** The request that it is about; absent: the connection. */
  readonly http?: { readonly method: string; readonly path: string; readonly host: string };
  readonly verdict: 'ALLOWED' | 'DENIED' | 'AUDIT';
  /** How often it was seen with the same ends, port, request and verdict. */
  readonly count: number;
}
