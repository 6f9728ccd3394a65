/** An HTTP request that went through Envoy, decoded. Made by envoy/access-log.ts, read by observe/http-flow.ts. */
import type { Direction, MismatchAction, RuleRef } from './policy.ts';

/** What one end's rules said of it: egress of the client or ingress of the server. */
export interface HttpHalf {
  /** 0: Envoy was not told whose connection it is. 1: no HTTP rule at this end. */
  readonly ruleset: number;
  /** layer4: this end had admitted the connection already. none: never asked, the other end had refused. */
  readonly verdict: 'none' | 'layer4' | 'allow' | 'deny';
  /** The one that allowed. */
  readonly rule: RuleRef | undefined;
  /** It was allowed, and would not be if everything were enforced. Absent: that would be the same. */
  readonly audited?: true;
}

/** What was done about a header that was not as a rule asks. */
export interface HeaderActionTaken {
  readonly direction: Direction;
  readonly action: MismatchAction;
  readonly header: string;
  readonly rule: RuleRef | undefined;
}

export interface HttpEvent {
  /** When the request began, milliseconds since the epoch, fraction kept. */
  readonly time: number;
  /** Client and server, 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly method: string;
  /** http://host/path?query, the path as the rules saw it. */
  readonly url: string;
  /** HTTP/1.1, HTTP/2, … */
  readonly protocol: string;
  /** Of the response; 0 when there was none. */
  readonly code: number;
  readonly durationMs: number;
  /** refused: it reached no rule, Envoy found it malformed. */
  readonly verdict: 'allowed' | 'denied' | 'refused';
  /** Of a denied one. */
  readonly deniedBy: Direction | undefined;
  readonly egress: HttpHalf;
  readonly ingress: HttpHalf;
  /** Absent: none. */
  readonly headerActions?: readonly HeaderActionTaken[];
  /** Envoy's words on where the response came from, `via_upstream` when it was the server's. */
  readonly details: string;
}
