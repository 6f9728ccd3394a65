/**
 * Two nodes with a pod each, joined by a link that a test listens on. Routes of the ordinary kind lead from pod to pod in the
 * clear, each node checks sources strictly and translates the addresses of its pods: all that a packet meets at a CNI. What
 * must be encrypted is marked by nftables, where the programs on the veths would do it.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteNamespace, inside, ipBatch, orphans, setSysctls } from '../../control-plane/demo/namespaces.ts';
import { attachRouted, createNode } from '../../control-plane/demo/network.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import type { TunnelOptions } from '../../control-plane/encryption/open.ts';
import type { TunnelStatus } from '../../control-plane/encryption/status.ts';
import { ROOT } from '../lib/tools.ts';
import { TEST_PREFIX } from '../lib/topology.ts';

export const PORT = 51871;
/** SIDESTEP_TUNNEL_KIND=kernel: with the kernel's own WireGuard, on a machine that has it. */
export const KIND = process.env['SIDESTEP_TUNNEL_KIND'] === 'kernel' ? 'kernel' : 'user-space';
export const WIREGUARD = process.env['SIDESTEP_WIREGUARD'] ?? join(ROOT, 'build/wireguard-go');
const PEER = join(import.meta.dirname, 'peer.py');
/** What peer.py sends over TCP. */
const PATTERN = Buffer.from(Array.from({ length: 64 }, (_, i) => 64 + i));

export interface TunnelHost {
  readonly letter: 'a' | 'b';
  readonly node: string;
  readonly pod: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** Of the node, on the link. */
  readonly outer: { readonly ipv4: string; readonly ipv6: string };
}

export interface PeerState {
  readonly publicKey: { readonly hex: string };
  readonly lastHandshake: number;
  readonly received: number;
  readonly sent: number;
}

const prefixOf = (address: string): object => {
  const hex = address.includes(':')
    ? `${address.slice(0, 4)}${'0'.repeat(24)}${(address.split('::')[1] ?? '').padStart(4, '0')}`
    : Buffer.from(address.split('.').map(Number)).toString('hex');
  return { address: { hex }, bits: hex.length * 4 };
};

function host(letter: 'a' | 'b', number: number): TunnelHost {
  const name = (what: string): string => `${TEST_PREFIX}-${process.pid}-${what}-${letter}`;
  return {
    letter,
    node: name('node'),
    pod: name('pod'),
    ipv4: `10.8${number}.0.2`,
    ipv6: `fd8${number}::2`,
    outer: { ipv4: `192.0.2.${number}`, ipv6: `fd80::${number}` },
  };
}

export class TunnelLab {
  readonly a = host('a', 1);
  readonly b = host('b', 2);
  readonly folder = mkdtempSync(join(tmpdir(), 'sst-tunnel-'));
  readonly agents: TunnelAgent[] = [];
  #server: Child | undefined;

  async create(): Promise<void> {
    for (const namespace of orphans(TEST_PREFIX)) await deleteNamespace(namespace);
    for (const [number, { node, pod, ipv4, ipv6 }] of [this.a, this.b].entries()) {
      await createNode({ namespace: node, ipv4: `10.8${number + 1}.255.1`, ipv6: `fd8${number + 1}::ffff` });
      await setSysctls(node, {
        'net/ipv4/conf/all/rp_filter': 1,
        'net/ipv4/conf/default/rp_filter': 1,
        // A sender is told of every packet that has no way.
        'net/ipv4/icmp_ratelimit': 0,
        'net/ipv6/icmp/ratelimit': 0,
      });
      await attachRouted(
        { namespace: node, ipv4: `10.8${number + 1}.255.1`, ipv6: `fd8${number + 1}::ffff` },
        { namespace: pod, nodeInterface: 'pod', ipv4, ipv6 },
      );
    }
    await ipBatch(this.a.node, [`link add wire type veth peer name wire netns ${this.b.node}`]);
    for (const [here, there] of [
      [this.a, this.b],
      [this.b, this.a],
    ] as const) {
      await ipBatch(here.node, [
        `addr add ${here.outer.ipv4}/24 dev wire`,
        `addr add ${here.outer.ipv6}/64 dev wire nodad`,
        'link set wire up',
        `route add ${there.ipv4.replace(/\d+$/, '0')}/24 via ${there.outer.ipv4}`,
        `route add ${there.ipv6.replace(/\d+$/, '')}/64 via ${there.outer.ipv6}`,
      ]);
      // Its own pods, seen from elsewhere, are the node.
      await nft(here.node, [
        'add table inet cni',
        'add chain inet cni nat { type nat hook postrouting priority 100; }',
        `add rule inet cni nat oifname != "pod" ip saddr ${here.ipv4} masquerade`,
        `add rule inet cni nat oifname != "pod" ip6 saddr ${here.ipv6} masquerade`,
      ]);
    }
    this.#server = Child.start('nsenter', inside(this.b.pod, ['python3', PEER, 'serve']));
    await this.#server.waitForLine((line) => line === 'ready');
  }

  /** From now on what goes from pod to pod must be encrypted. */
  async mark(): Promise<void> {
    for (const { node } of [this.a, this.b])
      await nft(node, [
        'add chain inet cni must { type filter hook prerouting priority -400; }',
        'add rule inet cni must iifname "pod" ip daddr 10.80.0.0/12 meta mark set 0x500',
        'add rule inet cni must iifname "pod" ip6 daddr fd80::/12 meta mark set 0x500',
      ]);
  }

  async agent(at: TunnelHost, options: Partial<TunnelOptions> = {}): Promise<TunnelAgent> {
    const agent = new TunnelAgent(at, this.folder, options);
    this.agents.push(agent);
    await agent.call('key');
    return agent;
  }

  /** Asks pod b from pod a. */
  async ask(...words: readonly (string | number)[]): Promise<string> {
    const command = ['python3', PEER, ...words.map(String)];
    const { stdout, stderr } = await run('nsenter', inside(this.a.pod, command), { tolerate: true, timeoutMs: 10_000 });
    return stdout.trim() || (stderr.trim().split('\n').at(-1) ?? '');
  }

  async remove(): Promise<void> {
    await this.#server?.stop();
    for (const agent of this.agents) if (!agent.ended) await agent.call('remove').catch(() => undefined);
    for (const agent of this.agents) await agent.close();
    for (const { node, pod } of [this.a, this.b]) for (const each of [pod, node]) await deleteNamespace(each);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function until(what: string, ask: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !ask(); await sleep(5))
    if (Date.now() > end) throw new Error(`${what}: not within 5 s`);
}

export async function nft(namespace: string, lines: readonly string[]): Promise<void> {
  await run('nsenter', inside(namespace, ['nft', '-f', '-']), { input: `${lines.join('\n')}\n` });
}

/** A process with the tunnel of one node. */
export class TunnelAgent {
  readonly host: TunnelHost;
  readonly instance: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly #child: Child;
  #asked: Promise<unknown> = Promise.resolve();

  constructor(at: TunnelHost, folder: string, options: Partial<TunnelOptions>) {
    this.host = at;
    this.instance = `${at.letter}${process.pid}`;
    this.runDir = join(folder, `${at.letter}-run`);
    this.stateDir = join(folder, `${at.letter}-state`);
    const { instance, runDir, stateDir } = this;
    const all = { instance, runDir, stateDir, kind: KIND, binary: WIREGUARD, ...options };
    const script = join(import.meta.dirname, 'node.ts');
    this.#child = Child.start('nsenter', inside(at.node, [process.execPath, script, JSON.stringify(all)]));
  }

  get ended(): boolean {
    return this.#child.ended;
  }

  get said(): string {
    return this.#child.stderr;
  }

  /** One call at a time. @throws with the code that it answered */
  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const next = this.#asked.then(async () => {
      const from = this.#child.lines.length;
      this.#child.write(`${JSON.stringify({ method, args })}\n`);
      const line = await this.#child.waitForLine((each) => !each.startsWith('{"changed"'), { from, timeoutMs: 20_000 });
      const answer = JSON.parse(line) as { value: T; code?: string; message?: string };
      if (answer.code !== undefined) throw Object.assign(new Error(answer.message), { code: answer.code });
      return answer.value;
    });
    this.#asked = next.catch(() => undefined);
    return next;
  }

  ensure(): Promise<readonly string[]> {
    return this.call('ensure');
  }
  status(): Promise<TunnelStatus> {
    return this.call('status');
  }
  async key(): Promise<string> {
    return (await this.call<{ hex: string }>('key')).hex;
  }
  async peer(): Promise<PeerState | undefined> {
    return (await this.call<readonly PeerState[]>('peers'))[0];
  }

  /** @param psk one byte, repeated. @param more inner addresses beside the pod's own */
  async setPeer(other: TunnelAgent, psk: number, keepalive = 0, more: readonly string[] = []): Promise<void> {
    const { ipv4, ipv6, outer } = other.host;
    await this.call('setPeer', {
      publicKey: { hex: await other.key() },
      presharedKey: { hex: psk.toString(16).padStart(2, '0').repeat(32) },
      endpoint: { address: outer.ipv4, port: PORT },
      allowed: [ipv4, ipv6, ...more].map(prefixOf),
      keepalive,
    });
  }

  /** The next change that is so. */
  async changed(state: 'up' | 'down', from: number): Promise<TunnelStatus> {
    const line = await this.#child.waitForLine(
      (each) => each.startsWith('{"changed"') && each.includes(`"state":"${state}"`),
      { from, timeoutMs: 10_000 },
    );
    return (JSON.parse(line) as { changed: TunnelStatus }).changed;
  }

  /** Where `changed` is to begin. */
  get now(): number {
    return this.#child.lines.length;
  }

  /** What it made stays. */
  async close(): Promise<void> {
    this.#child.endInput();
    await this.#child.exited;
  }
}

/** What is seen on the link. */
export class Capture {
  readonly #child: Child;
  readonly #file: string;
  readonly #lab: TunnelLab;

  private constructor(lab: TunnelLab, child: Child, file: string) {
    this.#lab = lab;
    this.#child = child;
    this.#file = file;
  }

  static async start(lab: TunnelLab, name: string): Promise<Capture> {
    const file = join(lab.folder, `${name}.pcap`);
    const command = [
      'sh',
      '-c',
      'exec "$@" 2>&1',
      'sh',
      'tcpdump',
      '--immediate-mode',
      '-i',
      'wire',
      '-s',
      '0',
      '-B',
      '16384',
      '-U',
      '-Z',
      'root',
      '-w',
      file,
    ];
    const child = Child.start('nsenter', inside(lab.a.node, command));
    await child.waitForLine((line) => line.includes('listening on'));
    return new Capture(lab, child, file);
  }

  /** Packets with an address of a pod, packets of the tunnel, and how often what was sent can be read. */
  async stop(): Promise<{ readonly clear: number; readonly tunnel: number; readonly readable: number }> {
    await this.#last();
    this.#child.kill('SIGINT');
    await this.#child.exited;
    const count = async (filter: string): Promise<number> => {
      const { stdout } = await run('tcpdump', ['-n', '-r', this.#file, '--count', filter]);
      return Number(/^(\d+) packet/m.exec(stdout)?.[1] ?? Number.NaN);
    };
    const pods = ['10.81.0.0/24', '10.82.0.0/24', 'fd81::/64', 'fd82::/64'].map((net) => `net ${net}`).join(' or ');
    const bytes = readFileSync(this.#file);
    let readable = 0;
    for (let at = bytes.indexOf(PATTERN); at !== -1; at = bytes.indexOf(PATTERN, at + 1)) readable++;
    return { clear: await count(pods), tunnel: await count(`udp port ${PORT}`), readable };
  }
  /** Waits until a packet of our own has been written down: then so have all before it. */
  async #last(): Promise<void> {
    const { node } = this.#lab.a;
    const word = `the-last-one-${randomUUID()}`;
    const script = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"${word}", ("${this.#lab.b.outer.ipv4}", 9))`;
    await run('nsenter', inside(node, ['python3', '-c', script]));
    await until('the capture is written', () => readFileSync(this.#file).includes(word));
  }
}
