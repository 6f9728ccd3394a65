/** For tests: nodes with agents that speak to each other, over queues or over TLS on loopback. */
import { FakeClock, settle } from '../../model/fake-clock.ts';
import type { PeerNode } from '../peers.ts';
import type { ServiceAccountRef } from '../svid.ts';
import {
  account,
  idOf,
  MemoryNetwork,
  MemorySource,
  MemoryTransport,
  MemoryWhereabouts,
  nodeIdOf,
  quiet,
  RecordingSink,
  TRUST_DOMAIN,
} from './fakes.ts';
import type { Limits, Times } from './limits.ts';
import type { Need } from './peer-context.ts';
import { Sessions } from './sessions.ts';
import type { TestCa } from './test-ca.ts';

const PASS_STEP_MS = 100;

export interface WorldOptions {
  readonly times?: Partial<Times>;
  readonly limits?: Partial<Limits>;
  readonly random?: () => number;
}

export class TestNode {
  readonly name: string;
  readonly source: MemorySource;
  readonly world: MemoryWorld;
  readonly tunnel = { publicKey: new Uint8Array(32), port: 51_871 };
  sink = new RecordingSink();
  sessions: Sessions;

  constructor(world: MemoryWorld, name: string, source: MemorySource) {
    this.world = world;
    this.name = name;
    this.source = source;
    this.tunnel.publicKey.fill(name.charCodeAt(name.length - 1));
    this.sessions = this.#make();
  }

  get peer(): PeerNode {
    return { name: this.name, addresses: ['192.0.2.1'], port: 4250 };
  }

  /** The agent dies, and another takes its place that knows nothing. */
  async restart(): Promise<void> {
    const old = this.sessions;
    this.world.network.leave(this.name);
    this.world.network.cut(this.name);
    await old.close();
    this.sink = new RecordingSink();
    this.sessions = this.#make();
    await this.sessions.start();
  }

  #make(): Sessions {
    const { network, clock, whereabouts, options } = this.world;
    return new Sessions({
      node: this.name,
      trustDomain: TRUST_DOMAIN,
      tunnel: this.tunnel,
      source: this.source,
      whereabouts,
      sink: this.sink,
      transport: new MemoryTransport(network, this.source, clock),
      log: quiet,
      clock,
      random: options.random ?? (() => 0.5),
      ...(options.times ? { times: options.times } : {}),
      ...(options.limits ? { limits: options.limits } : {}),
    });
  }
}

export class MemoryWorld {
  readonly clock = new FakeClock(Math.floor(Date.now() / 1000) * 1000);
  readonly network = new MemoryNetwork();
  readonly whereabouts = new MemoryWhereabouts();
  readonly ca: TestCa;
  readonly options: WorldOptions;
  readonly nodes: TestNode[] = [];

  constructor(ca: TestCa, options: WorldOptions = {}) {
    this.ca = ca;
    this.options = options;
  }

  /** @param accounts that run on it */
  async add(name: string, accounts: readonly string[]): Promise<TestNode> {
    const svids = await Promise.all(accounts.map((each) => this.ca.issue(idOf(each))));
    for (const each of accounts) this.whereabouts.put(name, account(each));
    const source = new MemorySource(this.ca.bundle, await this.ca.issue(nodeIdOf(name)), svids);
    const node = new TestNode(this, name, source);
    this.nodes.push(node);
    return node;
  }

  /** The same node in another world: its certificates are made once. */
  adopt(node: TestNode | undefined): TestNode {
    if (node === undefined) throw new Error('there is no such node');
    const { bundle, node: own, workloads } = node.source;
    if (bundle === undefined || own === undefined) throw new Error(`${node.name} has no certificate`);
    for (const spiffeId of workloads.keys()) this.whereabouts.put(node.name, account(spiffeId.split('/').at(-1) ?? ''));
    const same = new TestNode(this, node.name, new MemorySource(bundle, own, [...workloads.values()]));
    this.nodes.push(same);
    return same;
  }

  async start(): Promise<void> {
    for (const node of this.nodes) await node.sessions.start();
    this.introduce();
  }

  introduce(): void {
    for (const node of this.nodes) node.sessions.setPeers(this.nodes.map(({ peer }) => peer));
  }

  /** Until nothing more happens without time passing. */
  async quiesce(): Promise<void> {
    let before = -1;
    for (let still = 0; still < 5; ) {
      await settle();
      const now = this.network.sent.length;
      still = now === before ? still + 1 : 0;
      before = now;
    }
  }

  /** Time in which there is time enough for everything. */
  async pass(ms: number): Promise<void> {
    await this.quiesce();
    for (let left = ms; left > 0; left -= PASS_STEP_MS) {
      await this.clock.advance(Math.min(left, PASS_STEP_MS));
      await this.quiesce();
    }
  }

  async close(): Promise<void> {
    this.network.isPrompt = true;
    for (const node of this.nodes) await node.sessions.close();
  }
}

export function need(node: string, ours: readonly string[], theirs: readonly string[]): Need {
  const refs = (names: readonly string[]): ServiceAccountRef[] => names.map(account);
  return { node, ours: refs(ours), theirs: refs(theirs) };
}
