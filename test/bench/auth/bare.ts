/** The same nodes and pods with WireGuard between them and no Sidestep: what its tunnel is compared with. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { installedWireGuard } from '../../../control-plane/agent/installed.ts';
import { inside, ipBatch } from '../../../control-plane/demo/namespaces.ts';
import { Child } from '../../../control-plane/demo/process.ts';
import { controlSocket, deviceName } from '../../../control-plane/encryption/names.ts';
import { UapiClient } from '../../../control-plane/encryption/uapi-client.ts';
import { WIREGUARD_ENVIRONMENT } from '../../../control-plane/encryption/wireguard-process.ts';
import { Cluster, type ClusterNode } from '../../lib/cluster.ts';
import type { Ends } from './bulk.ts';

/** What the agent chooses on this link. */
const MTU = 1420;
const QUEUE = 1024;
const PORT = 51_872;
const ANSWER_MS = 2_000;

export interface Bare extends Ends {
  readonly cluster: Cluster;
}

export async function createBare(name: string): Promise<Bare> {
  const cluster = await Cluster.create(name, 2, () => []);
  const [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
  const [one, two] = await Promise.all([start(first), start(second)]);
  await join(one, two);
  await join(two, one);
  return { cluster, client: await cluster.pod('client', first), server: await cluster.pod('server', second) };
}

interface End {
  readonly node: ClusterNode;
  readonly device: string;
  readonly keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  readonly uapi: UapiClient;
}

/** Ends with the namespace. */
async function start(node: ClusterNode): Promise<End> {
  const device = deviceName('bwg', node.namespace);
  const variables = Object.entries(WIREGUARD_ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  const command = ['env', ...variables, installedWireGuard(), '-f', device];
  const child = Child.start('nsenter', inside(node.namespace, command));
  while (!existsSync(controlSocket(device))) {
    if (child.ended) throw new Error(`wireguard-go has ended: ${child.stderr}`);
    await sleep(10);
  }
  const uapi = new UapiClient(controlSocket(device), ANSWER_MS);
  return { node, device, keys: generateKeyPairSync('x25519'), uapi };
}

async function join({ node, device, keys, uapi }: End, other: End): Promise<void> {
  const { number } = other.node;
  await uapi.send(
    [
      'set=1',
      `private_key=${raw(keys.privateKey, 'pkcs8')}`,
      `listen_port=${PORT}`,
      `public_key=${raw(other.keys.publicKey, 'spki')}`,
      `endpoint=${other.node.address}:${PORT}`,
      `allowed_ip=10.7${number}.0.0/16`,
      '\n',
    ].join('\n'),
  );
  await ipBatch(node.namespace, [
    `link set ${device} up mtu ${MTU} txqueuelen ${QUEUE}`,
    `route replace 10.7${number}.0.0/16 dev ${device} src ${node.network.ipv4}`,
  ]);
}

/** The last 32 bytes of either format are the key itself (RFC 8410). */
function raw(key: KeyObject, type: 'pkcs8' | 'spki'): string {
  return key
    .export({ format: 'der', type } as { format: 'der'; type: 'spki' })
    .subarray(-32)
    .toString('hex');
}
