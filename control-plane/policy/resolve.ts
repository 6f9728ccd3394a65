/**
 * Services and CIDR groups in policies -> the pods and ranges that they stand for. Policies that name none are the same
 * objects afterwards, and so is one whose Services and groups are.
 */
import { contains, formatPrefix, type Prefix } from '../model/address.ts';
import { type Labels, NAMESPACE_KEY, selects } from '../model/labels.ts';
import type { CidrGroupObject, EndpointSliceObject, ObjectSet, ServiceObject } from '../model/objects.ts';
import type { CidrGroupMatch, CidrMatch, Peers, Policy, Rule, Selector, ServiceMatch } from '../model/policy.ts';
import { sameItems } from './remember.ts';

export type ResolveObjects = Pick<ObjectSet, 'services' | 'endpointSlices' | 'cidrGroups'>;
type Selected = Exclude<Peers, { readonly kind: 'any' }>;

/** Bits of one address. */
const ADDRESS = 128;

/** What a policy was resolved by: it is the same again while these are. */
type Sources = readonly (ServiceObject | EndpointSliceObject | CidrGroupObject)[];

/** Something that a rule names and that is not there. */
export interface Missing {
  readonly rule: Rule;
  /** Field of the rule that names it. */
  readonly field: string;
  /** `Service shop/web`, `CiliumCIDRGroup offices`. */
  readonly what: string;
}

export class Resolver {
  readonly #known = new WeakMap<Policy, { readonly sources: Sources; readonly resolved: Policy }>();
  readonly #missing = new WeakMap<Policy, readonly Missing[]>();
  readonly #needs = new WeakMap<Policy, boolean>();
  #last: { readonly objects: ResolveObjects; readonly index: Index } | undefined;

  resolve(policies: readonly Policy[], objects: ResolveObjects): readonly Policy[] {
    if (!policies.some((policy) => this.#needsIt(policy))) return policies;
    if (this.#last === undefined || !sameObjects(this.#last.objects, objects))
      this.#last = { objects, index: new Index(objects) };
    const { index } = this.#last;
    return policies.map((policy) => (this.#needsIt(policy) ? this.#resolve(policy, index) : policy));
  }

  /** What a policy that was resolved names and nobody has: it admits nothing by it. */
  missingIn(resolved: Policy): readonly Missing[] {
    return this.#missing.get(resolved) ?? [];
  }

  #resolve(policy: Policy, index: Index): Policy {
    const sources = sourcesOf(policy, index);
    const known = this.#known.get(policy);
    if (known && sameItems(known.sources, sources)) return known.resolved;
    const rules = policy.rules.map((rule) => ({ ...rule, peers: resolvePeers(rule.peers, index) }));
    const resolved = { ...policy, rules };
    this.#known.set(policy, { sources, resolved });
    this.#missing.set(
      resolved,
      policy.rules.flatMap((rule) => missingOf(rule, index)),
    );
    return resolved;
  }

  #needsIt(policy: Policy): boolean {
    let needs = this.#needs.get(policy);
    if (needs === undefined) {
      needs = policy.rules.some(({ peers }) => needsResolving(peers));
      this.#needs.set(policy, needs);
    }
    return needs;
  }
}

/** Services and groups as policies ask for them. */
class Index {
  readonly services: readonly ServiceObject[];
  readonly groups: readonly CidrGroupObject[];
  readonly #byName: ReadonlyMap<string, readonly ServiceObject[]>;
  readonly #slices: ReadonlyMap<string, readonly EndpointSliceObject[]>;
  readonly #groupsByName: ReadonlyMap<string, readonly CidrGroupObject[]>;

  constructor({ services, endpointSlices, cidrGroups }: ResolveObjects) {
    this.services = services;
    this.groups = cidrGroups;
    this.#byName = Map.groupBy(services, ({ name }) => name);
    this.#slices = Map.groupBy(endpointSlices, ({ namespace, service }) => `${namespace}/${service}`);
    this.#groupsByName = Map.groupBy(cidrGroups, ({ name }) => name);
  }

  servicesOf({ namespace, service }: ServiceMatch): readonly ServiceObject[] {
    const candidates = 'name' in service ? (this.#byName.get(service.name) ?? []) : this.services;
    return candidates.filter(
      (each) =>
        (namespace === '' || each.namespace === namespace) &&
        ('name' in service || selects(service.selector, sourced(each.labels))),
    );
  }

  slicesOf({ namespace, name }: ServiceObject): readonly EndpointSliceObject[] {
    return this.#slices.get(`${namespace}/${name}`) ?? [];
  }

  groupsOf({ group }: CidrGroupMatch): readonly CidrGroupObject[] {
    if ('name' in group) return this.#groupsByName.get(group.name) ?? [];
    return this.groups.filter((each) => selects(group.selector, sourced(each.labels)));
  }
}

function sourcesOf({ rules }: Policy, index: Index): Sources {
  return rules.flatMap(({ peers }): Sources => {
    if (peers.kind === 'any') return [];
    const services = (peers.services ?? []).flatMap((match) => index.servicesOf(match));
    return [
      ...services.flatMap((each) => (each.selector ? [each] : [each, ...index.slicesOf(each)])),
      ...(peers.cidrGroups ?? []).flatMap((match) => index.groupsOf(match)),
    ];
  });
}

/** By name only: labels that fit nothing are as usual as pods that are not there yet. */
function missingOf(rule: Rule, index: Index): readonly Missing[] {
  const { peers } = rule;
  if (peers.kind === 'any') return [];
  const services = (peers.services ?? []).flatMap((match): Missing[] =>
    'name' in match.service && index.servicesOf(match).length === 0
      ? [{ rule, field: 'toServices', what: `Service ${match.namespace}/${match.service.name}` }]
      : [],
  );
  const field = rule.direction === 'ingress' ? 'fromCIDRSet' : 'toCIDRSet';
  const groups = (peers.cidrGroups ?? []).flatMap((match): Missing[] =>
    'name' in match.group && index.groupsOf(match).length === 0
      ? [{ rule, field, what: `CiliumCIDRGroup ${match.group.name}` }]
      : [],
  );
  return [...services, ...groups];
}

function needsResolving(peers: Peers): boolean {
  return peers.kind === 'selected' && (peers.services !== undefined || peers.cidrGroups !== undefined);
}

function resolvePeers(peers: Peers, index: Index): Peers {
  if (peers.kind === 'any' || !needsResolving(peers)) return peers;
  const { services = [], cidrGroups = [], ...rest } = peers;
  const found = services.flatMap((match) => index.servicesOf(match));
  const selectors = found.flatMap((service) => (service.selector ? [podsOf(service, service.selector)] : []));
  const written = found.filter(({ selector }) => selector === undefined);
  const cidrs = [
    ...(rest.cidrs ?? []),
    ...cidrGroups.flatMap((match) => index.groupsOf(match).flatMap(({ prefixes }) => rangesOf(prefixes, match.except))),
    ...written.flatMap((service) => index.slicesOf(service).flatMap(({ addresses }) => addresses.map(exactly))),
  ];
  const resolved: Selected = { ...rest, selectors: [...rest.selectors, ...selectors] };
  return cidrs.length === 0 ? resolved : { ...resolved, cidrs };
}

/** A Service takes pods of its own namespace. */
function podsOf({ namespace }: ServiceObject, selector: Selector): Selector {
  return { ...selector, matchLabels: new Map([...selector.matchLabels, [`k8s:${NAMESPACE_KEY}`, namespace]]) };
}

function exactly(address: Uint8Array): CidrMatch {
  return { prefix: { address, bits: ADDRESS }, except: [] };
}

/** Each range without those of the exceptions that concern it; one that lies in an exception is none. */
function rangesOf(prefixes: readonly Prefix[], except: readonly Prefix[]): CidrMatch[] {
  const distinct = new Map(prefixes.map((prefix) => [formatPrefix(prefix), prefix]));
  return [...distinct.values()].flatMap((prefix) => {
    if (except.some((each) => holds(each, prefix))) return [];
    return [{ prefix, except: except.filter((each) => holds(prefix, each)) }];
  });
}

function holds(outer: Prefix, inner: Prefix): boolean {
  return outer.bits <= inner.bits && contains(outer, inner.address);
}

/** Labels as they are written, with the source that selectors look for. */
function sourced(labels: ReadonlyMap<string, string>): Labels {
  return new Map([...labels].map(([key, value]) => [`k8s:${key}`, value]));
}

function sameObjects(a: ResolveObjects, b: ResolveObjects): boolean {
  return (
    sameItems(a.services, b.services) &&
    sameItems(a.endpointSlices, b.endpointSlices) &&
    sameItems(a.cidrGroups, b.cidrGroups)
  );
}
