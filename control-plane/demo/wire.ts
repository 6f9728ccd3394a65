/**
 * What is between the two nodes: a bridge that learns nothing, so that it gives every frame to every port, as a hub does. One
 * port is a TAP device of the demo's own, by which it hears what the nodes send each other.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Tap, TapEvents } from '../datapath/kernel-devices.ts';
import { createNamespace, ipBatch } from './namespaces.ts';
import { run } from './process.ts';

const BRIDGE = 'wire';
/** A frame that was sent has been put into the device's queue by then; this is for its way from there to us. */
const SETTLE_MS = 50;

export type OpenTap = (name: string, events: TapEvents) => Tap;

export interface WireEnd {
  readonly namespace: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** Prefixes of pods that are behind the other ends, and through which end. */
  readonly routes: readonly { readonly prefix: string; readonly via: string }[];
}

/** @param ends one for each node, numbered by their place */
export async function connectNodes(wire: string, ends: readonly WireEnd[]): Promise<void> {
  await createNamespace(wire);
  await ipBatch(wire, [
    `link add ${BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set ${BRIDGE} up`,
  ]);
  for (const [i, { namespace, ipv4, ipv6, routes }] of ends.entries()) {
    await ipBatch(wire, [
      `link add port${i} type veth peer name uplink0 netns ${namespace}`,
      `link set port${i} master ${BRIDGE} up`,
      `link set port${i} type bridge_slave learning off`,
    ]);
    await ipBatch(namespace, [
      'link set uplink0 up',
      `addr add ${ipv4}/24 dev uplink0`,
      `addr add ${ipv6}/64 dev uplink0 nodad`,
      ...routes.map(({ prefix, via }) => `route add ${prefix} via ${via}`),
    ]);
  }
}

export interface Heard {
  readonly frames: number;
  /** Frames in which the text could be read. */
  readonly readable: number;
  /** UDP frames of the tunnel. */
  readonly tunnel: number;
}

const ETHERTYPE = 12;
const IPV4 = 0x0800;
const UDP = 17;

/** Looks for a text in every frame. */
export class WireListener {
  readonly #tap: Tap;
  readonly #text: Buffer;
  readonly #port: number;
  #frames = 0;
  #readable = 0;
  #tunnel = 0;

  private constructor(openTap: OpenTap, name: string, text: string, port: number) {
    this.#text = Buffer.from(text);
    this.#port = port;
    this.#tap = openTap(name, {
      frames: (frames) => {
        for (const frame of frames) this.#hear(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength));
      },
      gone: () => undefined,
    });
  }

  /** @param port of the tunnel */
  static async open(openTap: OpenTap, wire: string, text: string, port: number): Promise<WireListener> {
    const name = `ssd${process.pid}`;
    const self = new WireListener(openTap, name, text, port);
    try {
      await run('ip', ['link', 'set', name, 'netns', wire]);
      await ipBatch(wire, [`link set ${name} master ${BRIDGE} up`, `link set ${name} type bridge_slave learning off`]);
      return self;
    } catch (error) {
      self.close();
      throw error;
    }
  }

  #hear(frame: Buffer): void {
    this.#frames++;
    if (frame.includes(this.#text)) this.#readable++;
    const ip = frame.subarray(this.#tap.headerLength + ETHERTYPE + 2);
    if (frame.readUInt16BE(this.#tap.headerLength + ETHERTYPE) !== IPV4 || ip.length < 28 || ip[9] !== UDP) return;
    const ports = ((ip[0] ?? 0) & 0xf) * 4;
    if (ip.length >= ports + 4 && [ip.readUInt16BE(ports), ip.readUInt16BE(ports + 2)].includes(this.#port))
      this.#tunnel++;
  }

  /** What was heard while `action` ran. */
  async during<T>(action: () => Promise<T>): Promise<{ readonly result: T; readonly heard: Heard }> {
    const [frames, readable, tunnel, dropped] = [this.#frames, this.#readable, this.#tunnel, this.#tap.dropped];
    const result = await action();
    await delay(SETTLE_MS);
    if (this.#tap.dropped > dropped) throw new Error('frames between the nodes were missed');
    return {
      result,
      heard: { frames: this.#frames - frames, readable: this.#readable - readable, tunnel: this.#tunnel - tunnel },
    };
  }

  close(): void {
    this.#tap.close();
  }
}
