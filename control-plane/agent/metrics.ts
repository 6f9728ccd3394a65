/** Prometheus metrics. Labels are from closed sets only, so the number of series does not grow with traffic. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Flow } from '../observe/flow.ts';
import { typeText } from '../observe/format.ts';
import type { HttpRecord } from '../observe/http-flow.ts';
import type { SecureNumbers } from './secure-plane.ts';
import type { AgentStatus } from './view.ts';

const DNS_OUTCOMES = ['queries', 'refused', 'answers', 'learned', 'unlearned', 'unreadable'] as const;

export class AgentMetrics {
  readonly registry = new Registry();
  readonly #flows: Counter<'verdict' | 'type'>;

  /**
   * Both are asked at each scrape.
   * @param secure undefined while nothing asks for authentication
   */
  constructor(version: string, status: () => AgentStatus, secure: () => SecureNumbers | undefined) {
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
    const gauge = gaugesOf(registers, status);
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
    gauge('sidestep_dns_messages_total', 'DNS messages put aside, by what became of them.', ['outcome'], (g, s) => {
      for (const outcome of DNS_OUTCOMES) g.set({ outcome }, s.names[outcome]);
    });
    gauge('sidestep_dns_names', 'Names that stand for addresses.', [], (g, s) => g.set(s.names.names));
    gauge('sidestep_bypass', '1 while enforcement is switched off somewhere.', [], (g, s) =>
      g.set(s.bypass.all || s.bypass.namespaces.length > 0 ? 1 : 0),
    );
    authenticationMetrics(registers, secure);
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

type Collect<L extends string, S> = (gauge: Gauge<L>, now: S) => void;

/** Makes metrics of what `ask` says at each scrape; of nothing while it says nothing. */
function gaugesOf<S>(registers: Registry[], ask: () => S | undefined) {
  return <L extends string>(name: string, help: string, labelNames: readonly L[], collect: Collect<L, S>): void => {
    new Gauge<L>({
      name,
      help,
      labelNames,
      registers,
      collect() {
        const now = ask();
        this.reset();
        if (now !== undefined) collect(this, now);
        // Without labels a reset one says 0, which would be a statement.
        else if (labelNames.length === 0) this.remove();
      },
    });
  };
}

/** Outcomes are codes of docs/reference/errors.md: a closed set. Since the agent started, but for what the tunnel is now. */
function authenticationMetrics(registers: Registry[], secure: () => SecureNumbers | undefined): void {
  const gauge = gaugesOf(registers, secure);
  gauge('sidestep_handshakes_total', 'Sessions with other nodes, by outcome: ok or why not.', ['outcome'], (g, s) => {
    g.set({ outcome: 'ok' }, s.sessions.handshakes.ok);
    for (const [outcome, count] of s.sessions.handshakes.failed) g.set({ outcome }, count);
  });
  gauge(
    'sidestep_proofs_total',
    'Proofs of identities, by outcome: made, verified or why not.',
    ['outcome'],
    (g, s) => {
      g.set({ outcome: 'made' }, s.sessions.proofs.made);
      g.set({ outcome: 'verified' }, s.sessions.proofs.verified);
      for (const [outcome, count] of s.sessions.proofs.failed) g.set({ outcome }, count);
    },
  );
  const latencies = [
    ['handshake', 'Of a session, until both ends have the key of the tunnel', 'handshakeLatency'],
    ['pair', 'Of a pair that a packet waited for, until both are proven', 'demandLatency'],
  ] as const;
  for (const [what, help, key] of latencies) {
    gauge(`sidestep_${what}_seconds_sum`, `${help}: all of them together.`, [], (g, s) =>
      g.set(s.sessions[key].sum / 1000),
    );
    gauge(`sidestep_${what}_seconds_count`, `${help}: how many.`, [], (g, s) => g.set(s.sessions[key].count));
  }
  gauge('sidestep_held_packets_total', 'Packets that waited for a proof, by outcome.', ['outcome'], (g, s) => {
    for (const outcome of ['released', 'unproven', 'overflowed'] as const) g.set({ outcome }, s.held[outcome]);
  });
  gauge('sidestep_held_packets', 'Packets that wait for a proof now.', [], (g, s) => g.set(s.held.waiting));
  gauge('sidestep_certificate_expiry_timestamp_seconds', 'When the first of our certificates ends.', [], (g, s) => {
    if (s.soonestExpiry === undefined) g.remove();
    else g.set(s.soonestExpiry / 1000);
  });
  gauge('sidestep_tunnel_up', '1 while the tunnel between the nodes is up.', [], (g, s) => g.set(s.tunnelUp ? 1 : 0));
}
