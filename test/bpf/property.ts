/**
 * Random policies and flows, asked twice: the evaluator, which reads rules and labels, and the loaded program, which is
 * given a real packet. Verdict, rule and kind of match must be the same, and who goes through Envoy. Seeded, so that a
 * mismatch can be seen again.
 */

import type { Numbers } from '../../control-plane/identity/numbers.ts';
import { formatAddress, parseAddress } from '../../control-plane/model/address.ts';
import type { KernelEvent } from '../../control-plane/model/event.ts';
import { type Labels, labelsOf, NAMESPACE_KEY } from '../../control-plane/model/labels.ts';
import type { ObjectSet, PodObject } from '../../control-plane/model/objects.ts';
import {
  DIRECTIONS,
  type Origin,
  type Peers,
  type Policy,
  type PortMatch,
  type Rule,
  type RuleRef,
  type Selector,
} from '../../control-plane/model/policy.ts';
import type { Snapshot } from '../../control-plane/model/snapshot.ts';
import type { Compiler } from '../../control-plane/policy/compile.ts';
import { evaluateHalf, type HalfAnswer } from '../../control-plane/policy/evaluate.ts';
import { podLabels, RESERVED_IDENTITIES } from '../../control-plane/policy/identities.ts';
import { random } from '../bench/statistics.ts';
import { judgeHalf } from './judge.ts';
import { HERE, type Lab } from './lab.ts';
import { ICMP, ICMPV6, type PacketSpec, SYN, TCP, UDP } from './packets.ts';

const SCTP = 132;
const GRE = 47;
/** Ports of the rules; flows use them and their neighbours. */
const RULE_PORTS = [0, 1, 80, 443, 8080, 65535];
/** Ports of HTTP rules; more flows than chance would have it go there. */
const HTTP_PORTS = [80, 443];
const FLOW_PORTS = [1, 2, 79, 80, 81, 442, 443, 444, 8080, 65534, 65535];
const OUTSIDE = { ipv4: '192.0.2.9', ipv6: '2001:db8::9' };
const HOST = { ipv4: '172.16.0.1', ipv6: 'fd16::1' };
const STRAY = { ipv4: '10.1.200.1', ipv6: 'fd01::c8' };
const UPLINK = 99;

/** What the lab must be told for HTTP rules to have a way to Envoy. */
export const STEERING = { mark: 0x200, envoyPort: 15001 };

export interface Tally {
  /** "ipv4 TCP ALLOWED" (DENIED, PROXIED) -> how many */
  readonly counts: ReadonlyMap<string, number>;
  readonly flows: number;
  readonly mismatches: readonly string[];
}

interface Peer {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly labels: Labels;
  /** Interface of a pod on this node; 0: elsewhere. */
  readonly ifindex: number;
  readonly kind: 'pod' | 'host' | 'world' | 'unmanaged';
}

export interface PropertyOptions {
  readonly sets: number;
  readonly flowsPerSet: number;
  readonly seed: number;
  readonly stopAt?: number;
  readonly newCompiler: (numbers: Numbers) => Compiler;
  readonly numbers: Numbers;
}

export async function compareWithKernel(lab: Lab, options: PropertyOptions): Promise<Tally> {
  const world = new World(random(options.seed));
  const counts = new Map<string, number>();
  const mismatches: string[] = [];
  let flows = 0;
  const compiler = options.newCompiler(options.numbers);
  for (let set = 0; set < options.sets && mismatches.length < (options.stopAt ?? 20); set++) {
    const policies = world.policies();
    const snapshot = compiler.compile(world.objects(policies));
    const peers = install(lab, snapshot, world.pods);
    const asked = Array.from({ length: options.flowsPerSet }, (_, i) => ask(lab, world, peers, policies, i + 1));
    const events = new Map((await lab.events(asked.length)).map((event) => [tagOf(event), event]));
    for (const question of asked) {
      flows++;
      const { passed, proxied } = question.expected;
      const key = `${question.family} ${question.protocolName} ${proxied ? 'PROXIED' : passed ? 'ALLOWED' : 'DENIED'}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
      const wrong = judge(question, events.get(question.tag), snapshot.origins);
      if (wrong) mismatches.push(`seed ${options.seed} set ${set}: ${question.text}: ${wrong}`);
    }
    lab.forgetFlows();
  }
  return { counts, flows, mismatches };
}

/** The fixed cast, and random policies about it. */
class World {
  readonly #next: () => number;
  readonly pods: readonly PodObject[];

  constructor(next: () => number) {
    this.#next = next;
    const labels = [
      { app: 'web', tier: 'front' },
      { app: 'api', tier: 'back' },
      { app: 'db', tier: 'back' },
      { app: 'web', tier: 'back' },
      { app: 'api', tier: 'front' },
      { app: 'job' },
    ];
    this.pods = labels.map((set, i) => ({
      namespace: i < 4 ? 'shop' : 'lab',
      name: `pod-${i}`,
      uid: `uid-${i}`,
      labels: new Map(Object.entries(set)),
      serviceAccount: 'default',
      nodeName: i < 3 ? 'here' : 'there',
      hostNetwork: false,
      namedPorts: [],
      netns: `/run/netns/pod-${i}`,
      addresses: [parseAddress(`10.1.0.${i + 1}`), parseAddress(`fd01::${i + 1}`)],
      origin: 'test',
    }));
  }

  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }
  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error('an empty list');
    return item;
  }
  chance(p: number): boolean {
    return this.#next() < p;
  }

  objects(policies: readonly Policy[]): ObjectSet {
    return {
      namespaces: [{ name: 'shop', labels: new Map([['team', 'red']]), audit: false }],
      pods: this.pods,
      nodes: [],
      meshNodes: [],
      services: [],
      endpointSlices: [],
      cidrGroups: [],
      policies: policies.map((policy) => ({ ref: policy.ref, origin: 'test', state: 'accepted', policy, issues: [] })),
      issues: [],
    };
  }

  policies(): Policy[] {
    return Array.from({ length: this.below(5) }, (_, i) => this.#policy(i));
  }

  #policy(index: number): Policy {
    const namespace = this.pick(['shop', 'shop', 'lab']);
    const ref = { kind: 'CiliumNetworkPolicy', namespace, name: `policy-${index}` };
    const subject = this.#selector(namespace);
    const rules: Rule[] = [];
    const defaultDeny = { egress: this.chance(0.5), ingress: this.chance(0.6) };
    for (const direction of DIRECTIONS)
      if (defaultDeny[direction])
        for (let i = 0; i < this.below(4); i++)
          rules.push({
            ref: { ...ref, rule: `${direction}[${i}]` },
            direction,
            peers: this.#peers(namespace),
            ports: this.#ports({ ...ref, rule: `${direction}[${i}]` }),
          });
    return { ref, subject, defaultDeny, rules, refused: false };
  }

  #selector(namespace: string | undefined): Selector {
    const labels = new Map<string, string>();
    if (this.chance(0.5)) labels.set(this.pick(['any:app', 'k8s:app']), this.pick(['web', 'api', 'db', 'nobody']));
    if (this.chance(0.3)) labels.set('any:tier', this.pick(['front', 'back']));
    if (namespace !== undefined) labels.set(`k8s:${NAMESPACE_KEY}`, namespace);
    else if (this.chance(0.1)) labels.set('any:io.cilium.k8s.namespace.labels.team', 'red');
    return { matchLabels: labels };
  }

  #peers(namespace: string): Peers {
    const kind = this.below(10);
    if (kind < 2) return { kind: 'any' };
    if (kind < 5)
      return { kind: 'selected', selectors: [], entities: [this.pick(['all', 'cluster', 'host', 'world'] as const)] };
    if (kind < 6) return { kind: 'selected', selectors: [], entities: [] };
    return {
      kind: 'selected',
      entities: [],
      selectors: Array.from({ length: 1 + this.below(2) }, () =>
        this.#selector(this.chance(0.7) ? namespace : undefined),
      ),
    };
  }

  #ports(rule: RuleRef): PortMatch[] {
    if (this.chance(0.35)) return [];
    return Array.from({ length: 1 + this.below(3) }, (_, i): PortMatch[] => {
      if (this.chance(0.6)) {
        const http = [{ ref: { ...rule, rule: `${rule.rule}.toPorts[${i}].rules.http[0]` }, match: {} }];
        return [{ protocol: TCP, port: this.pick(HTTP_PORTS), http }];
      }
      const protocols = this.pick([[TCP], [UDP], [TCP, UDP, SCTP]]);
      const port = this.pick(RULE_PORTS);
      return protocols.map((protocol) => ({ protocol, port }));
    }).flat();
  }
}

/** Writes one set into the kernel. pod-0 is the workload under test. @returns everybody it can talk with */
function install(lab: Lab, snapshot: Snapshot, pods: readonly PodObject[]): Peer[] {
  lab.install([...snapshot.tables.values()]);
  lab.tables.sweep(new Set());
  const identityOf = (pod: PodObject): number => snapshot.addresses.find((a) => a.pod === pod.name)?.identity ?? 0;
  for (const [i, workload] of snapshot.workloads.entries())
    lab.endpoint({
      ifindex: i === 0 ? HERE : 50 + i,
      identity: workload.identity,
      addresses: workload.addresses.map(formatAddress),
      egress: workload.tables.egress,
      ingress: workload.tables.ingress,
    });
  for (const { address, identity } of snapshot.addresses) lab.identity(formatAddress(address), identity);
  for (const address of Object.values(HOST)) lab.identity(address, 1, true);
  lab.prefix('10.1.0.0', 112, 3);
  lab.prefix('fd01::', 64, 3);
  const peers = pods.slice(1).map((pod): Peer => {
    const at = snapshot.workloads.findIndex((w) => w.name === pod.name);
    const [ipv4, ipv6] = pod.addresses.map(formatAddress);
    const labels = labelsOf(snapshot.identities.get(identityOf(pod))?.labels ?? []);
    return { name: pod.name, ipv4: ipv4 ?? '', ipv6: ipv6 ?? '', labels, ifindex: at > 0 ? 50 + at : 0, kind: 'pod' };
  });
  const reserved = (id: number): Labels => RESERVED_IDENTITIES.get(id) ?? new Map();
  return [
    ...peers,
    { name: 'host', ...HOST, labels: reserved(1), ifindex: 0, kind: 'host' },
    { name: 'world', ...OUTSIDE, labels: reserved(2), ifindex: 0, kind: 'world' },
    { name: 'stray', ...STRAY, labels: reserved(3), ifindex: 0, kind: 'unmanaged' },
  ];
}

interface Question {
  readonly tag: string;
  readonly text: string;
  readonly family: 'ipv4' | 'ipv6';
  readonly protocolName: string;
  readonly passed: boolean;
  readonly steered: boolean;
  readonly expected: {
    readonly passed: boolean;
    /** An HTTP rule of one end has a say. */
    readonly proxied: boolean;
    readonly egress: HalfAnswer | undefined;
    readonly ingress: HalfAnswer | undefined;
  };
}

/** Tells the events of one set apart; every packet has another. */
function tagOf(event: KernelEvent): string {
  return `${event.protocol} ${event.protocol === GRE ? formatAddress(event.source) : event.sourcePort}`;
}

function ask(lab: Lab, world: World, peers: readonly Peer[], policies: readonly Policy[], index: number): Question {
  const family = world.pick(['ipv4', 'ipv6'] as const);
  const me = world.pods[0];
  if (!me) throw new Error('no pod');
  const own = formatAddress(me.addresses[family === 'ipv4' ? 0 : 1] ?? new Uint8Array(16));
  const mine = labelsOfPod(world, me);
  const peer = world.pick(peers);
  const outward = world.chance(0.5);
  const protocol = world.pick([TCP, TCP, TCP, UDP, UDP, SCTP, family === 'ipv4' ? ICMP : ICMPV6]);
  const echo = family === 'ipv4' ? 8 : 128;
  const icmp = protocol === ICMP || protocol === ICMPV6;
  // Half of the flows sit on a rule's port or beside it, and half of TCP on one that HTTP rules may have.
  const near = world.chance(0.5) ? world.pick(FLOW_PORTS) : 1 + world.below(65535);
  const port = icmp ? echo : protocol === TCP && world.chance(0.5) ? world.pick(HTTP_PORTS) : near;
  const spec: PacketSpec = {
    source: outward ? own : peer[family],
    destination: outward ? peer[family] : own,
    protocol,
    sourcePort: 10000 + index,
    destinationPort: port,
    tcpFlags: SYN,
    icmpType: echo,
    icmpId: 10000 + index,
  };
  const ingress = peer.kind === 'host' ? 0 : peer.ifindex || UPLINK;
  const { passed, steered } = outward ? lab.send(spec) : lab.deliver(spec, ingress);
  const question = { source: outward ? mine : peer.labels, destination: outward ? peer.labels : mine, protocol, port };
  const local = peer.ifindex !== 0;
  const egress = outward || local ? evaluateHalf('egress', question, policies) : undefined;
  const refused = egress?.verdict === 'DENIED';
  const answer = (!outward || local) && !refused ? evaluateHalf('ingress', question, policies) : undefined;
  const allowed = !refused && answer?.verdict !== 'DENIED';
  return {
    tag: `${protocol} ${10000 + index}`,
    text: `${outward ? `pod-0 -> ${peer.name}` : `${peer.name} -> pod-0`} ${family} protocol ${protocol} port ${port}`,
    family,
    protocolName: { [TCP]: 'TCP', [UDP]: 'UDP', [SCTP]: 'SCTP', [ICMP]: 'ICMP', [ICMPV6]: 'ICMP' }[protocol] ?? 'other',
    passed,
    steered,
    expected: { passed: allowed, proxied: allowed && (egress?.l7 || answer?.l7) === true, egress, ingress: answer },
  };
}

function labelsOfPod(world: World, pod: PodObject): Labels {
  const known = podLabelCache.get(world) ?? new Map<string, Labels>();
  podLabelCache.set(world, known);
  const labels =
    known.get(pod.name) ??
    podLabels(
      pod,
      world.objects([]).namespaces.find((n) => n.name === pod.namespace),
    );
  known.set(pod.name, labels);
  return labels;
}
const podLabelCache = new WeakMap<World, Map<string, Labels>>();

/** @returns what differs, or undefined */
function judge(
  question: Question,
  event: KernelEvent | undefined,
  origins: ReadonlyMap<number, Origin>,
): string | undefined {
  const { expected } = question;
  if (question.passed !== expected.passed)
    return `kernel ${question.passed ? 'passed' : 'dropped'}, evaluator ${JSON.stringify(expected)}`;
  if (question.steered !== expected.proxied)
    return `kernel ${question.steered ? 'steered' : 'passed'}, evaluator ${JSON.stringify(expected)}`;
  if (event === undefined) return 'no event';
  if (event.kind !== (expected.passed ? 'new' : 'drop')) return `event ${event.kind}`;
  for (const half of DIRECTIONS) {
    const wrong = judgeHalf(event[half], expected[half], origins);
    if (wrong) return `${half}: ${wrong}`;
  }
  return undefined;
}
