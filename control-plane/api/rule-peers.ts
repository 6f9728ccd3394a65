/** Whom a rule of a Cilium policy is about: the one list of peers that it may have. */
import type { Direction, Peers } from '../model/policy.ts';
import { readCidrSet, readCidrs } from './cidr-rules.ts';
import type { Path } from './document.ts';
import { readEntities } from './entities.ts';
import { readNames } from './name-rules.ts';
import type { Refuse } from './policy-fields.ts';
import { readPeerSelector } from './selectors.ts';
import { readServices } from './service-rules.ts';
import { isAbsent, readEach } from './values.ts';

const MEMBERS = {
  ingress: {
    endpoints: 'fromEndpoints',
    entities: 'fromEntities',
    cidrs: 'fromCIDR',
    cidrSet: 'fromCIDRSet',
  },
  egress: {
    endpoints: 'toEndpoints',
    entities: 'toEntities',
    cidrs: 'toCIDR',
    cidrSet: 'toCIDRSet',
    services: 'toServices',
    names: 'toFQDNs',
  },
} as const satisfies Record<Direction, Readonly<Record<string, string>>>;

/** Lists of peers that are refused themselves: a rule with nothing else is not about everybody. */
const REFUSED = ['fromNodes', 'toNodes', 'fromGroups', 'toGroups'];

/** @param namespace of the policy; '' in a clusterwide one @returns undefined: it cannot be read */
export function readPeers(
  rule: Record<string, unknown>,
  direction: Direction,
  namespace: string,
  path: Path,
  outer: Refuse,
): Peers | undefined {
  const members: Readonly<Record<string, string>> = MEMBERS[direction];
  const fields = Object.values(members);
  const written = fields.filter((field) => !isAbsent(rule[field]));
  if (REFUSED.some((field) => !isAbsent(rule[field]))) return undefined;
  if (written.length === 0) return { kind: 'any' };
  let isReadable = true;
  const refuse: Refuse = (...problem) => {
    isReadable = false;
    outer(...problem);
  };
  // An empty list beside another is nobody beside somebody (Cilium counts lengths, too).
  const full = written.filter((field) => !Array.isArray(rule[field]) || rule[field].length > 0);
  if (full.length > 1)
    refuse('FIELD_INVALID', path, `combining ${full.slice(0, 2).join(' and ')} is not supported; write two rules`);
  const part = (member: string): [unknown, Path, Refuse] => {
    const field = members[member] ?? '';
    return [field === '' ? undefined : rule[field], [...path, field], refuse];
  };
  const [endpoints, at] = part('endpoints');
  const selectors = readEach(endpoints, at, refuse, (entry, each) => readPeerSelector(entry, namespace, each, refuse));
  const named = readEntities(...part('entities'));
  const set = readCidrSet(...part('cidrSet'));
  const cidrs = [...readCidrs(...part('cidrs')), ...set.cidrs, ...named.cidrs];
  const services = readServices(...part('services'));
  const names = readNames(...part('names'));
  if (!isReadable) return undefined;
  return {
    kind: 'selected',
    selectors,
    entities: named.entities,
    ...(cidrs.length === 0 ? {} : { cidrs }),
    ...(names.length === 0 ? {} : { names }),
    ...(set.groups.length === 0 ? {} : { cidrGroups: set.groups }),
    ...(services.length === 0 ? {} : { services }),
  };
}
