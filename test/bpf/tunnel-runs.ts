/**
 * The program at the tunnel's device, run in the network namespace that this process was started in, whose routes it asks.
 * Reads Scene[] as its argument, prints what became of each packet.
 */
import { Lab, OPEN } from './lab.ts';
import { type Scene, TUNNEL, type Verdict } from './tunnel-scene.ts';

const PASSED = 0;

const scenes = JSON.parse(process.argv[2] ?? '[]') as Scene[];
// One for all: to load it takes longer than everything else.
using lab = new Lab();
lab.install([OPEN]);

function judge({ pods, remote, own, packet }: Scene): Verdict {
  for (const map of ['endpoints', 'endpoint_addresses', 'ipcache'].map((name) => lab.map(name))) {
    const { keys, count } = map.dump();
    if (count > 0) map.deleteBatch(keys, count);
  }
  for (const pod of pods) lab.endpoint({ identity: 500, ...pod });
  for (const { address, identity, node } of remote) lab.remote(address, identity, node);
  for (const address of own) lab.identity(address, 1, true);
  const before = lab.statistic('STATISTIC_TUNNEL_ASTRAY');
  const { returnValue } = lab.object.program('leave_tunnel').testRun(Buffer.from(packet, 'hex'), { ifindex: TUNNEL });
  return { passed: returnValue === PASSED, astray: lab.statistic('STATISTIC_TUNNEL_ASTRAY') - before };
}

console.log(JSON.stringify(scenes.map(judge)));
