import type { ErrorCode } from '../model/error.ts';

/** What became of a local workload, for `endpoint list` and `status`. */
export interface EndpointStatus {
  readonly id: number;
  readonly namespace: string;
  readonly pod: string;
  readonly identity: number;
  readonly labels: readonly string[];
  readonly addresses: readonly Uint8Array[];
  /** ready: enforced and seen in place. waiting: something is missing outside. degraded: enforced, with a caveat. */
  readonly state: 'ready' | 'waiting' | 'degraded';
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly hint: string;
  readonly interface:
    | { readonly ifindex: number; readonly name: string; readonly attach: 'tcx' | 'clsact' }
    | undefined;
  readonly egress: EndpointPolicy;
  readonly ingress: EndpointPolicy;
}

export interface EndpointPolicy {
  readonly enforcing: boolean;
  /** Kernel revision of the table in force; 0: closed. */
  readonly revision: number;
}
