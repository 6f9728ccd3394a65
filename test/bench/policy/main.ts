/**
 * make bench-policy: what policy costs by the size of the cluster, on a node with 100 pods: from decoded objects to the last write
 * into the kernel's tables, and what one event costs then; and what one CIDR group of many entries costs. EVENTS (200) of each kind;
 * SIZES of 1 (1/8,1/4,1/2,1); RANGES (100,000 and 1,000,000).
 */
import { join } from 'node:path';
import { inside } from '../../../control-plane/demo/namespaces.ts';
import { run } from '../../../control-plane/demo/process.ts';
import { removeInstance } from '../../lib/system.ts';
import { TEST_PREFIX, Topology } from '../../lib/topology.ts';
import type { EventCost, ScaleResult } from './measure.ts';
import type { RangesResult } from './ranges.ts';

const FULL = { policies: 5_000, pods: 50_000, identities: 2_000 };
const OWN_PODS = 100;
const parts = (process.env['SIZES'] ?? '0.125,0.25,0.5,1').split(',').map(Number);
const ranges = (process.env['RANGES'] ?? '100000,1000000').split(',').map(Number);
const events = process.env['EVENTS'] ?? '200';

await using topology = await Topology.create('scale');
const own = [];
for (let i = 0; i < OWN_PODS; i++) {
  const pod = await topology.workload(`w${i}`, 'routed');
  own.push({ netns: `/run/netns/${pod.namespace}`, addresses: [pod.ipv4, pod.ipv6] });
}

function row(what: string, cost: EventCost, target: number): string {
  const figure = (n: number): string => n.toFixed(2).padStart(8);
  return `  ${what.padEnd(24)} p50 ${figure(cost.p50)} ms  p99 ${figure(cost.p99)} ms (target ${target})  compiler ${figure(cost.compileP50)} ms  at most ${cost.writes} map writes`;
}

for (const part of parts) {
  const size = Object.fromEntries(Object.entries(FULL).map(([key, count]) => [key, Math.round(count * part)]));
  const instance = `${TEST_PREFIX}-${process.pid}-scale`;
  const script = join(import.meta.dirname, 'measure.ts');
  const command = [process.execPath, script, JSON.stringify(size), JSON.stringify(own), events, instance];
  const { stdout } = await run('nsenter', inside(topology.node.namespace, command), { timeoutMs: 170_000 });
  await removeInstance(instance);
  const result = JSON.parse(stdout) as ScaleResult;
  process.stdout.write(
    [
      `${result.policies} policies, ${result.pods} pods, ${result.identities} identities, ${OWN_PODS} of the pods here:`,
      `  everything, at first     ${(result.firstMs / 1000).toFixed(2)} s (target 5), ${result.firstWrites} map writes, ${Math.round(result.rssMb)} MB at most`,
      row('a pod with known labels', result.knownLabels, 5),
      row('a pod of a new identity', result.newIdentity, 20),
      row('an edit of a policy', result.edit, 50),
      '',
    ].join('\n'),
  );
}

for (const count of ranges.filter((each) => each > 0)) {
  const instance = `${TEST_PREFIX}-${process.pid}-ranges`;
  const script = join(import.meta.dirname, 'ranges.ts');
  const command = [process.execPath, '--max-old-space-size=8192', script, String(count), instance];
  const { stdout } = await run('nsenter', inside(topology.node.namespace, command), { timeoutMs: 170_000 });
  await removeInstance(instance);
  const { parseMs, compileMs, writeMs, writes, againMs, rssMb } = JSON.parse(stdout) as RangesResult;
  const seconds = (ms: number): string => (ms / 1000).toFixed(2);
  process.stdout.write(
    `one CIDR group of ${count} entries: read ${seconds(parseMs)} s, compiled ${seconds(compileMs)} s, ${writes} map writes ${seconds(writeMs)} s; unchanged ${againMs.toFixed(0)} ms; ${Math.round(rssMb)} MB at most\n`,
  );
}
