/** Pods as policy sees them: labels, identities, and whose each address is. What did not change is not made again. */
import type { Numbers } from '../identity/numbers.ts';
import { addressKey, formatAddress } from '../model/address.ts';
import { ERRORS, type ErrorCode } from '../model/error-codes.ts';
import { type Labels, labelList } from '../model/labels.ts';
import { changeBetween, replaced } from '../model/list-change.ts';
import type { NamedPort, NamespaceObject, ObjectSet, PodObject } from '../model/objects.ts';
import type { AddressIdentity, IdentityInfo, Issue } from '../model/snapshot.ts';
import type { IdentityPorts } from './compile-table.ts';
import { podLabels, RESERVED_IDENTITIES } from './identities.ts';
import { portText, unionOfPorts } from './named-ports.ts';
import { isWorkload } from './placement.ts';
import { remember, sameItems } from './remember.ts';

export interface KnownPod {
  readonly pod: PodObject;
  readonly identity: number;
  /** Of its identity; the same object for every pod that has it. */
  readonly labels: Labels;
  readonly labelList: readonly string[];
  readonly local: boolean;
  /** Policy is enforced for it, on its node. */
  readonly enrolled: boolean;
  /** Its namespace is only audited. */
  readonly audited: boolean;
  /** Those of its addresses that are its own. */
  readonly addresses: readonly Uint8Array[];
  /** Of those, the same objects as long as nothing of the pod changes. */
  readonly entries: readonly AddressIdentity[];
}

export interface PodView {
  readonly pods: readonly KnownPod[];
  /** Those that this node enforces policy for, in the same order. */
  readonly workloads: readonly KnownPod[];
  /** Of all pods, in the same order; the same objects for the same pods. */
  readonly addresses: readonly AddressIdentity[];
  /** Other nodes that have pods; the same set while they are the same. */
  readonly nodes: ReadonlySet<string>;
  /** Reserved ones included. */
  readonly identities: ReadonlyMap<number, Labels>;
  readonly identityInfos: ReadonlyMap<number, IdentityInfo>;
  /** Named ports of the pods of an identity, on whatever node; identities without are missing. */
  readonly ports: IdentityPorts;
  readonly issues: readonly Issue[];
}

/** What is derived from one pod and its namespace alone. */
interface Derived {
  readonly namespace: NamespaceObject | undefined;
  readonly labels: Labels;
  readonly list: readonly string[];
  readonly addressKeys: readonly string[];
}

/** A pod that is no part of the host, with what is derived from it. */
interface Candidate extends Derived {
  readonly pod: PodObject;
}

/** What a view was made from, and what the next one can go on from. */
interface Past {
  readonly objects: ObjectSet;
  readonly view: PodView;
  /** How many pods have each identity. */
  readonly members: Map<number, number>;
  /** How many pods each other node has. */
  readonly byNode: Map<string, number>;
  /** Who has an address; names of pods. */
  readonly owners: Map<string, string>;
}

export class Pods {
  readonly #numbers: Numbers;
  readonly #nodeName: string;
  readonly #isEnrolled: (namespace: NamespaceObject | undefined) => boolean;
  readonly #derived = new WeakMap<PodObject, Derived>();
  #last: Past | undefined;

  /** @param isEnrolled whether policy is enforced for pods of a namespace; undefined is one that no source knows */
  constructor(numbers: Numbers, nodeName: string, isEnrolled: (namespace: NamespaceObject | undefined) => boolean) {
    this.#numbers = numbers;
    this.#nodeName = nodeName;
    this.#isEnrolled = isEnrolled;
  }

  /** The same view object while neither pods nor namespaces change. */
  view(objects: ObjectSet): PodView {
    const last = this.#last;
    if (last && sameItems(last.objects.pods, objects.pods) && sameItems(last.objects.namespaces, objects.namespaces))
      return last.view;
    this.#last = (last && this.#goOn(last, objects)) ?? this.#make(objects);
    return this.#last.view;
  }

  /**
   * Some pods came, went or changed: what that costs is theirs alone, however many others there are. Where more than that would
   * change (a pod has something wrong with it, or names of ports) there is no short way.
   */
  #goOn(last: Past, objects: ObjectSet): Past | undefined {
    const { view, members, byNode, owners } = last;
    if (view.issues.length > 0 || !sameItems(last.objects.namespaces, objects.namespaces)) return undefined;
    const change = changeBetween(last.objects.pods, objects.pods);
    if (change.removed.length + change.added.length > MOST_AT_ONCE) return undefined;
    if (change.removed.some(({ namedPorts, hostNetwork }) => namedPorts.length > 0 || hostNetwork)) return undefined;
    if (!change.added.every((pod) => this.#isPlain(pod))) return undefined;
    const namespaces = new Map(objects.namespaces.map((namespace) => [namespace.name, namespace]));
    const candidates = change.added.map((pod) => this.#candidate(pod, namespaces));
    const gone = new Set(change.removed.map((pod) => nameOf(pod)));
    const keys = candidates.flatMap(({ addressKeys }) => addressKeys);
    const isFree = (key: string): boolean => !owners.has(key) || gone.has(owners.get(key) ?? '');
    if (new Set(keys).size !== keys.length || !keys.every(isFree)) return undefined;
    const identities = new Map(view.identities);
    const added = candidates.map((each) => this.#known(each, each.pod.addresses, identities, view.identities));
    // Nothing fails from here on: what follows changes what the last view was made from.
    const hasHosts = view.pods.length < last.objects.pods.length;
    const at = change.at - (hasHosts ? countBefore(objects.pods, change.at, ({ hostNetwork }) => hostNetwork) : 0);
    const removed = view.pods.slice(at, at + change.removed.length);
    for (const { pod, identity } of removed) {
      for (const address of pod.addresses) owners.delete(addressKey(address));
      count(members, identity, -1);
    }
    for (const { pod, addressKeys } of candidates) for (const key of addressKeys) owners.set(key, nameOf(pod));
    for (const { identity } of added) count(members, identity, 1);
    for (const { identity } of removed) if (!members.has(identity)) identities.delete(identity);
    const splice = <T>(list: readonly T[], of: (pod: KnownPod) => readonly T[]): readonly T[] =>
      spliced(list, of, { pods: view.pods, at, removed, added });
    return {
      objects,
      view: {
        pods: replaced(view.pods, at, removed.length, added),
        workloads: splice(view.workloads, (each) => (isWorkload(each) ? [each] : NO_PODS)),
        addresses: splice(view.addresses, ({ entries }) => entries),
        nodes: nodesAfter(byNode, view.nodes, removed, added),
        ...this.#identities(identities),
        ports: view.ports,
        issues: view.issues,
      },
      members,
      byNode,
      owners,
    };
  }

  /** Nothing is wrong with it, and nothing of it concerns others but its labels and addresses. */
  #isPlain({ namedPorts, hostNetwork, addresses, netns, nodeName }: PodObject): boolean {
    const isLocal = nodeName === '' || nodeName === this.#nodeName;
    return namedPorts.length === 0 && !hostNetwork && addresses.length > 0 && !(isLocal && netns === '');
  }

  #candidate(pod: PodObject, namespaces: ReadonlyMap<string, NamespaceObject>): Candidate {
    return { pod, ...this.#derive(pod, namespaces.get(pod.namespace)) };
  }

  /**
   * @param addresses its own of those that it claims
   * @param identities what is found is added to them
   * @param before labels of last time, which are kept where they are equal
   * @throws MAP_FULL
   */
  #known(
    { pod, namespace, labels, list }: Candidate,
    addresses: readonly Uint8Array[],
    identities: Map<number, Labels>,
    before: ReadonlyMap<number, Labels> | undefined,
  ): KnownPod {
    const identity = this.#numbers.identity(list);
    const shared = identities.get(identity) ?? sameLabels(before?.get(identity), labels);
    identities.set(identity, shared);
    const local = pod.nodeName === '' || pod.nodeName === this.#nodeName;
    const [enrolled, audited] = [this.#isEnrolled(namespace), namespace?.audit === true];
    const node = local ? '' : pod.nodeName;
    const entries = addresses.map((address) => ({ address, identity, node, namespace: pod.namespace, pod: pod.name }));
    return { pod, identity, labels: shared, labelList: list, local, enrolled, audited, addresses, entries };
  }

  #make(objects: ObjectSet): Past {
    const namespaces = new Map(objects.namespaces.map((namespace) => [namespace.name, namespace]));
    const candidates = objects.pods.filter((pod) => !pod.hostNetwork).map((pod) => this.#candidate(pod, namespaces));
    const owners = claim(candidates, this.#last?.owners ?? new Map());
    const identities = new Map<number, Labels>(RESERVED_IDENTITIES);
    const issues: Issue[] = [];
    const before = this.#last?.view.identities;
    const members = new Map<number, number>();
    const pods = candidates.map((candidate): KnownPod => {
      const { pod, addressKeys } = candidate;
      const own = pod.addresses.filter((_, i) => owners.get(addressKeys[i] ?? '') === nameOf(pod));
      const known = this.#known(candidate, own, identities, before);
      issues.push(...problems(pod, known.local, addressKeys, owners));
      count(members, known.identity, 1);
      return known;
    });
    const byNode = new Map<string, number>();
    const view = {
      pods,
      workloads: pods.filter(isWorkload),
      addresses: pods.flatMap(({ entries }) => entries),
      nodes: nodesAfter(byNode, this.#last?.view.nodes ?? new Set(), [], pods),
      ...this.#identities(identities),
      ports: this.#ports(pods),
      issues,
    };
    return { objects, view, members, byNode, owners };
  }

  /** The map of last time where it says the same. */
  #ports(pods: readonly KnownPod[]): IdentityPorts {
    const lists = new Map<number, Set<readonly NamedPort[]>>();
    for (const { pod, identity } of pods)
      if (pod.namedPorts.length > 0) remember(lists, identity, () => new Set()).add(pod.namedPorts);
    const ports = new Map([...lists].map(([identity, each]) => [identity, unionOfPorts(each)]));
    const before = this.#last?.view.ports;
    const same = before?.size === ports.size && [...ports].every(([id, list]) => samePorts(before.get(id), list));
    return same ? before : ports;
  }

  /** The maps of last time where the identities are the same: tables made from them are still right. */
  #identities(identities: ReadonlyMap<number, Labels>): Pick<PodView, 'identities' | 'identityInfos'> {
    const last = this.#last?.view;
    if (last?.identities.size === identities.size && [...identities].every(([id, l]) => last.identities.get(id) === l))
      return { identities: last.identities, identityInfos: last.identityInfos };
    const infos = [...identities].map(([id, labels]): [number, IdentityInfo] => {
      const known = last?.identities.get(id) === labels ? last.identityInfos.get(id) : undefined;
      return [id, known ?? { id, labels: labelList(labels) }];
    });
    return { identities, identityInfos: new Map(infos) };
  }

  #derive(pod: PodObject, namespace: NamespaceObject | undefined): Derived {
    const known = this.#derived.get(pod);
    if (known && known.namespace === namespace) return known;
    const labels = podLabels(pod, namespace);
    const derived = { namespace, labels, list: labelList(labels), addressKeys: pod.addresses.map(addressKey) };
    this.#derived.set(pod, derived);
    return derived;
  }
}

/** More pods at once than this are as well looked at with all the others. */
const MOST_AT_ONCE = 1000;
const NO_PODS: readonly KnownPod[] = [];

function count<K>(counts: Map<K, number>, key: K, by: 1 | -1): void {
  const now = (counts.get(key) ?? 0) + by;
  if (now === 0) counts.delete(key);
  else counts.set(key, now);
}

function countBefore<T>(list: readonly T[], end: number, test: (item: T) => boolean): number {
  let found = 0;
  for (let i = 0; i < end; i++) if (test(list[i] as T)) found++;
  return found;
}

/** A list that is made of pods, one after the other, when some of them are replaced. */
function spliced<T>(
  list: readonly T[],
  of: (pod: KnownPod) => readonly T[],
  {
    pods,
    at,
    removed,
    added,
  }: {
    readonly pods: readonly KnownPod[];
    readonly at: number;
    readonly removed: readonly KnownPod[];
    readonly added: readonly KnownPod[];
  },
): readonly T[] {
  const [gone, fresh] = [removed.flatMap(of), added.flatMap(of)];
  if (gone.length + fresh.length === 0) return list;
  const lengthOf = (from: number, to: number): number => {
    let length = 0;
    for (let i = from; i < to; i++) length += of(pods[i] as KnownPod).length;
    return length;
  };
  // Counted from the nearer end: newcomers mostly stand last.
  const isNearEnd = at > pods.length / 2;
  const behind = isNearEnd ? lengthOf(at + removed.length, pods.length) : 0;
  const begin = isNearEnd ? list.length - behind - gone.length : lengthOf(0, at);
  return replaced(list, begin, gone.length, fresh);
}

/** @param byNode is brought up to date @param before the same set is returned where nothing came or went */
function nodesAfter(
  byNode: Map<string, number>,
  before: ReadonlySet<string>,
  removed: readonly KnownPod[],
  added: readonly KnownPod[],
): ReadonlySet<string> {
  const isElsewhere = ({ local, addresses }: KnownPod): boolean => !local && addresses.length > 0;
  for (const { pod } of removed.filter(isElsewhere)) count(byNode, pod.nodeName, -1);
  for (const { pod } of added.filter(isElsewhere)) count(byNode, pod.nodeName, 1);
  const same = before.size === byNode.size && [...byNode.keys()].every((name) => before.has(name));
  return same ? before : new Set(byNode.keys());
}

/** The earlier object where the text is equal, so that who compares by reference sees no change. */
function sameLabels(before: Labels | undefined, labels: Labels): Labels {
  return before && labelList(before).join('\n') === labelList(labels).join('\n') ? before : labels;
}

function samePorts(a: readonly NamedPort[] | undefined, b: readonly NamedPort[]): boolean {
  return a?.length === b.length && a.every((port, i) => b[i] !== undefined && portText(port) === portText(b[i]));
}

function nameOf(pod: PodObject): string {
  return `${pod.namespace}/${pod.name}`;
}

/** Address -> pod. Who had it keeps it; among newcomers the first. */
function claim(
  pods: readonly { readonly pod: PodObject; readonly addressKeys: readonly string[] }[],
  before: ReadonlyMap<string, string>,
): Map<string, string> {
  const owners = new Map<string, string>();
  const each = (wanted: (key: string, name: string) => boolean): void => {
    for (const { pod, addressKeys } of pods)
      for (const key of addressKeys) if (!owners.has(key) && wanted(key, nameOf(pod))) owners.set(key, nameOf(pod));
  };
  each((key, name) => before.get(key) === name);
  each(() => true);
  return owners;
}

function problems(
  pod: PodObject,
  local: boolean,
  addressKeys: readonly string[],
  owners: ReadonlyMap<string, string>,
): Issue[] {
  const name = nameOf(pod);
  const issue = (code: ErrorCode, path: string, message: string): Issue => ({
    code,
    path,
    message,
    hint: ERRORS[code].hint,
    origin: pod.origin,
    object: `Pod/${name}`,
  });
  const found: Issue[] = [];
  if (pod.addresses.length === 0)
    found.push(issue('POD_NO_ADDRESS', 'status.podIPs', `pod ${name} has no address; it is not enforced`));
  if (local && pod.netns === '')
    found.push(
      issue(
        'FIELD_REQUIRED',
        'metadata.annotations["sidestep.dev/netns"]',
        `pod ${name} names no network namespace; it is not enforced`,
      ),
    );
  for (const [i, address] of pod.addresses.entries()) {
    const owner = owners.get(addressKeys[i] ?? '');
    if (owner !== name)
      found.push(
        issue(
          'POD_ADDRESS_CONFLICT',
          'status.podIPs',
          `${formatAddress(address)} of pod ${name} belongs to pod ${owner}`,
        ),
      );
  }
  return found;
}
