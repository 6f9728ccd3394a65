/**
 * In the namespace of a node: objects to the last write into the kernel, for one size of cluster. `measure.ts SIZE OWN EVENTS`, JSON
 * each; prints one JSON object.
 */
import { openKernel } from '../../../control-plane/datapath/addon.ts';
import { Datapath } from '../../../control-plane/datapath/datapath.ts';
import { findObject, loadDatapath } from '../../../control-plane/datapath/load.ts';
import { pinsOf } from '../../../control-plane/datapath/pins.ts';
import { Numbers } from '../../../control-plane/identity/numbers.ts';
import type { ObjectSet } from '../../../control-plane/model/objects.ts';
import { Compiler } from '../../../control-plane/policy/compile.ts';
import { percentile } from '../statistics.ts';
import { type ClusterSize, clusterOf, NODE, type OwnPod, podOf, policyOf } from './objects.ts';

export interface EventCost {
  /** Milliseconds, from the objects to the last write. */
  readonly p50: number;
  readonly p99: number;
  /** Of those, the compiler's. */
  readonly compileP50: number;
  /** Into kernel tables, of the event that made most. */
  readonly writes: number;
}

export interface ScaleResult extends ClusterSize {
  readonly firstMs: number;
  readonly firstWrites: number;
  readonly rssMb: number;
  readonly knownLabels: EventCost;
  readonly newIdentity: EventCost;
  readonly edit: EventCost;
}

const [sizeText = '', ownText = '', eventsText = '', instance = ''] = process.argv.slice(2);
const size = JSON.parse(sizeText) as ClusterSize;
const own = JSON.parse(ownText) as readonly OwnPod[];
const events = Number(eventsText);

const kernel = openKernel();
const pins = pinsOf('/sys/fs/bpf', instance);
const sizes = {
  flows: 65_536,
  policyEntries: 1 << 20,
  ipcache: 131_072,
  prefixes: 65_536,
  endpoints: 4096,
  flowQuota: 65_536,
  ringBytes: 1 << 20,
};
const features = kernel.features();
const { object } = loadDatapath(
  kernel,
  findObject(`${import.meta.dirname}/../../../control-plane/datapath`),
  pins,
  sizes,
  features.coarseClock,
);
const datapath = new Datapath(kernel, object, pins, {
  attach: features.tcx ? 'tcx' : 'clsact',
  flowQuota: sizes.flowQuota,
  encryptPods: false,
});
const compiler = new Compiler(new Numbers(undefined), { nodeName: NODE, podRanges: [] });

interface Step {
  readonly ms: number;
  readonly compileMs: number;
  readonly writes: number;
}

function take(objects: ObjectSet): Step {
  const began = performance.now();
  const snapshot = compiler.compile(objects);
  const compiled = performance.now();
  const { writes } = datapath.apply(snapshot);
  const applied = performance.now();
  datapath.sweepTables();
  return { ms: applied - began, compileMs: compiled - began, writes };
}

let objects = clusterOf(size, own);
const first = take(objects);
const broken = datapath.endpoints.filter(({ state }) => state !== 'ready');
if (broken.length > 0 || datapath.endpoints.length !== own.length)
  throw new Error(`${broken.length} of ${datapath.endpoints.length} endpoints are not ready: ${broken[0]?.message}`);

function repeat(change: (objects: ObjectSet, i: number) => ObjectSet): EventCost {
  const steps = [...Array(events).keys()].map((i) => {
    objects = change(objects, i);
    return take(objects);
  });
  // The first ones warm up what only these events use.
  const warm = steps.slice(Math.min(20, events / 4));
  const of = (key: 'ms' | 'compileMs', p: number): number =>
    percentile(
      warm.map((step) => step[key]),
      p,
    );
  return {
    p50: of('ms', 0.5),
    p99: of('ms', 0.99),
    compileP50: of('compileMs', 0.5),
    writes: Math.max(...warm.map(({ writes }) => writes)),
  };
}

const knownLabels = repeat((before, i) => ({
  ...before,
  pods: [...before.pods, podOf(size.pods + i, (i * 31) % size.identities)],
}));
const newIdentity = repeat((before, i) => ({
  ...before,
  pods: [...before.pods, podOf(size.pods + events + i, (i * 31) % size.identities, undefined, [['release', `${i}`]])],
}));
const edit = repeat((before, i) => ({
  ...before,
  policies: before.policies.with((i * 17) % size.policies, policyOf((i * 17) % size.policies, size.identities, i + 1)),
}));
const result: ScaleResult = {
  ...size,
  firstMs: first.ms,
  firstWrites: first.writes,
  rssMb: process.resourceUsage().maxRSS / 1024,
  knownLabels,
  newIdentity,
  edit,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
object.close();
