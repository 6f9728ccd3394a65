/** The same two workloads twice, with Sidestep and without, side by side: what every comparison runs on. */

import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { admit } from '../lib/policies.ts';
import { System } from '../lib/system.ts';
import { Topology, type Workload } from '../lib/topology.ts';
import { program } from './tool.ts';

export const PORT = 9000;

export interface Variant {
  readonly client: Workload;
  readonly server: Workload;
}

export class Rig implements AsyncDisposable {
  readonly plain: Variant;
  readonly meshed: Variant;
  readonly system: System;
  readonly #topology: Topology;
  readonly #load: string;

  private constructor(topology: Topology, system: System, plain: Variant, meshed: Variant, load: string) {
    this.#topology = topology;
    this.system = system;
    this.plain = plain;
    this.meshed = meshed;
    this.#load = load;
  }

  static async create(): Promise<Rig> {
    const load = await program();
    const topology = await Topology.create('plain');
    const system = await System.create('meshed');
    const plain = {
      client: await topology.workload('client', 'routed'),
      server: await topology.workload('server', 'routed'),
    };
    const meshed = { client: await system.pod('client', 'routed'), server: await system.pod('server', 'routed') };
    // A policy on both ends: both halves of every flow are decided by rules, the dearest ordinary case.
    system.policy('ingress', admit('server', ['client']));
    system.policy('egress', {
      endpointSelector: { matchLabels: { app: 'client' } },
      egress: [{ toEndpoints: [{ matchLabels: { app: 'server' } }] }],
    });
    // Nobody follows: a reader of every flow would be measured, too.
    await system.agent.start();
    return new Rig(topology, system, plain, meshed, load);
  }

  /** Namespace of the node without Sidestep. */
  get plainNode(): string {
    return this.#topology.node.namespace;
  }

  /** Runs the load program in a workload, pinned, to its end; its last line is its result. */
  async load(where: Workload, core: number, args: readonly (string | number)[]): Promise<Record<string, number>> {
    const { stdout } = await run('nsenter', inside(where.namespace, this.#pinned(core, args)), { timeoutMs: 120_000 });
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, number>;
  }

  /** Starts the load program and waits until it listens. */
  async listen(where: Workload, core: number, args: readonly (string | number)[]): Promise<Child> {
    const child = Child.start('nsenter', inside(where.namespace, this.#pinned(core, args)));
    await child.waitForLine((line) => line.includes('"ready"'));
    return child;
  }

  #pinned(core: number, args: readonly (string | number)[]): string[] {
    return ['taskset', '-c', String(core), this.#load, ...args.map(String)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.system.remove();
    await this.#topology.remove();
  }
}

/** Segments leave one by one: no offload hides the cost of a packet. */
export async function offloadsOff({ client, server }: Variant, node: string): Promise<void> {
  const off = ['tso', 'off', 'gso', 'off', 'gro', 'off'];
  for (const [namespace, device] of [
    [client.namespace, 'eth0'],
    [server.namespace, 'eth0'],
    [node, client.nodeInterface],
    [node, server.nodeInterface],
  ] as const)
    await run('nsenter', inside(namespace, ['ethtool', '-K', device, ...off]));
}
