/** A DNS message that the agent looked at. Made by dns/, read by observe/dns-flow.ts. */
import type { RuleRef } from './policy.ts';

export interface DnsEvent {
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** Who asks and who answers, 16 bytes each, whichever way the message goes. */
  readonly client: Uint8Array;
  readonly server: Uint8Array;
  readonly clientPort: number;
  readonly serverPort: number;
  readonly clientIdentity: number;
  readonly serverIdentity: number;
  readonly protocol: 'TCP' | 'UDP';
  /** Without the dot at the end; undefined: it is no message that can be read. */
  readonly name: string | undefined;
  /** `A`, `AAAA`, … */
  readonly type: string;
  readonly verdict: 'allowed' | 'refused';
  /** What it was held against: the rule that allows, or all that do not. Empty: no rules. */
  readonly rules: readonly RuleRef[];
  /** Of an answer. */
  readonly answer?: {
    /** RFC 1035 §4.1.1. */
    readonly code: number;
    readonly addresses: readonly Uint8Array[];
    readonly aliases: readonly string[];
    /** Seconds; the least of them. */
    readonly ttl: number;
  };
}
