/** What a kernel program reports, decoded and free of bytes. Made by datapath/events.ts, read by observe/. */
import type { DropReason } from '../generated/reasons.ts';

export type Verdict = 'none' | 'allow' | 'deny' | 'redirect' | 'dns';

/** What one end's policy said: egress of the initiator or ingress of the responder. */
export interface HalfVerdict {
  /** 'none': that end is not on this node. */
  readonly verdict: Verdict;
  /** Rule id the kernel matched; see Snapshot.origins. */
  readonly rule: number;
  /** Kernel revision of the table that decided. */
  readonly revision: number;
  /** Hubble's policy_match_type. */
  readonly match: number;
  /** It passes although `rule` would refuse it: that is only audited. */
  readonly audited: boolean;
}

/** What protects a flow. */
export interface FlowSecurity {
  /** Both ends are proven, and that is asked again at every packet. */
  readonly authenticated: boolean;
  /** Through the tunnel between the nodes. */
  readonly encrypted: boolean;
}

export interface KernelEvent {
  readonly kind: 'new' | 'drop' | 'close';
  readonly hook: 'from-workload' | 'to-workload' | 'to-envoy';
  /** Milliseconds since the epoch, fraction kept. */
  readonly time: number;
  /** Of a drop; undefined otherwise. */
  readonly reason: DropReason | undefined;
  /** IP protocol number. */
  readonly protocol: number;
  readonly tcpFlags: number;
  readonly icmpType: number;
  readonly icmpCode: number;
  /** Of a new or closed flow: initiator and responder; of a drop: those of the packet. 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  /** Interface of the workload on this node, or 0. */
  readonly sourceIfindex: number;
  readonly destinationIfindex: number;
  readonly ifindex: number;
  readonly length: number;
  readonly egress: HalfVerdict;
  readonly ingress: HalfVerdict;
  readonly adopted: boolean;
  readonly bypassed: boolean;
  readonly reply: boolean;
  /** The flow was allowed before the policy changed. Of a new one: it lives, and what is only audited would end it. */
  readonly revoked: boolean;
  readonly related: boolean;
  /** Of a drop: which half refused; undefined when it was not a policy. */
  readonly deniedBy: 'egress' | 'ingress' | undefined;
  readonly security: FlowSecurity;
  /** At close. */
  readonly durationMs: number;
  /** From the initiator, from the responder. */
  readonly packets: readonly [number, number];
  readonly bytes: readonly [number, number];
}
