/** What does policy say about requests now? The one resource that an edited rule changes. */
import type { XdsMessages } from '../generated/xds.ts';
import { headerActions } from './header-actions.ts';
import { DIRECTIONS, ORIGINAL_DESTINATION, ROUTE_CONFIGURATION, rbacFilter } from './names.ts';
import { admit, type ServedRuleset } from './rbac.ts';

/** A request that takes no route (CONNECT, `OPTIONS *`) meets the filters' own configuration, which denies. */
export function routeConfiguration(
  rulesets: readonly ServedRuleset[],
): XdsMessages['envoy.config.route.v3.RouteConfiguration'] {
  const filters = DIRECTIONS.map((direction) => [
    rbacFilter(direction),
    { '@type': 'envoy.extensions.filters.http.rbac.v3.RBACPerRoute', rbac: admit(direction, rulesets) } as const,
  ]);
  return {
    name: ROUTE_CONFIGURATION,
    virtual_hosts: [
      {
        name: 'all',
        domains: ['*'],
        routes: [
          {
            match: { prefix: '/' },
            // No timeout of Envoy's own: the client's and the server's count.
            route: { cluster: ORIGINAL_DESTINATION, timeout: {} },
            typed_per_filter_config: { ...Object.fromEntries(filters), ...headerActions(rulesets) },
          },
        ],
      },
    ],
  };
}
