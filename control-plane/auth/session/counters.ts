/** How often did it happen? For metrics; only ever grows. */
import type { ErrorCode } from '../../model/error-codes.ts';

export interface Latency {
  readonly count: number;
  /** Milliseconds. */
  readonly sum: number;
}

export interface SessionCounters {
  readonly handshakes: { readonly ok: number; readonly failed: ReadonlyMap<ErrorCode, number> };
  readonly proofs: {
    readonly made: number;
    readonly verified: number;
    readonly failed: ReadonlyMap<ErrorCode, number>;
  };
  /** From dialling, or from the end of TLS, to both ends having the tunnel's key. */
  readonly handshakeLatency: Latency;
  /** From `demand` to both proofs. */
  readonly demandLatency: Latency;
}

export class Counters implements SessionCounters {
  readonly handshakes = { ok: 0, failed: new Map<ErrorCode, number>() };
  readonly proofs = { made: 0, verified: 0, failed: new Map<ErrorCode, number>() };
  readonly handshakeLatency = { count: 0, sum: 0 };
  readonly demandLatency = { count: 0, sum: 0 };

  failed(what: 'handshakes' | 'proofs', code: ErrorCode): void {
    const { failed } = this[what];
    failed.set(code, (failed.get(code) ?? 0) + 1);
  }

  took(what: 'handshakeLatency' | 'demandLatency', ms: number): void {
    this[what].count++;
    this[what].sum += Math.max(0, ms);
  }
}
