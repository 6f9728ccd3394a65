/** How long, how many, how often: every bound of the sessions, in one place. */

/** Milliseconds. */
export interface Times {
  /** Reaching an address and TLS. */
  readonly handshakeMs: number;
  /** From the end of TLS to the other end's Hello. */
  readonly helloMs: number;
  /** Both phases of a tunnel key. */
  readonly keyMs: number;
  /** A tunnel key is replaced after this. */
  readonly rekeyMs: number;
  /** Something is said at least this often. */
  readonly idleMs: number;
  /** A peer that was silent for so long is dead. */
  readonly deadMs: number;
  /** How long a held packet may wait for a proof. */
  readonly demandMs: number;
  /** Pause after a failure: doubled each time, with jitter. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** The node that is not the one to dial gives the other this head start, unless a packet waits. */
  readonly headStartMs: number;
  /** A session that was open for so long makes the earlier failures forgotten. */
  readonly stableMs: number;
  /** What has failed is asked for again at most this often, however many packets wait. */
  readonly retryMs: number;
  /** Between two looks at what expires. */
  readonly tickMs: number;
}

export const TIMES: Times = {
  handshakeMs: 5000,
  helloMs: 5000,
  keyMs: 10_000,
  rekeyMs: 3_600_000,
  idleMs: 5000,
  deadMs: 15_000,
  demandMs: 3500,
  firstPauseMs: 50,
  longestPauseMs: 30_000,
  headStartMs: 1000,
  stableMs: 5000,
  retryMs: 1000,
  tickMs: 1000,
};

export interface Limits {
  readonly sessions: number;
  /** Connections whose TLS or Hello is not done, each way. */
  readonly handshakes: number;
  /** Connections whose TLS is not done, from one address. */
  readonly perAddress: number;
  /** Of a peer, proven in a session; also: wanted by a peer. */
  readonly identities: number;
  /** Held packets' pairs that wait, by peer. */
  readonly demands: number;
  /** Messages and proofs that a peer may send: a second, and at once. */
  readonly rate: number;
  readonly burst: number;
  /** Messages that wait to be handled; above it nothing more is read. */
  readonly inbox: number;
  /** Bytes that a peer has not taken from us yet; above it the session ends. */
  readonly backlogBytes: number;
}

export const LIMITS: Limits = {
  sessions: 1024,
  handshakes: 64,
  perAddress: 8,
  identities: 4096,
  demands: 4096,
  rate: 500,
  burst: 10_000,
  inbox: 256,
  backlogBytes: 16 * 1024 * 1024,
};
