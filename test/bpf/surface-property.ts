/**
 * Random policies over everything that policies can say, asked twice: the evaluator, which reads rules, labels and addresses, and
 * the loaded program, which is given a real packet. Authentication is left out (protection.test.ts); seeded.
 */
import fc from 'fast-check';
import { MirroredMap } from '../../control-plane/datapath/mirror.ts';
import {
  encodeAddressKey,
  encodeIpcacheEntry,
  encodePrefixKey,
  IpcacheFlag,
} from '../../control-plane/generated/bpf.ts';
import { formatAddress, isMappedIpv4, parseAddress } from '../../control-plane/model/address.ts';
import type { KernelEvent } from '../../control-plane/model/event.ts';
import { labelsOf, selects } from '../../control-plane/model/labels.ts';
import { DIRECTIONS, type Direction, type Policy } from '../../control-plane/model/policy.ts';
import type { Snapshot, WorkloadSpec } from '../../control-plane/model/snapshot.ts';
import { newCompiler, PODS } from '../../control-plane/policy/arbitrary.ts';
import {
  FLOWS,
  isAuditedNamespace,
  LEARNED,
  peersOf,
  questionOf,
  type Surface,
  type SurfacePeer,
  surfaces,
} from '../../control-plane/policy/arbitrary-surface.ts';
import type { Compiler } from '../../control-plane/policy/compile.ts';
import { evaluateStaged, type StagedAnswer } from '../../control-plane/policy/evaluate-staged.ts';
import { Resolver } from '../../control-plane/policy/resolve.ts';
import { Stages } from '../../control-plane/policy/stages.ts';
import { random } from '../bench/statistics.ts';
import { judgeHalf } from './judge.ts';
import { HERE, type Lab } from './lab.ts';
import { ICMP, ICMPV6, type PacketSpec, SYN, TCP } from './packets.ts';

const UPLINK = 99;
const HOST = '172.16.0.1';
/** Of pods, which have no other; so that it can speak with whom has only an IPv6 address. */
const OWN_IPV6 = 'fd00::1';
const GRE = 47;
/** Source ports; an event of one set that comes late is none of the next. */
const MOST_TAGS = 50_000;
const SCOPE_BITS = 32;
const ADDRESS_BITS = 128;

export interface SurfaceTally {
  /** `DENIED deny-rule`, `AUDIT default-deny`, … -> how many halves */
  readonly counts: ReadonlyMap<string, number>;
  readonly flows: number;
  readonly mismatches: readonly string[];
}

export interface SurfaceOptions {
  readonly sets: number;
  readonly flowsPerSet: number;
  readonly seed: number;
  readonly stopAt?: number;
  readonly compilerOf?: (options: Pick<Surface, 'enforcement'>) => Compiler;
}

export async function compareSurface(lab: Lab, options: SurfaceOptions): Promise<SurfaceTally> {
  const { seed, sets, flowsPerSet, stopAt = 20 } = options;
  const compilerOf = options.compilerOf ?? (({ enforcement }) => newCompiler('here', { enforcement }));
  const scene = new Scene(lab);
  const counts = new Map<string, number>();
  const mismatches: string[] = [];
  const next = random(seed);
  let flows = 0;
  for (const [set, sampled] of fc.sample(surfaces, { numRuns: sets, seed }).entries()) {
    if (mismatches.length >= stopAt) break;
    const surface = withoutAuthentication(sampled);
    const snapshot = mostSelectedFirst(compilerOf(surface).compile(surface.objects, LEARNED), surface);
    scene.install(snapshot);
    const world = new World(surface, snapshot);
    const asked = Array.from({ length: flowsPerSet }, (_, i) =>
      world.ask(lab, next, (set * flowsPerSet + i) % MOST_TAGS),
    );
    const events = await eventsOf(lab, asked.length);
    for (const question of asked) {
      flows++;
      for (const half of DIRECTIONS) {
        const said = question.halves[half];
        if (said === undefined) continue;
        const key = `${said.verdict} ${said.answer.reason}${said.answer.l7 ? ' looks' : ''}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const wrong = judge(question, events.get(question.tag), snapshot);
      if (wrong) mismatches.push(`seed ${seed} set ${set}: ${question.text}: ${wrong}`);
    }
    lab.forgetFlows();
  }
  return { counts, flows, mismatches };
}

function withoutAuthentication({ objects, enforcement }: Surface): Surface {
  const plain = (policy: Policy): Policy => ({
    ...policy,
    rules: policy.rules.map(({ authentication: _, ...rule }) => rule),
  });
  const policies = objects.policies.map(({ policy, ...rest }) => ({ ...rest, policy: policy && plain(policy) }));
  return { objects: { ...objects, policies }, enforcement };
}

/** The first is the workload under test: the one that policies are most about. */
function mostSelectedFirst(snapshot: Snapshot, { objects }: Surface): Snapshot {
  const selections = ({ labels }: WorkloadSpec): number =>
    objects.policies.filter(({ policy }) => policy && selects(policy.subject, labelsOf(labels))).length;
  return { ...snapshot, workloads: [...snapshot.workloads].sort((a, b) => selections(b) - selections(a)) };
}

/** The kernel's tables of addresses, as the datapath keeps them. */
class Scene {
  readonly #lab: Lab;
  readonly #exact: MirroredMap;
  readonly #ranges: MirroredMap;

  constructor(lab: Lab) {
    this.#lab = lab;
    const mirror = (name: string): MirroredMap =>
      new MirroredMap(lab.map(name), { total: 0, add: (): void => undefined });
    this.#exact = mirror('ipcache');
    this.#ranges = mirror('ipcache_prefixes');
  }

  install({ tables, workloads, addresses, prefixes }: Snapshot): void {
    this.#lab.install([...tables.values()]);
    this.#lab.tables.sweep(new Set());
    for (const [i, workload] of workloads.entries())
      this.#lab.endpoint({
        ifindex: ifindexOf(i),
        identity: workload.identity,
        addresses: [...workload.addresses.map(formatAddress), ...(i === 0 ? [OWN_IPV6] : [])],
        egress: workload.tables.egress,
        ingress: workload.tables.ingress,
        ...(workload.tables.auditEgress === '' ? {} : { auditEgress: workload.tables.auditEgress }),
        ...(workload.tables.auditIngress === '' ? {} : { auditIngress: workload.tables.auditIngress }),
      });
    const entry = (identity: number, flags = 0): Uint8Array => encodeIpcacheEntry({ identity, node: 0, flags });
    const key = (address: Uint8Array): Uint8Array => encodeAddressKey({ scope: 0, address });
    const exact = new Map(
      prefixes
        .filter(({ bits }) => bits === ADDRESS_BITS)
        .map(({ address, identity }) => [formatAddress(address), { key: key(address), value: entry(identity) }]),
    );
    // Whatever policy says of an address: a pod is a pod, and this node is this node.
    for (const { address, identity } of addresses)
      exact.set(formatAddress(address), { key: key(address), value: entry(identity) });
    exact.set(OWN_IPV6, { key: key(parseAddress(OWN_IPV6)), value: entry(workloads[0]?.identity ?? 0) });
    exact.set(HOST, { key: key(parseAddress(HOST)), value: entry(1, IpcacheFlag.IPCACHE_NODE_ADDRESS) });
    this.#exact.replace([...exact.values()]);
    this.#ranges.replace(
      prefixes
        .filter(({ bits }) => bits < ADDRESS_BITS)
        .map(({ address, bits, identity }) => ({
          key: encodePrefixKey({ prefixLength: SCOPE_BITS + bits, scope: 0, address }),
          value: entry(identity),
        })),
    );
  }
}

function ifindexOf(index: number): number {
  return index === 0 ? HERE : 50 + index;
}

interface Question {
  readonly tag: string;
  readonly text: string;
  readonly passed: boolean;
  readonly steered: boolean;
  /** Of each end that is on this node and is asked: the other end refuses first. */
  readonly halves: { readonly [half in Direction]: StagedAnswer | undefined };
}

/** What the evaluator is told of one set. */
class World {
  readonly #surface: Surface;
  readonly #snapshot: Snapshot;
  readonly #policies: readonly Policy[];
  readonly #stages: Stages;
  readonly #peers: readonly SurfacePeer[];

  constructor(surface: Surface, snapshot: Snapshot) {
    const { objects, enforcement } = surface;
    this.#surface = surface;
    this.#snapshot = snapshot;
    this.#stages = new Stages(enforcement);
    this.#policies = new Resolver().resolve(
      objects.policies.flatMap(({ policy }) => policy ?? []),
      objects,
    );
    this.#peers = peersOf(objects).filter(({ name }) => name !== this.#me.name);
  }

  get #me(): WorkloadSpec {
    const [me] = this.#snapshot.workloads;
    if (me === undefined) throw new Error('no workload');
    return me;
  }

  #half(direction: Direction, workload: WorkloadSpec, peer: SurfacePeer, protocol: number, port: number): StagedAnswer {
    const own = labelsOf(workload.labels);
    const selecting = this.#policies.filter(({ subject }) => selects(subject, own));
    const staged = this.#stages.of(selecting, isAuditedNamespace(this.#surface.objects, workload.namespace));
    const ports = PODS.find(({ name }) => name === workload.name)?.namedPorts ?? [];
    return evaluateStaged(direction, questionOf(direction, own, ports, peer, protocol, port), staged);
  }

  ask(lab: Lab, next: () => number, index: number): Question {
    const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
    const peer = pick(this.#peers);
    const v4 = isMappedIpv4(peer.address);
    // An answer to an echo opens nothing, and without ports all packets of a pair are one flow.
    const flows = FLOWS.filter(
      ([protocol, type]) =>
        protocol !== GRE && (protocol !== ICMP || (v4 && type !== 0)) && (protocol !== ICMPV6 || !v4),
    );
    const [protocol, port] = pick(flows);
    const outward = next() < 0.5;
    const there = formatAddress(peer.address);
    const mine = v4 ? formatAddress(this.#me.addresses[0] ?? new Uint8Array(16)) : OWN_IPV6;
    const spec: PacketSpec = {
      source: outward ? mine : there,
      destination: outward ? there : mine,
      protocol,
      sourcePort: 10000 + index,
      destinationPort: port,
      tcpFlags: SYN,
      icmpType: port,
      icmpId: 10000 + index,
    };
    const at = this.#snapshot.workloads.findIndex(({ name }) => name === peer.name);
    const local = at < 0 ? undefined : this.#snapshot.workloads[at];
    const from = peer.host ? 0 : local ? ifindexOf(at) : UPLINK;
    const { passed, steered } = outward ? lab.send(spec) : lab.deliver(spec, from);
    const self = peersOf(this.#surface.objects).find(({ name }) => name === this.#me.name) ?? peer;
    const [sender, receiver] = outward ? [this.#me, local] : [local, this.#me];
    const [seenBySender, seenByReceiver] = outward ? [peer, self] : [self, peer];
    const egress = sender && this.#half('egress', sender, seenBySender, protocol, port);
    const refused = egress?.verdict === 'DENIED';
    const ingress = receiver && !refused ? this.#half('ingress', receiver, seenByReceiver, protocol, port) : undefined;
    return {
      tag: `${protocol} ${10000 + index}`,
      text: `${outward ? `${this.#me.name} -> ${peer.name}` : `${peer.name} -> ${this.#me.name}`} ${there} ${protocol}/${port}`,
      passed,
      steered,
      halves: { egress, ingress },
    };
  }
}

/** The first of each flow: a query that nobody looks at is admitted as a flow, and then dropped. */
async function eventsOf(lab: Lab, flows: number): Promise<ReadonlyMap<string, KernelEvent>> {
  const events = new Map<string, KernelEvent>();
  while (events.size < flows)
    for (const event of await lab.events(flows - events.size))
      if (!events.has(tagOf(event))) events.set(tagOf(event), event);
  return events;
}

/** Tells the events of one set apart; every packet has another. */
function tagOf(event: KernelEvent): string {
  return `${event.protocol} ${event.sourcePort}`;
}

/** @returns what differs, or undefined */
function judge(question: Question, event: KernelEvent | undefined, { origins }: Snapshot): string | undefined {
  const { egress, ingress } = question.halves;
  const allowed = egress?.verdict !== 'DENIED' && ingress?.verdict !== 'DENIED';
  if (event === undefined) return 'no event';
  const wrong = DIRECTIONS.flatMap((half) => {
    const said = question.halves[half];
    const kernel = event[half];
    const isAudited = said?.verdict === 'AUDIT';
    if (kernel.audited !== isAudited) return [`${half}: audited ${kernel.audited}, evaluator ${said?.verdict}`];
    const differs = judgeHalf(kernel, said?.answer, origins);
    return differs === undefined ? [] : [`${half}: ${differs}`];
  });
  if (wrong.length > 0) return wrong.join('; ');
  // What asks for a name waits for an agent, and there is none.
  if (event.egress.verdict === 'dns') return undefined;
  const looks = [event.egress, event.ingress].some(({ verdict }) => verdict === 'redirect');
  const passes = allowed && !(looks && event.protocol !== TCP);
  if (question.passed !== passes) return `kernel ${question.passed ? 'passed' : 'dropped'} it, evaluator ${passes}`;
  if (passes && question.steered !== looks) return `kernel ${question.steered ? 'steered' : 'passed'} it`;
  return undefined;
}
