/** The flow record: proto/flow/flow.proto as JSON, which is also the recording format. */
import type { DropReason } from '../generated/reasons.ts';

export interface FlowPolicy {
  readonly name: string;
  readonly namespace: string;
  /** `sidestep:rule=ingress[0]` where a rule decided. */
  readonly labels: readonly string[];
  readonly revision: string;
  readonly kind: string;
}

export interface FlowEndpoint {
  readonly ID?: number;
  readonly identity: number;
  readonly namespace?: string;
  readonly labels: readonly string[];
  readonly pod_name?: string;
}

export type TcpFlagName = 'FIN' | 'SYN' | 'RST' | 'PSH' | 'ACK' | 'URG' | 'ECE' | 'CWR';

export interface Ports {
  readonly source_port: number;
  readonly destination_port: number;
}

export type Layer4 =
  | { readonly TCP: Ports & { readonly flags: Partial<Record<TcpFlagName, true>> } }
  | { readonly UDP: Ports }
  | { readonly SCTP: Ports }
  | { readonly ICMPv4: { readonly type: number; readonly code: number } }
  | { readonly ICMPv6: { readonly type: number; readonly code: number } };

export interface Layer7 {
  readonly type: 'REQUEST' | 'RESPONSE';
  /** Nanoseconds, of a response. */
  readonly latency_ns?: string;
  readonly http?: {
    readonly code?: number;
    readonly method: string;
    readonly url: string;
    readonly protocol: string;
  };
  readonly dns?: {
    /** With the dot at the end. */
    readonly query: string;
    readonly ips?: readonly string[];
    readonly ttl?: number;
    readonly cnames?: readonly string[];
    readonly observation_source: 'proxy';
    readonly rcode?: number;
    readonly qtypes: readonly string[];
  };
}

export interface Flow {
  readonly time: string;
  readonly uuid: string;
  /** Both ends were proven. */
  readonly auth_type?: 'SPIRE';
  readonly verdict: 'FORWARDED' | 'DROPPED' | 'AUDIT' | 'REDIRECTED';
  readonly drop_reason?: number;
  readonly drop_reason_desc?: DropReason;
  readonly IP: {
    readonly source: string;
    readonly destination: string;
    readonly ipVersion: 'IPv4' | 'IPv6';
    readonly encrypted?: true;
  };
  readonly l4?: Layer4;
  readonly source: FlowEndpoint;
  readonly destination: FlowEndpoint;
  readonly l7?: Layer7;
  readonly Type: 'L3_L4' | 'L7';
  readonly node_name: string;
  readonly event_type: { readonly type: number; readonly sub_type?: number };
  readonly traffic_direction: 'INGRESS' | 'EGRESS';
  readonly policy_match_type?: number;
  readonly trace_observation_point?: 'TO_STACK' | 'TO_ENDPOINT';
  readonly trace_reason?: 'NEW' | 'ESTABLISHED';
  readonly is_reply?: boolean;
  readonly interface?: { readonly index: number; readonly name: string };
  readonly emitter: { readonly name: string; readonly version: string };
  readonly egress_allowed_by?: readonly FlowPolicy[];
  readonly ingress_allowed_by?: readonly FlowPolicy[];
  readonly egress_denied_by?: readonly FlowPolicy[];
  readonly ingress_denied_by?: readonly FlowPolicy[];
  /** `log.value` of the policies that it names. */
  readonly policy_log?: readonly string[];
  readonly Summary: string;
}

export interface LostEvents {
  readonly source: 'PERF_EVENT_RING_BUFFER' | 'OBSERVER_EVENTS_QUEUE' | 'HUBBLE_RING_BUFFER';
  readonly num_events_lost: string;
}

/** One line of `observe -o json`. */
export type FlowResponse =
  | { readonly flow: Flow; readonly node_name: string; readonly time: string }
  | { readonly lost_events: LostEvents; readonly node_name: string; readonly time: string };

/** Hubble's event types (monitor API). */
export const EVENT_TYPE = { DROP: 1, TRACE: 4, POLICY_VERDICT: 5, L7: 129 } as const;
export const TRACE_TO_ENDPOINT = 0;
export const TRACE_TO_STACK = 3;
