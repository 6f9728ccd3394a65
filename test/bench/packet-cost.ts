/** What one established packet costs in a hook, in units of a program that does nothing: interleaved, one run. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deleteNamespace } from '../../control-plane/demo/namespaces.ts';
import { HERE, Lab, OPEN } from '../bpf/lab.ts';
import { ACK, frame, SYN, TCP } from '../bpf/packets.ts';
import { createScene, runInScene } from '../bpf/tunnel-scene.ts';
import { TEST_PREFIX } from '../lib/topology.ts';
import { median } from './statistics.ts';
import type { Cost, Plan } from './tunnel-cost.ts';

const ROUNDS = 15;
const REPEAT = 1_000_000;

export interface PacketCost {
  readonly name: string;
  readonly nanoseconds: number;
  readonly ratio: number;
}

export async function measurePacketCost(root: string): Promise<PacketCost[]> {
  mkdirSync(join(root, 'build'), { recursive: true });
  const object = join(root, 'build/null.bpf.o');
  execFileSync('clang-19', [
    '-O2',
    '-g',
    '-target',
    'bpf',
    '-mcpu=v3',
    '-I/usr/include/x86_64-linux-gnu',
    '-c',
    join(root, 'test/bench/null.bpf.c'),
    '-o',
    object,
  ]);
  using lab = new Lab();
  const nullObject = lab.kernel.loadObject(readFileSync(object));
  const nothing = nullObject.program('null');
  lab.install([OPEN]);
  lab.endpoint({ ifindex: HERE, identity: 500, addresses: ['10.0.0.1', 'fd00::1'] });
  const cases: { name: string; run: () => number }[] = [];
  for (const [family, me, far] of [
    ['IPv4', '10.0.0.1', '192.0.2.9'],
    ['IPv6', 'fd00::1', '2001:db8::9'],
  ] as const) {
    const out = { source: me, destination: far, protocol: TCP, sourcePort: 40000, destinationPort: 80 };
    const back = { source: far, destination: me, protocol: TCP, sourcePort: 80, destinationPort: 40000 };
    lab.send({ ...out, tcpFlags: SYN });
    lab.deliver({ ...back, tcpFlags: SYN | ACK });
    const sent = frame({ ...out, tcpFlags: ACK, payload: new Uint8Array(64) });
    const received = frame({ ...back, tcpFlags: ACK, payload: new Uint8Array(64) });
    cases.push(
      {
        name: `from_workload, ${family}`,
        run: () => lab.object.program('from_workload').testRun(sent, { repeat: REPEAT }).durationNs,
      },
      {
        name: `to_workload, ${family}`,
        run: () =>
          lab.object.program('to_workload').testRun(received, { repeat: REPEAT, ingressIfindex: 99 }).durationNs,
      },
    );
  }
  const packet = frame({
    source: '10.0.0.1',
    destination: '192.0.2.9',
    protocol: TCP,
    tcpFlags: ACK,
    payload: new Uint8Array(64),
  });
  const baseline: number[] = [];
  const measured = cases.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    baseline.push(nothing.testRun(packet, { repeat: REPEAT }).durationNs);
    for (const [i, { run }] of cases.entries()) measured[i]?.push(run());
  }
  nullObject.close();
  const base = median(baseline);
  return [
    { name: 'null program', nanoseconds: base, ratio: 1 },
    ...cases.map(({ name }, i) => ({
      name,
      nanoseconds: median(measured[i] ?? []),
      ratio: median((measured[i] ?? []).map((ns, j) => ns / (baseline[j] ?? base))),
    })),
    ...(await tunnelCost(object)),
  ];
}

/** Of the program that lets nothing decrypted leave again; once for each packet, or as many as came as one segment. */
async function tunnelCost(object: string): Promise<PacketCost[]> {
  const namespace = `${TEST_PREFIX}-${process.pid}-cost`;
  try {
    await createScene(namespace);
    const plan: Plan = { object, rounds: ROUNDS, repeat: REPEAT };
    const costs = await runInScene<Cost[]>(namespace, join(import.meta.dirname, 'tunnel-cost.ts'), plan);
    return costs.map(({ name, nothing, program }) => ({
      name: `leave_tunnel, ${name}`,
      nanoseconds: median(program),
      ratio: median(program.map((ns, i) => ns / (nothing[i] ?? 1))),
    }));
  } finally {
    await deleteNamespace(namespace);
  }
}
