/** Bytes through the tunnel: Sidestep's beside the bare implementation's, in turns. */
import { inside } from '../../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../../control-plane/demo/process.ts';
import type { Host } from '../../lib/topology.ts';
import { type Paired, paired } from '../statistics.ts';
import { program } from '../tool.ts';

const PORT = 9400;
/** What is on its way when the sender stops. */
const TAIL_SECONDS = 0.3;

export interface Ends {
  readonly client: Host;
  readonly server: Host;
}

export interface BulkPlan {
  readonly rounds: number;
  readonly seconds: number;
}

/** Bytes a second over all streams. */
export async function bulk({ client, server }: Ends, streams: number, seconds: number): Promise<number> {
  const load = await program();
  const ports = Array.from({ length: streams }, (_, i) => String(PORT + i));
  const receivers = await Promise.all(
    ports.map(async (port) => {
      const child = Child.start(
        'nsenter',
        inside(server.namespace, [load, 'drain', port, String(seconds + TAIL_SECONDS)]),
      );
      await child.waitForLine((line) => line.includes('"ready"'));
      return child;
    }),
  );
  await Promise.all(
    ports.map((port) =>
      run('nsenter', inside(client.namespace, [load, 'bulk', server.ipv4, port, String(seconds)]), {
        timeoutMs: 60_000,
      }),
    ),
  );
  let sum = 0;
  for (const receiver of receivers) {
    await receiver.exited;
    const { bytes, seconds: taken } = JSON.parse(receiver.lines.at(-1) ?? '{}') as { bytes: number; seconds: number };
    sum += bytes / taken;
  }
  return sum;
}

export interface Throughput {
  readonly streams: number;
  /** Sidestep's beside the bare one between pods of the same kind. */
  readonly rate: Paired;
}

export interface Variants {
  readonly sidestep: Ends;
  readonly bare: Ends;
}

export async function throughput(variants: Variants, streams: number, plan: BulkPlan): Promise<Throughput> {
  const { rounds, seconds } = plan;
  const [bare, sidestep]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++)
    for (const name of round % 2 === 0 ? (['bare', 'sidestep'] as const) : (['sidestep', 'bare'] as const))
      (name === 'bare' ? bare : sidestep).push((await bulk(variants[name], streams, seconds)) / 1e6);
  return { streams, rate: paired(`tunnel throughput, ${streams} TCP`, 'MB/s', bare, sidestep) };
}
