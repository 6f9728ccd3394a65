/** Peers by name, fromEntities and toEntities. */
import { parsePrefix } from '../model/address.ts';
import { type CidrMatch, ENTITIES, type Entity } from '../model/policy.ts';
import type { Path } from './document.ts';
import type { Refuse } from './policy-fields.ts';
import { quote, readList } from './values.ts';

/** What each is, for docs/reference/policy.md. */
export const ENTITY_TEXTS: Readonly<Record<Entity | keyof typeof WORLD | 'cluster-mesh', string>> = {
  all: 'Everybody.',
  cluster: 'Every pod and every node of the cluster, and what is unmanaged in it.',
  host: "This node's own processes, pods of the host network included.",
  'remote-node': 'Other nodes.',
  'kube-apiserver': 'The API server, wherever it runs (the endpoints of the Service `default/kubernetes`).',
  world: 'Addresses outside of the cluster.',
  'world-ipv4': 'Those of IPv4: `0.0.0.0/0`.',
  'world-ipv6': 'Those of IPv6: `::/0`.',
  unmanaged: 'Addresses inside of the pod ranges that no source knows.',
  ingress: "Cilium's ingress proxies: nobody here.",
  init: 'Endpoints of Cilium without an identity yet: nobody here.',
  health: "Cilium's health endpoints: nobody here.",
  none: 'Nobody.',
  'cluster-mesh': 'Refused (`FIELD_NOT_SUPPORTED`): there is one cluster; write `cluster`.',
};

/** No entities to us but ranges. */
const WORLD = { 'world-ipv4': '0.0.0.0/0', 'world-ipv6': '::/0' } as const;

export interface NamedPeers {
  readonly entities: readonly Entity[];
  readonly cidrs: readonly CidrMatch[];
}

export function readEntities(value: unknown, path: Path, refuse: Refuse): NamedPeers {
  const entities: Entity[] = [];
  const cidrs: CidrMatch[] = [];
  for (const [i, name] of readList(value, path, refuse).entries()) {
    const known = ENTITIES.find((entity) => entity === name);
    if (known !== undefined) entities.push(known);
    else if (name === 'world-ipv4' || name === 'world-ipv6')
      cidrs.push({ prefix: parsePrefix(WORLD[name]), except: [] });
    else if (name === 'cluster-mesh')
      refuse('FIELD_NOT_SUPPORTED', [...path, i], 'not supported: there is one cluster; write cluster');
    else
      refuse(
        'FIELD_INVALID',
        [...path, i],
        `${quote(name)} is not an entity (${[...ENTITIES, ...Object.keys(WORLD)].join(', ')})`,
      );
  }
  return { entities, cidrs };
}
