/** WireGuard as anybody has it: the `wg` tool, and an interface of wireguard-go that no agent knows of. */
import { inside } from '../../control-plane/demo/namespaces.ts';
import { Child, run } from '../../control-plane/demo/process.ts';
import { wireguardProgram } from './tools.ts';
import type { Host } from './topology.ts';

/** @param input what it reads from /dev/stdin, a key. @returns what it prints */
export async function wg(namespace: string, args: readonly string[], input = ''): Promise<string> {
  // What Node gives as standard input is a socket, which cannot be opened by name.
  const command = ['sh', '-c', 'cat | wg "$@"', 'wg', ...args];
  const { stdout } = await run('nsenter', inside(namespace, command), { input });
  return stdout.trim();
}

export interface StockPeer {
  readonly publicKey: string;
  /** address:port */
  readonly endpoint: string;
  readonly allowed: readonly string[];
  readonly presharedKey?: string;
}

/** Makes a device know this peer. */
export async function wgPeer(namespace: string, device: string, peer: StockPeer): Promise<void> {
  const { publicKey, endpoint, allowed, presharedKey } = peer;
  const preshared = presharedKey === undefined ? [] : ['preshared-key', '/dev/stdin'];
  const args = ['set', device, 'peer', publicKey, ...preshared, 'endpoint', endpoint, 'allowed-ips', allowed.join()];
  await wg(namespace, args, presharedKey);
}

/** An interface of its own; its process ends with `stop`. */
export class StockWireguard {
  readonly device: string;
  readonly #host: Host;
  readonly #process: Child;

  private constructor(host: Host, device: string, process: Child) {
    this.#host = host;
    this.device = device;
    this.#process = process;
  }

  /** @param privateKey in base64 */
  static async start(host: Host, privateKey: string): Promise<StockWireguard> {
    // The folder of its sockets is one for all namespaces.
    const device = `sstwg${process.pid}`;
    const child = Child.start('nsenter', inside(host.namespace, [wireguardProgram(), '-f', device]));
    const self = new StockWireguard(host, device, child);
    for (let tries = 0; ; tries++) {
      const { code } = await run('nsenter', inside(host.namespace, ['wg', 'show', device]), { tolerate: true });
      if (code === 0) break;
      if (child.ended || tries > 100) throw new Error(`no WireGuard device: ${child.stderr}`);
    }
    await wg(host.namespace, ['set', device, 'private-key', '/dev/stdin'], privateKey);
    return self;
  }

  /** When the last handshake was, in seconds since the epoch, and bytes, with its only peer. 0: never. */
  async seen(): Promise<{ readonly handshake: number; readonly received: number; readonly sent: number }> {
    const [, line = ''] = (await wg(this.#host.namespace, ['show', this.device, 'dump'])).split('\n');
    const [handshake = 0, received = 0, sent = 0] = line.split('\t').slice(4, 7).map(Number);
    return { handshake, received, sent };
  }

  async stop(): Promise<void> {
    await this.#process.stop();
  }
}
