/** Names in tests: a DNS server in a pod, what names stand for in the world beyond the uplink, and clients that ask and connect. */
import { join } from 'node:path';
import { inside, ipBatch } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { ROOT } from './tools.ts';
import type { Host, Topology } from './topology.ts';
import { type Family, tcpEchoServer } from './traffic.ts';

/** nN.example.test stands for the N-th address of these. */
export const WORLD = { ipv4: '198.18', ipv6: '2001:db8:f' } as const;
const RANGES = [`${WORLD.ipv4}.0.0/16`, `${WORLD.ipv6}::/64`];
const TIMEOUT_MS = 1_500;

/** The far end has all these addresses, with a TCP server on a port. */
export async function namedWorld({ node, far }: Topology, port: number): Promise<void> {
  await ipBatch(
    far.namespace,
    RANGES.map((range) => `route add local ${range} dev lo`),
  );
  await ipBatch(node.namespace, [`route add ${RANGES[0]} via ${far.ipv4}`, `route add ${RANGES[1]} via ${far.ipv6}`]);
  await tcpEchoServer(far, port);
}

export interface Query {
  readonly from: string;
  readonly name: string;
  readonly type: string;
}

export class NamesServer {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static async start(host: Host): Promise<NamesServer> {
    const program = [process.execPath, join(ROOT, 'test/tools/names-server.ts'), WORLD.ipv4, WORLD.ipv6];
    const child = Child.start('nsenter', inside(host.namespace, program));
    await child.waitForLine((line) => line === 'listening');
    return new NamesServer(child);
  }

  /** All that came to it. */
  get queries(): readonly Query[] {
    return this.#child.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Query);
  }
}

export interface AskOptions {
  readonly family?: Family;
  readonly transport?: 'udp' | 'tcp';
  /** Connects there to what each name stands for; absent: only asks. */
  readonly port?: number;
}

/** @param names with {A..B} for many. @returns how often what came of it */
export async function askAndConnect(
  from: Host,
  server: Host,
  names: readonly string[],
  { family = 'ipv4', transport = 'udp', port = 0 }: AskOptions = {},
): Promise<Readonly<Record<string, number>>> {
  const program = [process.execPath, join(ROOT, 'test/tools/first-answers.ts')];
  const command = [...program, server[family], family, transport, String(port), String(TIMEOUT_MS), ...names];
  const { stdout } = await run('nsenter', inside(from.namespace, command), { timeoutMs: 120_000 });
  return JSON.parse(stdout) as Record<string, number>;
}
