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
/** In front of the words that the filter leaves in its metadata, so that two filters do not overwrite each other's. */
export const statPrefix = (direction: Direction): string => `${direction}_`;
/** Filter state in which the module leaves the number of a direction's ruleset. */
export const rulesetState = (direction: Direction): string => `sidestep.${direction}`;

/** What the access log carries back of what the module leaves. */
export const FILTER_STATE: readonly string[] = [
  ...DIRECTIONS.map(rulesetState),
  'sidestep.source_identity',
  'sidestep.destination_identity',
];

/** The ruleset of a half that layer 4 has admitted already, and the name under which it is let through. */
export const PASS = { ruleset: '1', name: 'layer4' } as const;
