/** A TLS connection that Envoy passed on unread, or refused by its name. Made by envoy/access-log.ts, read by observe/tls-flow.ts. */

export interface TlsEvent {
  /** When the connection began, milliseconds since the epoch, fraction kept. */
  readonly time: number;
  /** Client and server, 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  /** Rulesets of both ends. 0: Envoy was not told whose connection it is. 1: nothing to look at there. */
  readonly egress: number;
  readonly ingress: number;
  /** Lower case; '': the client asked for none. */
  readonly serverName: string;
  readonly refused: boolean;
  readonly durationMs: number;
}
