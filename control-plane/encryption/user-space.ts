/**
 * WireGuard as a process on a TUN device (wireguard-go), which outlives the agent. It is told everything over its UNIX socket.
 * With it the device goes, and with the device the route.
 */
import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SidestepError } from '../model/error.ts';
import { publicKeyOf } from './keys.ts';
import { controlSocket } from './names.ts';
import type { EngineState, TunnelEngine, TunnelKernel, TunnelLog, TunnelSettings } from './ports.ts';
import type { TunnelPeer, TunnelPrefix } from './tunnel.ts';
import { encodePeer, encodeRemoval, encodeSettings } from './uapi.ts';
import { UapiClient } from './uapi-client.ts';
import { WireGuardProcess, type WireGuardProcessOptions } from './wireguard-process.ts';

export const USER_SPACE_KIND = 'tun';
/** Of one exchange; a process under full load answers in a few milliseconds. */
const ANSWER_MS = 5_000;
const START_MS = 10_000;
const POLL_MS = 5;

export class UserSpaceEngine implements TunnelEngine {
  readonly kind = 'user-space';
  readonly #kernel: TunnelKernel;
  readonly #name: string;
  readonly #log: TunnelLog;
  readonly #process: WireGuardProcess;
  readonly #socket: string;
  readonly #uapi: UapiClient;

  constructor(kernel: TunnelKernel, options: WireGuardProcessOptions, log: TunnelLog) {
    this.#kernel = kernel;
    this.#name = options.name;
    this.#log = log;
    this.#process = new WireGuardProcess(kernel, options);
    this.#socket = controlSocket(options.name);
    this.#uapi = new UapiClient(this.#socket, ANSWER_MS);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  async start(): Promise<'found' | 'made'> {
    if (await this.#adopt()) return 'found';
    await this.stop();
    if (this.#deviceThere())
      throw new SidestepError('TUNNEL_FAILED', `${this.#name} is there and is not ours`, {
        hint: 'Take the device away, or pick another --instance.',
      });
    this.#process.start();
    await this.#answers();
    return 'made';
  }

  async #adopt(): Promise<boolean> {
    if (!this.#deviceThere() || !this.#process.find()) return false;
    try {
      await this.state();
      return true;
    } catch (error) {
      this.#log.warn(
        { pid: this.pid, err: error },
        'the WireGuard process of the agent before gives no answer: it ends',
      );
      return false;
    }
  }

  async #answers(): Promise<void> {
    for (let waited = 0; waited < START_MS; waited += POLL_MS) {
      const trouble = this.trouble();
      if (trouble) throw trouble;
      if (existsSync(this.#socket) && this.#deviceThere() && (await this.#answered())) return;
      await sleep(POLL_MS);
    }
    throw this.#process.failed(`wireguard-go gives no answer at ${this.#socket}`);
  }

  async #answered(): Promise<boolean> {
    try {
      await this.state();
      return true;
    } catch {
      // A socket that an earlier one has left: nobody listens yet.
      return false;
    }
  }

  #deviceThere(): boolean {
    return this.#kernel.interfaces().some(({ name }) => name === this.#name);
  }

  trouble(): SidestepError | undefined {
    return this.#process.trouble();
  }

  state(): Promise<EngineState> {
    return this.#uapi.state();
  }

  async configure(settings: TunnelSettings): Promise<readonly string[]> {
    const { publicKey, port, fwmark } = await this.state();
    const sameKey = publicKey !== undefined && Buffer.from(publicKey).equals(publicKeyOf(settings.privateKey));
    const wrong: Partial<TunnelSettings> = {
      ...(sameKey ? {} : { privateKey: settings.privateKey }),
      ...(fwmark === settings.fwmark ? {} : { fwmark: settings.fwmark }),
      // Only when it is another: it is opened anew.
      ...(port === settings.port ? {} : { port: settings.port }),
    };
    const names = Object.keys(wrong);
    if (names.length > 0) await this.#uapi.send(encodeSettings(wrong));
    return names.map((each) => `${each} of ${this.#name}`);
  }

  /** It opens its port when it hears that the device is up, once; when it could not, it has forgotten the number. */
  async listening(port: number): Promise<void> {
    for (let waited = 0; waited < START_MS; waited += POLL_MS) {
      const trouble = this.trouble();
      if (trouble) throw trouble;
      if (this.#process.hasPort(port)) return;
      if ((await this.state()).port !== port) {
        await this.stop();
        throw new SidestepError('TUNNEL_PORT_BUSY', `UDP port ${port} is taken`);
      }
      await sleep(POLL_MS);
    }
    await this.stop();
    throw this.#process.failed(`wireguard-go does not open UDP port ${port}`);
  }

  async setPeer(peer: TunnelPeer, lost: readonly TunnelPrefix[]): Promise<void> {
    await this.#uapi.send(encodePeer(peer, lost));
  }

  async removePeer(publicKey: Uint8Array): Promise<void> {
    await this.#uapi.send(encodeRemoval(publicKey));
  }

  tidy(): void {
    this.#process.tidy();
  }

  lastWords(): readonly string[] {
    return this.#process.lastWords();
  }

  async stop(): Promise<void> {
    await this.#process.stop();
    rmSync(this.#socket, { force: true });
  }
}
