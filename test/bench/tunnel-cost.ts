/**
 * What one packet costs at the ingress of the tunnel's device, beside a program that does nothing; run in the namespace of a
 * scene, as the program asks its routes. Reads {object, rounds, repeat}, prints Cost[].
 */
import { readFileSync } from 'node:fs';
import { Lab, OPEN } from '../bpf/lab.ts';
import { ACK, frame, TCP } from '../bpf/packets.ts';
import { POD, SCENE, TUNNEL } from '../bpf/tunnel-scene.ts';

export interface Plan {
  /** Of the program that does nothing. */
  readonly object: string;
  readonly rounds: number;
  readonly repeat: number;
}

/** Nanoseconds, round by round. */
export interface Cost {
  readonly name: string;
  readonly nothing: readonly number[];
  readonly program: readonly number[];
}

const { object, rounds, repeat } = JSON.parse(process.argv[2] ?? '') as Plan;
using lab = new Lab();
const nullObject = lab.kernel.loadObject(readFileSync(object));
const [nothing, program] = [nullObject.program('null'), lab.object.program('leave_tunnel')];
lab.install([OPEN]);
const costs = (
  [
    ['IPv4', SCENE.v4],
    ['IPv6', SCENE.v6],
  ] as const
).map(([name, { sender, pod }]) => {
  lab.endpoint({ ifindex: POD, identity: 500, addresses: [pod] });
  const packet = frame({ source: sender, destination: pod, protocol: TCP, tcpFlags: ACK, payload: new Uint8Array(64) });
  const cost = (of: typeof program): number => of.testRun(packet, { ifindex: TUNNEL, repeat }).durationNs;
  const pairs = Array.from({ length: rounds }, () => [cost(nothing), cost(program)] as const);
  return { name, nothing: pairs.map(([ns]) => ns), program: pairs.map(([, ns]) => ns) } satisfies Cost;
});
nullObject.close();
console.log(JSON.stringify(costs));
