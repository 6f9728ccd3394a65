/** A node as the program at its tunnel's device sees it: interfaces, routes, and what the tables say of the addresses. */
import { join } from 'node:path';
import { createNamespace, inside, ipBatch, setSysctls } from '../../control-plane/demo/namespaces.ts';
import { run } from '../../control-plane/demo/process.ts';
import type { LabEndpoint } from './lab.ts';

export const POD = 20;
export const BRIDGE = 21;
/** A port of the bridge. */
export const PORT = 22;
/** Towards the other nodes, and towards the rest of the world. */
const UPLINK = 23;
const OUTSIDE = 24;
export const TUNNEL = 25;
const SMALL_MTU = 1280;

export const SCENE = {
  v4: {
    sender: '10.72.0.9',
    pod: '10.71.0.10',
    bridged: '10.71.1.10',
    unknown: '10.71.0.11',
    elsewhere: '10.72.0.12',
    unheardOf: '10.72.0.13',
    world: '203.0.113.5',
    node: '198.51.100.1',
    refused: '10.79.0.1',
  },
  v6: {
    sender: 'fd72::9',
    pod: 'fd71::10',
    bridged: 'fd71:1::10',
    unknown: 'fd71::11',
    elsewhere: 'fd72::12',
    unheardOf: 'fd72::13',
    world: '2001:db8:9::5',
    node: '2001:db8:51::1',
    refused: 'fd79::1',
  },
} as const;

export interface Scene {
  readonly pods: readonly Pick<LabEndpoint, 'ifindex' | 'addresses' | 'master'>[];
  readonly remote: readonly { readonly address: string; readonly identity: number; readonly node: number }[];
  /** Addresses of this node itself. */
  readonly own: readonly string[];
  /** In hexadecimal. */
  readonly packet: string;
}

export interface Verdict {
  readonly passed: boolean;
  /** Added to the statistic. */
  readonly astray: number;
}

/** The interfaces and routes of it. */
export async function createScene(namespace: string): Promise<void> {
  await createNamespace(namespace);
  await setSysctls(namespace, { 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  const devices = Object.entries({ pod: POD, port: PORT, uplink: UPLINK, outside: OUTSIDE, tunnel: TUNNEL });
  const { v4, v6 } = SCENE;
  await ipBatch(namespace, [
    `link add bridge index ${BRIDGE} up type bridge`,
    ...devices.flatMap(([name, index]) => [
      `link add ${name} index ${index} type veth peer name ${name}-end`,
      `link set ${name}-end up`,
      `link set ${name} up`,
    ]),
    'link set port master bridge',
    `link set pod mtu ${SMALL_MTU}`,
    `addr add ${v4.node}/24 dev uplink`,
    `addr add ${v6.node}/64 dev uplink nodad`,
    'addr add 192.0.2.1/24 dev outside',
    'addr add 2001:db8:2::1/64 dev outside nodad',
    `route add ${v4.pod}/32 dev pod`,
    `route add ${v6.pod}/128 dev pod`,
    `route add ${v4.unknown}/32 dev pod`,
    `route add ${v6.unknown}/128 dev pod`,
    'route add 10.71.1.0/24 dev bridge',
    'route add fd71:1::/64 dev bridge',
    // One with a gateway, one without: as nodes on one link do it, and as those with an overlay do.
    'route add 10.72.0.0/16 via 198.51.100.2',
    'route add fd72::/64 dev uplink',
    'route add default via 192.0.2.254',
    'route add default via 2001:db8:2::254',
    `route add unreachable ${v4.refused}/32`,
    `route add unreachable ${v6.refused}/128`,
    // With it the look-up goes on to the size.
    `neigh add ${v4.pod} lladdr 02:00:00:00:00:0a dev pod nud permanent`,
    `neigh add ${v6.pod} lladdr 02:00:00:00:00:0a dev pod nud permanent`,
  ]);
}

/** Runs a program of ours in that namespace. @param input its argument. @returns what it prints */
export async function runInScene<T>(namespace: string, script: string, input: unknown): Promise<T> {
  const command = [process.execPath, script, JSON.stringify(input)];
  return JSON.parse((await run('nsenter', inside(namespace, command))).stdout) as T;
}

/** What becomes of each scene's packet. */
export function runScenes(namespace: string, scenes: readonly Scene[]): Promise<readonly Verdict[]> {
  return runInScene(namespace, join(import.meta.dirname, 'tunnel-runs.ts'), scenes);
}
