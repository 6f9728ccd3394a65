/** What `sidestep tunnel list` shows of this node. */
import { type ErrorCode, SidestepError } from '../model/error.ts';

export interface TunnelFailure {
  /** RFC 3339. */
  readonly at: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  /** The end of the process's log. */
  readonly lastWords: readonly string[];
}

export interface TunnelStatus {
  readonly state: 'up' | 'down';
  readonly kind: 'kernel' | 'user-space';
  readonly name: string;
  /** 0 while it is down. */
  readonly ifindex: number;
  readonly publicKey: string;
  readonly port: number;
  readonly mtu?: number;
  readonly pid?: number;
  /** An earlier agent made it. */
  readonly adopted: boolean;
  readonly peers: number;
  /** How often it was made anew after a loss, by this agent. */
  readonly restarts: number;
  /** While it is down: when the next try is. */
  readonly retryAt?: string;
  readonly lastFailure?: TunnelFailure;
}

export function failureOf(error: unknown, lastWords: readonly string[], now: number): TunnelFailure {
  const { code, message, hint } = coded(error);
  return { at: new Date(now).toISOString(), code, message, hint, lastWords };
}

/** What is not ours is a failure of the tunnel. */
export function coded(error: unknown): SidestepError {
  if (error instanceof SidestepError) return error;
  return new SidestepError('TUNNEL_FAILED', error instanceof Error ? error.message : String(error), { cause: error });
}
