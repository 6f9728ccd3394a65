/** What `sidestep envoy status` shows; answered by the agent at /v1/envoy. */
import { type ErrorCode, SidestepError } from '../model/error.ts';
import type { EnvoyState } from './state.ts';

export interface EnvoyFailure {
  /** RFC 3339. */
  readonly at: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  /** The end of Envoy's log. */
  readonly lastWords: readonly string[];
}

/** What the manager knows. */
export interface EnvoyStatus {
  readonly state: EnvoyState;
  /** When it came into this state. */
  readonly since: string;
  readonly wanted: boolean;
  readonly pid?: number;
  readonly version?: string;
  readonly startedAt?: string;
  /** An earlier agent started it. */
  readonly adopted: boolean;
  /** How often one was started in place of one that was lost, by this agent. */
  readonly restarts: number;
  /** Of `failed`: when the next try is. */
  readonly retryAt?: string;
  readonly lastFailure?: EnvoyFailure;
}

/** Envoy's own words about configuration that it did not take. */
export interface RefusedConfiguration {
  readonly at: string;
  readonly type: string;
  readonly names: readonly string[];
  readonly message: string;
}

/** What the discovery service knows. */
export interface EnvoyDiscovery {
  /** Rulesets in force or on their way. */
  readonly rulesets: number;
  /** Revision that is served, and the one that every connected Envoy has taken. */
  readonly revision: number;
  readonly acknowledged: number;
  readonly refused: readonly RefusedConfiguration[];
}

/** The answer of /v1/envoy. */
export interface EnvoyView extends EnvoyStatus {
  readonly discovery: EnvoyDiscovery;
}

/** @param what was being done, for an error that is not ours */
export function failureOf(error: unknown, what: string, lastWords: readonly string[], now: number): EnvoyFailure {
  const words = error instanceof Error ? error.message : String(error);
  const { code, message, hint } =
    error instanceof SidestepError ? error : new SidestepError('ENVOY_FAILED', `${what}: ${words}`);
  return { at: new Date(now).toISOString(), code, message, hint, lastWords };
}
