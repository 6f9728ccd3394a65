/**
 * In the namespace of a node: one CIDR group of many entries, from its text to the last write into the kernel's tables, which are made
 * large enough for it. `ranges.ts COUNT INSTANCE`; prints one JSON object.
 */
import { parseManifests } from '../../../control-plane/api/manifests.ts';
import { openKernel } from '../../../control-plane/datapath/addon.ts';
import { Datapath } from '../../../control-plane/datapath/datapath.ts';
import { findObject, loadDatapath } from '../../../control-plane/datapath/load.ts';
import { pinsOf } from '../../../control-plane/datapath/pins.ts';
import { Numbers } from '../../../control-plane/identity/numbers.ts';
import { Compiler } from '../../../control-plane/policy/compile.ts';
import { Inventory } from '../../../control-plane/sources/inventory.ts';

export interface RangesResult {
  readonly parseMs: number;
  readonly compileMs: number;
  readonly writeMs: number;
  readonly writes: number;
  /** The same once more, unchanged. */
  readonly againMs: number;
  readonly rssMb: number;
}

const [countText = '', instance = ''] = process.argv.slice(2);
const count = Number(countText);
/** Of what is there beside the group. */
const ROOM = 131_072;

function manifests(): string {
  const entries = Array.from(
    { length: count },
    (_, i) => `    - 10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}/32`,
  );
  return `apiVersion: cilium.io/v2alpha1
kind: CiliumCIDRGroup
metadata: { name: big }
spec:
  externalCIDRs:
${entries.join('\n')}
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web }, annotations: { "sidestep.dev/netns": "/run/netns/none" } }
spec: { nodeName: here }
status: { podIPs: [{ ip: 10.99.0.1 }] }
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: to-big, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: web } }
  egress:
  - toCIDRSet: [{ cidrGroupRef: big }]
    toPorts: [{ ports: [{ port: "443", protocol: TCP }] }]
`;
}

const kernel = openKernel();
const pins = pinsOf('/sys/fs/bpf', instance);
const features = kernel.features();
const sizes = {
  flows: 65_536,
  policyEntries: count + ROOM,
  ipcache: count + ROOM,
  prefixes: count + ROOM,
  endpoints: 4096,
  flowQuota: 65_536,
  ringBytes: 1 << 20,
};
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
const compiler = new Compiler(new Numbers(undefined), { nodeName: 'here', podRanges: [] });
const inventory = new Inventory();
const text = manifests();

function timed<T>(of: () => T): { readonly ms: number; readonly value: T } {
  const began = performance.now();
  const value = of();
  return { ms: performance.now() - began, value };
}

const parsed = timed(() => inventory.set('all.yaml', parseManifests(text, 'all.yaml')));
const compiled = timed(() => compiler.compile(inventory.objects()));
const written = timed(() => datapath.apply(compiled.value));
if (written.value.writes < 2 * count) throw new Error(`only ${written.value.writes} writes`);
const again = timed(() => datapath.apply(compiler.compile(inventory.objects())));
const result: RangesResult = {
  parseMs: parsed.ms,
  compileMs: compiled.ms,
  writeMs: written.ms,
  writes: written.value.writes,
  againMs: again.ms,
  rssMb: process.resourceUsage().maxRSS / 1024,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
object.close();
