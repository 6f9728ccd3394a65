/** The kernel's own WireGuard: the device is all there is, and it outlives the agent. */
import { KernelCause } from '../datapath/kernel-error.ts';
import { SidestepError } from '../model/error.ts';
import { parseEndpoint } from './endpoint.ts';
import { publicKeyOf } from './keys.ts';
import type { EngineState, TunnelEngine, TunnelKernel, TunnelSettings } from './ports.ts';
import type { TunnelPeer, TunnelPrefix } from './tunnel.ts';

export const KERNEL_KIND = 'wireguard';

export class KernelEngine implements TunnelEngine {
  readonly kind = 'kernel';
  readonly pid = undefined;
  readonly #kernel: TunnelKernel;
  readonly #name: string;

  constructor(kernel: TunnelKernel, name: string) {
    this.#kernel = kernel;
    this.#name = name;
  }

  async start(): Promise<'found' | 'made'> {
    if (this.#kernel.createWireGuard(this.#name)) return 'made';
    const kind = this.#kernel.interfaces().find(({ name }) => name === this.#name)?.kind;
    if (kind === KERNEL_KIND) return 'found';
    throw new SidestepError('TUNNEL_FAILED', `${this.#name} is there and is no WireGuard device`, {
      hint: 'Take the device away, or pick another --instance.',
    });
  }

  trouble(): SidestepError | undefined {
    return undefined;
  }

  async state(): Promise<EngineState> {
    const { peers, ...device } = this.#kernel.wireGuard(this.#name);
    const endpointOf = (text: string | undefined) => (text === undefined ? undefined : parseEndpoint(text));
    return { ...device, peers: peers.map((peer) => ({ ...peer, endpoint: endpointOf(peer.endpoint) })) };
  }

  async configure(settings: TunnelSettings): Promise<readonly string[]> {
    const { publicKey, port, fwmark } = await this.state();
    const wanted = publicKeyOf(settings.privateKey);
    const wrong = [
      ...(publicKey !== undefined && Buffer.from(publicKey).equals(wanted) ? [] : ['key']),
      ...(port === settings.port ? [] : ['port']),
      ...(fwmark === settings.fwmark ? [] : ['fwmark']),
    ];
    if (wrong.length > 0) this.#orBusy(settings.port, () => this.#kernel.setWireGuard(this.#name, settings));
    return wrong.map((what) => `${what} of ${this.#name}`);
  }

  /** The kernel opens the port with the device. */
  async listening(): Promise<void> {}

  async setPeer({ endpoint, keepalive = 0, ...peer }: TunnelPeer, lost: readonly TunnelPrefix[]): Promise<void> {
    this.#kernel.setWireGuardPeer(this.#name, { ...peer, ...endpoint, keepalive, lost });
  }

  async removePeer(publicKey: Uint8Array): Promise<void> {
    this.#kernel.removeWireGuardPeer(this.#name, publicKey);
  }

  tidy(): void {}

  lastWords(): readonly string[] {
    return [];
  }

  async stop(): Promise<void> {
    const device = this.#kernel.interfaces().find(({ name, kind }) => name === this.#name && kind === KERNEL_KIND);
    if (device) this.#kernel.deleteLink(device.ifindex);
  }

  #orBusy(port: number, action: () => void): void {
    try {
      action();
    } catch (error) {
      throw portBusy(error, port) ?? error;
    }
  }
}

/** @returns undefined when the error is another */
export function portBusy(error: unknown, port: number): SidestepError | undefined {
  const busy =
    error instanceof SidestepError && error.cause instanceof KernelCause && error.cause.errno === 'EADDRINUSE';
  return busy ? new SidestepError('TUNNEL_PORT_BUSY', `UDP port ${port} is taken`, { cause: error }) : undefined;
}
