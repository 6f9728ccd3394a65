/** Prometheus metrics. Labels are from closed sets only, so the number of series does not grow with traffic. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Flow } from '../observe/flow.ts';
import { typeText } from '../observe/format.ts';
import type { HttpRecord } from '../observe/http-flow.ts';
import type { AgentStatus } from './view.ts';

export class AgentMetrics {
  readonly registry = new Registry();
  readonly #flows: Counter<'verdict' | 'type'>;

  /** @param status asked at each scrape */
  constructor(version: string, status: () => AgentStatus) {
    const registers = [this.registry];
    this.#flows = new Counter({
      name: 'sidestep_flows_processed_total',
      help: 'Flow records made, by verdict and type.',
      labelNames: ['verdict', 'type'],
      registers,
    });
    new Gauge({
      name: 'sidestep_build_info',
      help: 'Always 1; the version is a label.',
      labelNames: ['version'],
      registers,
    }).set({ version }, 1);
    const gauge = <L extends string>(
      name: string,
      help: string,
      labelNames: readonly L[],
      collect: (gauge: Gauge<L>, now: AgentStatus) => void,
    ): void => {
      new Gauge<L>({
        name,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          collect(this, status());
        },
      });
    };
    // Counted by the kernel, read at each scrape: they go on over restarts of the agent.
    gauge('sidestep_drop_total', 'Packets dropped, by reason and direction.', ['reason', 'direction'], (g, s) => {
      for (const { reason, direction, packets } of s.drops) g.set({ reason, direction }, packets);
    });
    gauge('sidestep_forward_total', 'Packets passed.', [], (g, s) => g.set(s.forwarded.packets));
    gauge('sidestep_events_lost_total', 'Records lost, by the stage that lost them.', ['stage'], (g, s) => {
      g.set({ stage: 'ring' }, s.flows.lostInKernel);
      g.set({ stage: 'follower' }, s.flows.lostByFollowers);
    });
    gauge('sidestep_endpoints', 'Workloads on this node, by state.', ['state'], (g, s) => {
      for (const [state, count] of Object.entries(s.endpoints)) g.set({ state }, count);
    });
    gauge('sidestep_policies', 'Policy objects, by state.', ['state'], (g, s) => {
      for (const [state, count] of Object.entries(s.policies)) g.set({ state }, count);
    });
    gauge('sidestep_map_pressure', 'Used part of a kernel table, 0 to 1.', ['map'], (g, s) => {
      for (const { name, pressure } of s.maps) g.set({ map: name }, pressure);
    });
    gauge('sidestep_map_writes_total', 'Writes into kernel tables since the agent started.', [], (g, s) =>
      g.set(s.writes.total),
    );
    gauge('sidestep_policy_revision', 'Revision in the kernel.', [], (g, s) => g.set(s.revision.kernel));
    gauge('sidestep_bypass', '1 while enforcement is switched off somewhere.', [], (g, s) =>
      g.set(s.bypass.all || s.bypass.namespaces.length > 0 ? 1 : 0),
    );
  }

  count(flow: Flow): void {
    this.#count(flow.verdict, typeText(flow).split(/[: ]/)[0] ?? '');
  }

  countHttp({ verdict, count }: HttpRecord): void {
    this.#count(verdict, 'http-request');
    if (count === 2) this.#count(verdict, 'http-response');
  }

  #count(verdict: Flow['verdict'], type: string): void {
    this.#flows.inc({ verdict, type: verdict === 'DROPPED' ? 'drop' : type });
  }
}
