/**
 * Names of ports -> numbers. Ingress goes by the container ports of the pod that a policy selects, egress by those of the
 * peer: of all pods with the same labels, because the kernel knows a peer by its identity.
 */
import type { NamedPort } from '../model/objects.ts';
import type { Direction, Policy, PortMatch, Rule } from '../model/policy.ts';
import { remember } from './remember.ts';

export function hasNamedPorts({ ports }: Rule): boolean {
  return ports.some(({ name }) => name !== undefined);
}

/** What a port stands for; a name that is not known stands for nothing. */
export function numbered(match: PortMatch, known: readonly NamedPort[]): readonly PortMatch[] {
  if (match.name === undefined) return [match];
  const { name, ...rest } = match;
  return known.flatMap((each) =>
    each.name === name && each.protocol === match.protocol ? { ...rest, port: each.port } : [],
  );
}

/** Without duplicates, in order of name, protocol and port. */
export function unionOfPorts(lists: Iterable<readonly NamedPort[]>): readonly NamedPort[] {
  const found = new Map<string, NamedPort>();
  for (const list of lists) for (const each of list) found.set(portText(each), each);
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
}

export function portText({ name, protocol, port }: NamedPort): string {
  return `${name}=${protocol}/${port}`;
}

/** Policies with ingress in numbers, and what they were resolved by. */
export interface Numbered {
  readonly policies: readonly Policy[];
  /** The ports that count, as text; '' where no name does. */
  readonly ports: string;
}

/** Ingress rules of policies in numbers; the same objects for the same ports. */
export class IngressPorts {
  readonly #names = new WeakMap<readonly Policy[] | Policy, ReadonlySet<string>>();
  readonly #lists = new WeakMap<readonly Policy[], Map<string, Numbered>>();
  readonly #resolved = new WeakMap<Policy, Map<string, Policy>>();

  /** @param known ports of the endpoint that the policies select */
  resolve(policies: readonly Policy[], known: readonly NamedPort[]): Numbered {
    const names = remember(this.#names, policies, () => union(policies.map((policy) => this.namesOf(policy))));
    const used = names.size === 0 ? [] : known.filter(({ name }) => names.has(name));
    const ports = used.map(portText).join(' ');
    const byPorts = remember(this.#lists, policies, () => new Map<string, Numbered>());
    return remember(byPorts, ports, () => {
      const list = names.size === 0 ? policies : policies.map((policy) => this.#one(policy, used));
      return { policies: list, ports };
    });
  }

  /** Names of ports in ingress rules. */
  namesOf(policy: Policy): ReadonlySet<string> {
    return remember(this.#names, policy, () => portNames(policy, 'ingress'));
  }

  #one(policy: Policy, known: readonly NamedPort[]): Policy {
    const names = this.namesOf(policy);
    if (names.size === 0) return policy;
    const used = known.filter(({ name }) => names.has(name));
    const byPorts = remember(this.#resolved, policy, () => new Map<string, Policy>());
    return remember(byPorts, used.map(portText).join(' '), () => ({
      ...policy,
      rules: policy.rules.flatMap((rule) =>
        rule.direction === 'ingress' && hasNamedPorts(rule) ? inNumbers(rule, used) : [rule],
      ),
    }));
  }
}

export function portNames(policy: Policy, direction: Direction): ReadonlySet<string> {
  const rules = policy.rules.filter((rule) => rule.direction === direction);
  return new Set(rules.flatMap(({ ports }) => ports.flatMap(({ name }) => name ?? [])));
}

function union<T>(sets: readonly ReadonlySet<T>[]): ReadonlySet<T> {
  return new Set(sets.flatMap((set) => [...set]));
}

/** A rule whose names nobody knows is none: without ports it would be for all of them. */
function inNumbers(rule: Rule, known: readonly NamedPort[]): Rule[] {
  const ports = rule.ports.flatMap((match) => numbered(match, known));
  return ports.length === 0 ? [] : [{ ...rule, ports }];
}
