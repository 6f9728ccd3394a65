/** Names of the resource types that have rules of their own in the protocol, and in which order they travel. */

const PREFIX = 'type.googleapis.com/';

export function typeUrlOf(message: string): string {
  return PREFIX + message;
}

export const CLUSTER_TYPE = typeUrlOf('envoy.config.cluster.v3.Cluster');
export const ENDPOINT_TYPE = typeUrlOf('envoy.config.endpoint.v3.ClusterLoadAssignment');
export const LISTENER_TYPE = typeUrlOf('envoy.config.listener.v3.Listener');
export const ROUTE_TYPE = typeUrlOf('envoy.config.route.v3.RouteConfiguration');
const SCOPED_ROUTE_TYPE = typeUrlOf('envoy.config.route.v3.ScopedRouteConfiguration');

/** A first request without names asks for all of these. */
export const WILDCARD_TYPES: ReadonlySet<string> = new Set([CLUSTER_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE]);

/** Make before break: clusters and their endpoints, then what refers to them. Other types (secrets) wait for nobody. */
const ORDER: readonly string[] = [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE];

/** Sorts types into the order of sending. */
export function rankOf(typeUrl: string): number {
  const rank = ORDER.indexOf(typeUrl);
  // What clusters and listeners need to come up stands in front of nothing and behind nothing.
  return rank === -1 ? ORDER.length : rank;
}

/**
 * Types whose news must have been acknowledged before additions to this one are sent. Endpoints do not wait for
 * clusters: Envoy acknowledges a cluster only when it is warm, and it needs its endpoints for that.
 */
export function additionsWaitFor(typeUrl: string): readonly string[] {
  return typeUrl === LISTENER_TYPE || typeUrl === ROUTE_TYPE ? [CLUSTER_TYPE, ENDPOINT_TYPE] : [];
}

/** Types that may still refer to what goes away. */
export function removalsWaitFor(typeUrl: string): readonly string[] {
  return typeUrl === CLUSTER_TYPE || typeUrl === ENDPOINT_TYPE ? [LISTENER_TYPE, ROUTE_TYPE] : [];
}
