/** Names that Envoy's configuration, its access log and the identity module agree on. */
import type { Direction } from '../model/policy.ts';

export const ROUTE_CONFIGURATION = 'sidestep';
export const ORIGINAL_DESTINATION = 'original-dst';
/** The cluster of the bootstrap that leads to the agent. */
export const AGENT_CLUSTER = 'sidestep-agent';
export const ACCESS_LOG = 'sidestep';

/** The order in which a request meets them. */
export const DIRECTIONS: readonly Direction[] = ['egress', 'ingress'];

/** HTTP filter that decides a direction. */
export const rbacFilter = (direction: Direction): string => `sidestep.rbac.${direction}`;
/** HTTP filter that decides what is done about headers that are not as a rule asks: the n-th of a direction. */
export const headerFilter = (direction: Direction, n: number): string => `sidestep.headers.${direction}.${n}`;
/** In front of what it leaves in its metadata. */
export const headerPrefix = (direction: Direction, n: number | ''): string =>
  `${direction}_headers_${n}${n === '' ? '' : '_'}`;
/** HTTP filter that does it. */
export const mendFilter = (direction: Direction): string => `sidestep.headers.${direction}.mend`;
/** The filter chain of connections whose client speaks TLS. */
export const TLS_CHAIN = 'tls';
/** Network filter that does so for TLS that is passed on unread. */
export const tlsRbacFilter = (direction: Direction): string => `sidestep.tls.${direction}`;
/** In front of the words that the filter leaves in its metadata, so that two filters do not overwrite each other's. */
export const statPrefix = (direction: Direction): string => `${direction}_`;
/** Filter state in which the module leaves the number of a direction's ruleset. */
export const rulesetState = (direction: Direction): string => `sidestep.${direction}`;

/** Filter state for the name that a TLS client asks for. */
export const SERVER_NAME_STATE = 'sidestep.server_name';

/** What the access log carries back of what the module leaves, and of the name above. */
export const FILTER_STATE: readonly string[] = [
  ...DIRECTIONS.map(rulesetState),
  'sidestep.source_identity',
  'sidestep.destination_identity',
  SERVER_NAME_STATE,
];

/** The ruleset of a half that layer 4 has admitted already, and the name under which it is let through. */
export const PASS = { ruleset: '1', name: 'layer4' } as const;
