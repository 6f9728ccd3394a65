/**
 * Who reaches whom: pods of two namespaces and two addresses of the world, each asked by each at three ports, as a matrix of
 * letters: `a` 80/TCP, `b` 81/TCP, `u` 53/UDP; `*` all of them, `-` none, `.` not asked.
 */
import { ipBatch } from '../../control-plane/demo/namespaces.ts';
import { checkPolicy } from '../../control-plane/policy/check.ts';
import { readOnce } from '../../control-plane/sources/files.ts';
import { NODE, System } from './system.ts';
import type { Host } from './topology.ts';
import { Asker, echoServers, type Family } from './traffic.ts';

const PORTS = [
  { letter: 'a', protocol: 'tcp', port: 80 },
  { letter: 'b', protocol: 'tcp', port: 81 },
  { letter: 'u', protocol: 'udp', port: 53 },
] as const;
const ALL = PORTS.map(({ letter }) => letter).join('');

/** namespace/app. */
const PODS = ['x/web', 'x/api', 'x/db', 'y/web', 'y/job'] as const;
/** In the order of rows and columns, with two of the world behind the pods. */
export const ENDS = [...PODS, 'w1', 'w2'] as const;
type EndName = (typeof ENDS)[number];
const NAMESPACES = { x: 'blue', y: 'red' } as const;
const WORLD = {
  w1: { ipv4: '198.18.1.1', ipv6: '2001:db8:f:1::1' },
  w2: { ipv4: '198.18.2.1', ipv6: '2001:db8:f:2::1' },
} as const;
const WORLD_RANGES = ['198.18.0.0/16', '2001:db8:f::/48'];

/** Rows ask, columns answer. */
export type Matrix = readonly (readonly string[])[];

/** Of a table: a row for each end, with its name in front; the first line says the columns. */
export function readMatrix(text: string): Matrix {
  const rows = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ +/));
  const [head, ...body] = rows;
  if (head?.join(' ') !== ENDS.join(' ') || body.map(([name]) => name).join(' ') !== ENDS.join(' '))
    throw new Error(`rows and columns are not ${ENDS.join(' ')}:\n${text}`);
  return body.map(([, ...cells]) => cells);
}

export function matrixText(matrix: Matrix): string {
  const line = (name: string, cells: readonly string[]): string =>
    [name, ...cells]
      .map((cell) => cell.padEnd(6))
      .join('')
      .trimEnd();
  return [line('', ENDS), ...matrix.map((cells, i) => line(ENDS[i] ?? '', cells))].join('\n');
}

function letters(answered: readonly boolean[]): string {
  const text = PORTS.flatMap(({ letter }, i) => (answered[i] ? [letter] : [])).join('');
  return text === ALL ? '*' : text === '' ? '-' : text;
}

const isWorld = (name: EndName): name is keyof typeof WORLD => name in WORLD;
const isAsked = (from: EndName, to: EndName): boolean => from !== to && !(isWorld(from) && isWorld(to));

export class Reachability {
  readonly system: System;
  readonly #hosts: ReadonlyMap<EndName, Host>;
  readonly #askers = new Map<string, Asker>();

  private constructor(system: System, hosts: ReadonlyMap<EndName, Host>) {
    this.system = system;
    this.#hosts = hosts;
  }

  static async create(name: string): Promise<Reachability> {
    const system = await System.create(name);
    const { topology, manifests } = system;
    const hosts = new Map<EndName, Host>();
    for (const [namespace, team] of Object.entries(NAMESPACES)) {
      const metadata = { name: namespace, labels: { team } };
      manifests.write(`ns-${namespace}.yaml`, JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata }));
    }
    for (const each of PODS) {
      const [namespace = '', app = ''] = each.split('/');
      const host = await topology.workload(`${namespace}${app}`, 'routed');
      hosts.set(each, host);
      manifests.write(`pod-${namespace}-${app}.yaml`, podManifest(namespace, app, host));
      await echoServers(
        host,
        PORTS.map(({ protocol, port }) => `${port}/${protocol}`),
      );
    }
    const { far, node } = topology;
    await ipBatch(
      far.namespace,
      Object.values(WORLD).flatMap(({ ipv4, ipv6 }) => [
        `addr add ${ipv4}/32 dev lo`,
        `addr add ${ipv6}/128 dev lo nodad`,
      ]),
    );
    await ipBatch(node.namespace, [
      `route add ${WORLD_RANGES[0]} via ${far.ipv4}`,
      `route add ${WORLD_RANGES[1]} via ${far.ipv6}`,
    ]);
    for (const [each, addresses] of Object.entries(WORLD))
      hosts.set(each as EndName, { ...far, ...addresses, name: each });
    const addresses = Object.values(WORLD).flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
    // An answer of a socket that has all addresses would come from another one.
    await echoServers(
      far,
      addresses.flatMap((address) => PORTS.map(({ protocol, port }) => `${port}/${protocol}@${address}`)),
    );
    await system.start();
    return new Reachability(system, hosts);
  }

  #host(name: EndName): Host {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`there is no ${name}`);
    return host;
  }

  #asker(name: EndName, family: Family): Asker {
    const key = `${name} ${family}`;
    const asker = this.#askers.get(key) ?? new Asker(this.#host(name));
    this.#askers.set(key, asker);
    return asker;
  }

  /** By real connections and datagrams, all at once. */
  async measured(family: Family): Promise<Matrix> {
    return Promise.all(
      ENDS.map(async (from) => {
        const asked = ENDS.filter((to) => isAsked(from, to));
        const source = isWorld(from) ? { from: this.#host(from)[family] } : {};
        const targets = asked.flatMap((to) =>
          PORTS.map(({ protocol, port }) => ({ protocol, port, address: this.#host(to)[family], ...source })),
        );
        const outcomes = await this.#asker(from, family).ask(targets);
        return ENDS.map((to) => {
          const at = asked.indexOf(to) * PORTS.length;
          return at < 0 ? '.' : letters(PORTS.map((_, i) => outcomes[at + i] === 'answered'));
        });
      }),
    );
  }

  /** By the manifests as they stand, without a kernel. */
  evaluated(family: Family): Matrix {
    const objects = readOnce([this.system.manifests.path]);
    const name = (end: EndName): string => (isWorld(end) ? WORLD[end][family] : end);
    return ENDS.map((from) =>
      ENDS.map((to) => {
        if (!isAsked(from, to)) return '.';
        return letters(
          PORTS.map(({ protocol, port }) => {
            const question = { from: name(from), to: name(to), port: `${port}/${protocol.toUpperCase()}` };
            return checkPolicy(objects, question).verdict === 'ALLOWED';
          }),
        );
      }),
    );
  }

  /** Makes these the only policies, and waits until they are in force. */
  async setPolicies(policies: readonly object[]): Promise<void> {
    const before = await this.#revision();
    this.system.manifests.write('policies.yaml', policies.map((each) => JSON.stringify(each)).join('\n---\n'));
    while ((await this.#revision()) === before) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async #revision(): Promise<number> {
    const status = JSON.parse(await this.system.status()) as { readonly revision: { readonly kernel: number } };
    return status.revision.kernel;
  }
}

function podManifest(namespace: string, app: string, { ipv4, ipv6, namespace: netns }: Host): string {
  // Only the database's second port has a name.
  const ports = app === 'db' ? [{ name: 'sql', containerPort: 81, protocol: 'TCP' }] : [];
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: app, namespace, labels: { app }, annotations: { 'sidestep.dev/netns': netns } },
    spec: { nodeName: NODE, containers: [{ name: 'main', ports }] },
    status: { podIPs: [{ ip: ipv4 }, { ip: ipv6 }] },
  });
}
