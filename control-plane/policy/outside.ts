/**
 * Identities of what is no pod: ranges that policies name, other nodes, API servers, and addresses that DNS told pods of. The
 * longest prefix that holds an address names its identity (pods and this node's own addresses come before all of them), and
 * the identity's labels say in which range it lies, so that membership in every named range follows.
 */
import type { Numbers } from '../identity/numbers.ts';
import { addressKey, formatPrefix, type Prefix, parseAddress, parsePrefix } from '../model/address.ts';
import { nameFits, nameMatchText } from '../model/dns-name.ts';
import { SidestepError } from '../model/error.ts';
import { type Labels, reservedLabels } from '../model/labels.ts';
import type { MeshNode, ObjectSet } from '../model/objects.ts';
import type { NameMatch, Policy } from '../model/policy.ts';
import type { PrefixIdentity } from '../model/snapshot.ts';
import { PrefixMap } from './cidr-set.ts';
import { CIDR_SOURCE, FQDN_SOURCE, HOST, KUBE_APISERVER, REMOTE_NODE, UNMANAGED, WORLD } from './identities.ts';
import { remember, sameItems } from './remember.ts';

/** What an answer of DNS said of an address. */
export interface LearnedAddress {
  /** 16 bytes. */
  readonly address: Uint8Array;
  /** Lower case, without the dot at the end. */
  readonly names: readonly string[];
}

export type OutsideObjects = Pick<ObjectSet, 'nodes' | 'meshNodes' | 'endpointSlices'>;

export interface OutsideView {
  /** Beside those of pods and the reserved ones; `host` where this node has an API server. The same object while it is equal. */
  readonly identities: ReadonlyMap<number, Labels>;
  readonly prefixes: readonly PrefixIdentity[];
  /** By which policies admit, each once. */
  readonly names: readonly NameMatch[];
}

export interface OutsideOptions {
  readonly nodeName: string;
  /** Ranges that pods have addresses from, besides those of Node objects. */
  readonly podRanges: readonly Prefix[];
}

/** Of lists of ranges: a policy that is edited again and again must not fill the memory. */
const MOST_TEXTS = 20_000;
/** Bits of one address. */
const ADDRESS = 128;
/** At the beginning of the mapped form. */
const ZERO_BITS = 80;
const ALL_IPV4 = parsePrefix('0.0.0.0/0');
const EVERYTHING: Prefix = { address: new Uint8Array(16), bits: 0 };
const HOST_WITH_API_SERVER: Labels = new Map([...reservedLabels('host'), ...reservedLabels('kube-apiserver')]);

interface Inputs {
  /** Of each policy that names some; the same object for the same policy. */
  readonly ranges: readonly (readonly Prefix[])[];
  readonly names: readonly (readonly NameMatch[])[];
  readonly nodes: ObjectSet['nodes'];
  readonly meshNodes: readonly MeshNode[];
  readonly apiServers: ObjectSet['endpointSlices'];
  readonly learned: readonly LearnedAddress[];
}

interface Asked {
  readonly policies: readonly Policy[];
  readonly objects: OutsideObjects;
  readonly learned: readonly LearnedAddress[];
}

export class Outside {
  readonly #numbers: Numbers;
  readonly #options: OutsideOptions;
  readonly #ranges = new WeakMap<Policy, readonly Prefix[]>();
  readonly #rangesByText = new Map<string, readonly Prefix[]>();
  readonly #names = new WeakMap<Policy, readonly NameMatch[]>();
  #texts: ReadonlyMap<string, readonly string[]> = new Map();
  #last: { readonly inputs: Inputs; readonly view: OutsideView } | undefined;
  /** What the last view was asked with: where all of it is the same nothing has to be gathered. */
  #asked: Asked | undefined;

  constructor(numbers: Numbers, options: OutsideOptions) {
    this.#numbers = numbers;
    this.#options = options;
  }

  /**
   * The same object while nothing of it changes.
   * @param policies resolved, see resolve.ts
   * @throws MAP_FULL when there are more ranges than local identities
   */
  view(policies: readonly Policy[], objects: OutsideObjects, learned: readonly LearnedAddress[]): OutsideView {
    const asked = { policies, objects, learned };
    if (this.#last && this.#asked && isSame(this.#asked, asked)) return this.#last.view;
    const view = this.#viewOf(asked);
    this.#asked = asked;
    return view;
  }

  #viewOf({ policies, objects, learned }: Asked): OutsideView {
    const inputs: Inputs = {
      ranges: policies.flatMap((policy) => nonEmpty(this.#rangesOf(policy))),
      names: policies.flatMap((policy) => nonEmpty(remember(this.#names, policy, () => namesOf(policy)))),
      nodes: objects.nodes,
      meshNodes: objects.meshNodes,
      apiServers: objects.endpointSlices.filter(isOfApiServer),
      learned,
    };
    if (this.#last && sameInputs(this.#last.inputs, inputs)) return this.#last.view;
    const view = this.#make(inputs);
    this.#last = { inputs, view };
    return view;
  }

  #make({ ranges, names, nodes, meshNodes, apiServers, learned }: Inputs): OutsideView {
    const podRanges = new Map(
      [...this.#options.podRanges, ...nodes.flatMap((node) => node.podRanges)].map((each) => [
        formatPrefix(each),
        each,
      ]),
    );
    const inPods = new PrefixMap<true>();
    for (const range of podRanges.values()) inPods.set(range, true);
    const found = new Prefixes(this.#numbers, this.#last?.view.identities);
    found.reserve(EVERYTHING, WORLD);
    for (const range of podRanges.values()) found.reserve(range, UNMANAGED);
    const own = new Set(
      nodes.filter(({ name }) => name === this.#options.nodeName).flatMap(({ addresses }) => addresses.map(addressKey)),
    );
    const servers = new Map(apiServers.flatMap(({ addresses }) => addresses.map((each) => [addressKey(each), each])));
    // What lies in a pod range is a pod or unmanaged, whatever policy says of the range.
    for (const each of ranges.flat()) if (!inPods.covers(each)) found.range(each, false);
    for (const [key, address] of servers) {
      const range = exactly(address);
      if (!own.has(key) && !inPods.covers(range)) found.range(range, true);
    }
    const textsOf = this.#textsOf(names);
    for (const { address, names: list } of learned) {
      const texts = list.flatMap(textsOf);
      if (texts.length > 0 && !inPods.covers(exactly(address))) found.named(address, texts);
    }
    for (const address of addressesOfNodes(nodes, meshNodes, this.#options.nodeName)) {
      const key = addressKey(address);
      if (!own.has(key)) found.reserve(exactly(address), servers.has(key) ? KUBE_APISERVER : REMOTE_NODE);
    }
    if ([...servers.keys()].some((key) => own.has(key))) found.identities.set(HOST, HOST_WITH_API_SERVER);
    return {
      identities: unlessSame(this.#last?.view.identities, found.identities),
      prefixes: found.list(),
      names: distinctMatches(names.flat()),
    };
  }

  /** Another version of a policy mostly names the same ranges: then they are the same object. */
  #rangesOf(policy: Policy): readonly Prefix[] {
    return remember(this.#ranges, policy, () => {
      const ranges = rangesOf(policy);
      const text = ranges.map(formatPrefix).join(' ');
      if (this.#rangesByText.size > MOST_TEXTS) this.#rangesByText.clear();
      return remember(this.#rangesByText, text, () => ranges);
    });
  }

  /** Which matches take a name? Answers of last time are kept while the matches are the same. */
  #textsOf(names: Inputs['names']): (name: string) => readonly string[] {
    const before = this.#last && sameItems(this.#last.inputs.names, names) ? this.#texts : new Map<string, never>();
    const matches = distinctMatches(names.flat());
    const now = new Map<string, readonly string[]>();
    this.#texts = now;
    return (name) => remember(now, name, () => before.get(name) ?? textsFor(name, matches));
  }
}

/** Prefixes with their identity; what is added later for the same one counts. */
class Prefixes {
  readonly identities = new Map<number, Labels>();
  readonly #numbers: Numbers;
  readonly #before: ReadonlyMap<number, Labels> | undefined;
  readonly #byText = new Map<string, PrefixIdentity>();
  readonly #ranges = new PrefixMap<readonly string[]>();

  constructor(numbers: Numbers, before: ReadonlyMap<number, Labels> | undefined) {
    this.#numbers = numbers;
    this.#before = before;
  }

  reserve({ address, bits }: Prefix, identity: number): void {
    this.#byText.set(formatPrefix({ address, bits }), { address, bits, identity });
  }

  range(prefix: Prefix, isApiServer: boolean): void {
    const keys = [`${CIDR_SOURCE}${formatPrefix(prefix)}`, 'reserved:world'];
    if (isApiServer) keys.push('reserved:kube-apiserver');
    this.#ranges.set(prefix, keys);
    this.reserve(prefix, this.#identity(keys));
  }

  /** In the longest range that holds it, and by these names. */
  named(address: Uint8Array, texts: readonly string[]): void {
    const [range = ['reserved:world']] = this.#ranges.covering(exactly(address));
    const names = [...new Set(texts)].map((text) => `${FQDN_SOURCE}${text}`);
    this.reserve(exactly(address), this.#identity([...range, ...names]));
  }

  list(): PrefixIdentity[] {
    // A range of IPv6 that holds the mapped form of IPv4 by its bits must not take it.
    const takesIpv4 = [...this.#byText.values()].some(
      ({ address, bits, identity }) => identity !== WORLD && holdsMapped(address, bits),
    );
    if (takesIpv4 && !this.#byText.has(formatPrefix(ALL_IPV4))) this.reserve(ALL_IPV4, WORLD);
    return [...this.#byText.values()];
  }

  /** The labels of last time where the number is the same: who compares by reference sees no change. */
  #identity(keys: readonly string[]): number {
    const list = [...keys].sort();
    const identity = this.#numbers.localIdentity(list);
    if (!this.identities.has(identity)) {
      const before = this.#before?.get(identity);
      const same = before?.size === list.length && list.every((key) => before.has(key));
      this.identities.set(identity, same ? before : new Map(list.map((key) => [key, ''])));
    }
    return identity;
  }
}

/** Whether the mapped form of IPv4, 80 bits of zero before anything else, has the bits of a range of IPv6. */
function holdsMapped(address: Uint8Array, bits: number): boolean {
  return bits <= ZERO_BITS && address.every((byte) => byte === 0);
}

function addressesOfNodes(
  nodes: ObjectSet['nodes'],
  meshNodes: readonly MeshNode[],
  nodeName: string,
): readonly Uint8Array[] {
  return [
    ...nodes.filter(({ name }) => name !== nodeName).flatMap(({ addresses }) => addresses),
    ...meshNodes.filter(({ name }) => name !== nodeName).flatMap(({ addresses }) => addresses.flatMap(tryAddress)),
  ];
}

/** Nothing for the name of a host. */
function tryAddress(text: string): Uint8Array[] {
  try {
    return [parseAddress(text)];
  } catch (error) {
    if (error instanceof SidestepError) return [];
    throw error;
  }
}

/** Endpoints of the Service of every cluster's API server. */
export function isOfApiServer({ namespace, service }: ObjectSet['endpointSlices'][number]): boolean {
  return namespace === 'default' && service === 'kubernetes';
}

/** Every range that a policy names, those that it excepts, too: only so can they be told apart. */
function rangesOf({ rules }: Policy): readonly Prefix[] {
  const all = rules.flatMap(({ peers }) =>
    peers.kind === 'any' ? [] : (peers.cidrs ?? []).flatMap(({ prefix, except }) => [prefix, ...except]),
  );
  return [...new Map(all.map((prefix) => [formatPrefix(prefix), prefix])).values()];
}

function namesOf({ rules }: Policy): readonly NameMatch[] {
  return distinctMatches(rules.flatMap(({ peers }) => (peers.kind === 'any' ? [] : (peers.names ?? []))));
}

function distinctMatches(matches: readonly NameMatch[]): readonly NameMatch[] {
  return [...new Map(matches.map((match) => [nameMatchText(match), match])).values()];
}

function textsFor(name: string, matches: readonly NameMatch[]): readonly string[] {
  return matches.flatMap((match) => (nameFits(match, name) ? nameMatchText(match) : []));
}

function exactly(address: Uint8Array): Prefix {
  return { address, bits: ADDRESS };
}

/** The earlier map where it holds the same objects. */
function unlessSame(before: ReadonlyMap<number, Labels> | undefined, now: ReadonlyMap<number, Labels>) {
  return before?.size === now.size && [...now].every(([id, labels]) => before.get(id) === labels) ? before : now;
}

function isSame(a: Asked, b: Asked): boolean {
  return (
    a.learned === b.learned &&
    a.objects.nodes === b.objects.nodes &&
    a.objects.meshNodes === b.objects.meshNodes &&
    a.objects.endpointSlices === b.objects.endpointSlices &&
    sameItems(a.policies, b.policies)
  );
}

function nonEmpty<T>(list: readonly T[]): readonly (readonly T[])[] {
  return list.length === 0 ? [] : [list];
}

function sameInputs(a: Inputs, b: Inputs): boolean {
  return (
    sameItems(a.ranges, b.ranges) &&
    sameItems(a.names, b.names) &&
    sameItems(a.nodes, b.nodes) &&
    sameItems(a.meshNodes, b.meshNodes) &&
    sameItems(a.apiServers, b.apiServers) &&
    sameItems(a.learned, b.learned)
  );
}
