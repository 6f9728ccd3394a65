/** Rulesets -> what Envoy is told about them: listeners, routes, clusters. Pure; the same rulesets give the same bytes. */
import type { XdsMessages } from '../generated/xds.ts';
import type { Codec } from '../xds/codec.ts';
import type { ResourceContent } from '../xds/resource-cache.ts';
import { CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../xds/types.ts';
import { originalDestination } from './cluster.ts';
import { type ListenerOptions, listeners } from './listener.ts';
import type { ServedRuleset } from './rbac.ts';
import { routeConfiguration } from './route.ts';

export interface TrafficResources {
  readonly clusters: readonly XdsMessages['envoy.config.cluster.v3.Cluster'][];
  readonly listeners: readonly XdsMessages['envoy.config.listener.v3.Listener'][];
  readonly routes: readonly XdsMessages['envoy.config.route.v3.RouteConfiguration'][];
}

/** All types that an Envoy must have acknowledged to enforce a revision. */
export const TRAFFIC_TYPES: readonly string[] = [CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE];

export function translate(rulesets: ReadonlyMap<number, ServedRuleset>, options: ListenerOptions): TrafficResources {
  const inOrder = [...rulesets.values()].sort((a, b) => a.id - b.id);
  return {
    clusters: [originalDestination()],
    listeners: listeners(options, inOrder),
    routes: [routeConfiguration(inOrder)],
  };
}

/** Type URL -> encoded resources, as a resource cache takes them. */
export function encodeTraffic(
  codec: Codec<XdsMessages>,
  { clusters, listeners, routes }: TrafficResources,
): ReadonlyMap<string, readonly ResourceContent[]> {
  const encode = <Name extends keyof XdsMessages & string>(
    type: Name,
    messages: readonly (XdsMessages[Name] & { readonly name?: string })[],
  ): ResourceContent[] => messages.map((each) => ({ name: each.name ?? '', bytes: codec.encode(type, each) }));
  return new Map([
    [CLUSTER_TYPE, encode('envoy.config.cluster.v3.Cluster', clusters)],
    [LISTENER_TYPE, encode('envoy.config.listener.v3.Listener', listeners)],
    [ROUTE_TYPE, encode('envoy.config.route.v3.RouteConfiguration', routes)],
  ]);
}
