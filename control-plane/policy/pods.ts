/** Pods as policy sees them: labels, identities, and whose each address is. What did not change is not made again. */
import type { Numbers } from '../identity/numbers.ts';
import { addressKey, formatAddress } from '../model/address.ts';
import { ERRORS, type ErrorCode } from '../model/error-codes.ts';
import { type Labels, labelList } from '../model/labels.ts';
import type { NamedPort, NamespaceObject, ObjectSet, PodObject } from '../model/objects.ts';
import type { IdentityInfo, Issue } from '../model/snapshot.ts';
import type { IdentityPorts } from './compile-table.ts';
import { podLabels, RESERVED_IDENTITIES } from './identities.ts';
import { portText, unionOfPorts } from './named-ports.ts';
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
}

export interface PodView {
  readonly pods: readonly KnownPod[];
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

export class Pods {
  readonly #numbers: Numbers;
  readonly #nodeName: string;
  readonly #isEnrolled: (namespace: NamespaceObject | undefined) => boolean;
  readonly #derived = new WeakMap<PodObject, Derived>();
  #last: { readonly objects: ObjectSet; readonly view: PodView } | undefined;
  /** Who had an address last time keeps it. */
  #owners: ReadonlyMap<string, string> = new Map();

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
    const view = this.#make(objects);
    this.#last = { objects, view };
    return view;
  }

  #make(objects: ObjectSet): PodView {
    const namespaces = new Map(objects.namespaces.map((namespace) => [namespace.name, namespace]));
    const candidates = objects.pods
      .filter((pod) => !pod.hostNetwork)
      .map((pod) => ({ pod, ...this.#derive(pod, namespaces.get(pod.namespace)) }));
    const owners = claim(candidates, this.#owners);
    this.#owners = owners;
    const identities = new Map<number, Labels>(RESERVED_IDENTITIES);
    const issues: Issue[] = [];
    const before = this.#last?.view.identities;
    const pods = candidates.map(({ pod, namespace, labels, list, addressKeys }): KnownPod => {
      const identity = this.#numbers.identity(list);
      const shared = identities.get(identity) ?? sameLabels(before?.get(identity), labels);
      identities.set(identity, shared);
      const local = pod.nodeName === '' || pod.nodeName === this.#nodeName;
      const addresses = pod.addresses.filter((_, i) => owners.get(addressKeys[i] ?? '') === nameOf(pod));
      issues.push(...problems(pod, local, addressKeys, owners));
      const [enrolled, audited] = [this.#isEnrolled(namespace), namespace?.audit === true];
      return { pod, identity, labels: shared, labelList: list, local, enrolled, audited, addresses };
    });
    return { pods, ...this.#identities(identities), ports: this.#ports(pods), issues };
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
    const infos = [...identities].map(([id, labels]): [number, IdentityInfo] => [
      id,
      { id, labels: labelList(labels) },
    ]);
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
): ReadonlyMap<string, string> {
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
