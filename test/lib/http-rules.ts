/** A rule that admits GET alone, and what it does to one GET and one POST. */
import { ask, HTTP_PORT } from './http.ts';
import type { System } from './system.ts';
import type { Host } from './topology.ts';
import type { Family } from './traffic.ts';

/** `toPorts` of a policy. */
export const GET_ONLY = [
  {
    ports: [{ port: String(HTTP_PORT), protocol: 'TCP' }],
    rules: { http: [{ method: 'GET', path: '/api/.*' }] },
  },
];

/** The same on a port that something translates. */
export const getOnlyAt = (port: number): object[] => [
  { ...GET_ONLY[0], ports: [{ port: String(port), protocol: 'TCP' }] },
];

export interface Verdicts {
  /** Status, or an errno name. */
  readonly get: number | string;
  /** The client as the backend saw it. */
  readonly seen: string | undefined;
  readonly post: number | string;
  /** Policies that the POST's own flow names. */
  readonly refusedBy: readonly string[];
}

let asked = 0;

/** Asks both, and looks for the flow of the one that was refused. */
export async function verdicts(
  system: System,
  from: Host,
  to: Host,
  family: Family,
  port = HTTP_PORT,
): Promise<Verdicts> {
  // A path of its own, so that the flow is found among others.
  const path = `/api/${++asked}`;
  const [get, post] = await Promise.all([
    ask(from, to, family, 'GET', path, port),
    ask(from, to, family, 'POST', path, port),
  ]);
  const refusal =
    post.status === 403
      ? await system.flow(
          `POST ${path}`,
          ({ verdict, method, raw }) => verdict === 'DROPPED' && method === 'POST' && raw.includes(`${path}"`),
        )
      : undefined;
  return {
    get: get.status ?? get.error ?? '',
    seen: get.status === 200 ? (JSON.parse(get.body ?? '{}') as { address?: string }).address : undefined,
    post: post.status ?? post.error ?? '',
    refusedBy: refusal?.deniedBy ?? [],
  };
}

/** What the rule of a policy comes to. */
export function getOnly(seen: string, refusedBy: string): Verdicts {
  return { get: 200, seen, post: 403, refusedBy: [refusedBy] };
}
