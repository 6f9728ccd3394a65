/** What came out of the tunnel, packet by packet: it reaches a pod of this node, or this node, and goes nowhere else. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deleteNamespace } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import { TEST_PREFIX } from '../lib/topology.ts';
import { ETH_P_ARP, frame, type PacketSpec, UDP } from './packets.ts';
import { BRIDGE, createScene, POD, PORT, runScenes, SCENE, type Scene, type Verdict } from './tunnel-scene.ts';

const NAMESPACE = `${TEST_PREFIX}-${process.pid}-astray`;
const PASSED: Verdict = { passed: true, astray: 0 };
const ASTRAY: Verdict = { passed: false, astray: 1 };
/** Not even looked at. */
const BROKEN: Verdict = { passed: false, astray: 0 };

beforeAll(() => createScene(NAMESPACE));
afterAll(() => deleteNamespace(NAMESPACE));

describe.each([
  ['v4', '-4'],
  ['v6', '-6'],
] as const)('%s', (family, option) => {
  const at = SCENE[family];
  const packet = (destination: string, more: Partial<PacketSpec> = {}): Uint8Array =>
    frame({ source: at.sender, destination, protocol: UDP, sourcePort: 40_000, destinationPort: 80, ...more });
  const remote = [
    { address: at.sender, identity: 600, node: 7 },
    { address: at.elsewhere, identity: 601, node: 8 },
  ];
  const pods = [
    { ifindex: POD, addresses: [at.pod] },
    { ifindex: PORT, addresses: [at.bridged], master: BRIDGE },
  ];
  const scene = (bytes: Uint8Array, tables: Partial<Scene> = {}): Scene => ({
    pods,
    remote,
    own: [at.node],
    packet: Buffer.from(bytes).toString('hex'),
    ...tables,
  });

  const cases: readonly (readonly [string, Scene, Verdict])[] = [
    ['to a pod of this node, by its own interface', scene(packet(at.pod)), PASSED],
    ['to one that is a port of a bridge, by the bridge', scene(packet(at.bridged)), PASSED],
    ['to one that is not in force yet, by an interface of this node', scene(packet(at.unknown)), PASSED],
    [
      'to a pod, larger than its interface takes: for the kernel to answer',
      scene(packet(at.pod, { payload: new Uint8Array(1400) })),
      PASSED,
    ],
    ['to this node itself', scene(packet(at.node)), PASSED],
    ['to a pod of another node', scene(packet(at.elsewhere)), ASTRAY],
    ['to an address nobody told us about, where the sender is', scene(packet(at.unheardOf)), ASTRAY],
    ['to an address nobody told us about, by the gateway of another link', scene(packet(at.world)), ASTRAY],
    ['to what has no way, of which an error would speak', scene(packet(at.refused)), ASTRAY],
    [
      'to a pod that has moved on, of which the tables do not know yet',
      scene(packet(at.elsewhere), { pods: [{ ifindex: POD, addresses: [at.elsewhere] }] }),
      ASTRAY,
    ],
    [
      'to a pod that has another interface by the tables than by the routes',
      scene(packet(at.pod), { pods: [{ ifindex: PORT, addresses: [at.pod], master: BRIDGE }] }),
      ASTRAY,
    ],
    [
      'to a pod that is on another node by now, whose interface is still here',
      scene(packet(at.pod), { pods: [], remote: [...remote, { address: at.pod, identity: 601, node: 8 }] }),
      ASTRAY,
    ],
    ['what is no IP', scene(packet(at.pod, { ethertype: ETH_P_ARP })), BROKEN],
  ];
  let verdicts: readonly Verdict[] = [];
  beforeAll(async () => {
    verdicts = await runScenes(
      NAMESPACE,
      cases.map(([, each]) => each),
    );
  });

  test.each(cases.map(([name, , verdict], i) => [name, verdict, i] as const))('%s', (_, verdict, i) => {
    expect(verdicts[i]).toEqual(verdict);
  });

  test('the rules of routing count, too', async () => {
    const rule = async (action: string): Promise<void> => {
      await run('ip', ['-n', NAMESPACE, option, 'rule', action, 'iif', 'tunnel', 'priority', '1', 'prohibit']);
    };
    await rule('add');
    expect(await runScenes(NAMESPACE, [scene(packet(at.pod))])).toEqual([ASTRAY]);
    await rule('del');
    expect(await runScenes(NAMESPACE, [scene(packet(at.pod))])).toEqual([PASSED]);
  });
});
