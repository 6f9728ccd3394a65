/** Devices of the kernel in memory: what was asked for stands in fields that a test reads. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { SidestepError } from '../model/error.ts';
import type { NetworkInterface } from './kernel.ts';
import type {
  DeviceKernel,
  Tap,
  TapEvents,
  WireGuardPeerChange,
  WireGuardPeerState,
  WireGuardPrefix,
  WireGuardState,
} from './kernel-devices.ts';
import { KernelCause } from './kernel-error.ts';

/** One write, e.g. `endpoints set 0a000000`, `link 7 egress attach`. */
export type Journal = string[];

export interface MemoryWireGuard extends WireGuardState {
  readonly privateKey: Uint8Array | undefined;
}

export interface MemoryTap extends Tap {
  readonly events: TapEvents;
  readonly written: Uint8Array[];
  open: boolean;
}

const textOf = ({ address, bits }: WireGuardPrefix): string => `${Buffer.from(address).toString('hex')}/${bits}`;
/** X25519, from PKCS #8 to SubjectPublicKeyInfo (RFC 8410). */
function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const key = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), privateKey]);
  const pair = createPublicKey(createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
  return pair.export({ format: 'der', type: 'spki' }).subarray(-32);
}

const keyOf = (key: Uint8Array): string => Buffer.from(key).toString('hex');

export abstract class MemoryDevices implements DeviceKernel {
  readonly journal: Journal = [];
  /** Interfaces of the node. */
  own: NetworkInterface[] = [];
  /** Whether the kernel has WireGuard. */
  wireguardThere = true;
  readonly wireguards = new Map<string, MemoryWireGuard>();
  readonly taps = new Map<string, MemoryTap>();
  #nextIfindex = 1000;

  /** A device appears, down. */
  addDevice(name: string, kind: string): number {
    const ifindex = this.#nextIfindex++;
    const rest = { mac: new Uint8Array(), peerIfindex: 0, masterIfindex: 0, up: false, mtu: 1420, addresses: [] };
    this.own = [...this.own, { ifindex, name, kind, ...rest }];
    this.journal.push(`device ${name} add ${kind}`);
    return ifindex;
  }

  /** What hangs on a device goes with it. */
  protected abstract deviceGone(ifindex: number): void;

  createWireGuard(name: string): boolean {
    if (!this.wireguardThere) throw new SidestepError('KERNEL_FEATURE_MISSING', `device ${name}: no WireGuard`);
    if (this.own.some((each) => each.name === name)) return false;
    this.addDevice(name, 'wireguard');
    this.wireguards.set(name, { privateKey: undefined, publicKey: undefined, port: 0, fwmark: 0, peers: [] });
    return true;
  }

  setWireGuard(name: string, settings: { privateKey: Uint8Array; port: number; fwmark: number }): void {
    this.wireguards.set(name, { ...this.#wireguard(name), ...settings, publicKey: publicKeyOf(settings.privateKey) });
    this.journal.push(`wireguard ${name} set ${settings.port}`);
  }

  setWireGuardPeer(
    name: string,
    { publicKey, presharedKey, address, port, keepalive, allowed }: WireGuardPeerChange,
  ): void {
    const key = keyOf(publicKey);
    const moved = new Set(allowed.map(textOf));
    const without = (peer: WireGuardPeerState): WireGuardPeerState => ({
      ...peer,
      allowed: peer.allowed.filter((each) => !moved.has(textOf(each))),
    });
    const device = this.#wireguard(name);
    const before = device.peers.find((each) => keyOf(each.publicKey) === key);
    const counted = { lastHandshake: before?.lastHandshake ?? 0, received: 0, sent: 0 };
    const endpoint = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    const others = device.peers.filter((each) => keyOf(each.publicKey) !== key).map(without);
    const peer = { publicKey, presharedKey, endpoint, keepalive, allowed, ...counted };
    this.wireguards.set(name, { ...device, peers: [...others, peer] });
    this.journal.push(`wireguard ${name} peer ${key.slice(0, 8)} ${allowed.map(textOf).join(' ')}`.trimEnd());
  }

  removeWireGuardPeer(name: string, publicKey: Uint8Array): void {
    const device = this.#wireguard(name);
    const key = keyOf(publicKey);
    this.wireguards.set(name, { ...device, peers: device.peers.filter((each) => keyOf(each.publicKey) !== key) });
    this.journal.push(`wireguard ${name} remove ${key.slice(0, 8)}`);
  }

  wireGuard(name: string): WireGuardState {
    return this.#wireguard(name);
  }

  #wireguard(name: string): MemoryWireGuard {
    const found = this.wireguards.get(name);
    if (found !== undefined) return found;
    const cause = new KernelCause('ENODEV', `device ${name}: No such device`, '');
    throw new SidestepError('KERNEL_CALL_FAILED', cause.message, { cause });
  }

  setLinkUp(ifindex: number, mtu: number): void {
    this.own = this.own.map((each) => (each.ifindex === ifindex ? { ...each, up: true, mtu } : each));
    this.journal.push(`device ${ifindex} up ${mtu}`);
  }

  ensureLinkAddress(ifindex: number, address: string): boolean {
    const bytes = Uint8Array.from(address.split('.').map(Number));
    const device = this.own.find((each) => each.ifindex === ifindex);
    if (device === undefined) throw new SidestepError('KERNEL_CALL_FAILED', `no device ${ifindex}`);
    if (device.addresses.some((each) => keyOf(each.address) === keyOf(bytes))) return false;
    const addresses = [...device.addresses, { address: bytes, prefixLength: 32 }];
    this.own = this.own.map((each) => (each === device ? { ...each, addresses } : each));
    this.journal.push(`device ${ifindex} address ${address}`);
    return true;
  }

  deleteLink(ifindex: number): boolean {
    const found = this.own.find((each) => each.ifindex === ifindex);
    if (found === undefined) return false;
    this.own = this.own.filter((each) => each !== found);
    this.wireguards.delete(found.name);
    this.deviceGone(ifindex);
    this.journal.push(`device ${found.name} delete`);
    return true;
  }

  openTap(name: string, events: TapEvents): Tap {
    const tap: MemoryTap = {
      ifindex: this.addDevice(name, 'tun'),
      headerLength: 10,
      dropped: 0,
      events,
      written: [],
      open: true,
      write: (frame) => {
        tap.written.push(frame);
      },
      close: () => {
        if (tap.open) this.deleteLink(tap.ifindex);
        tap.open = false;
      },
    };
    this.taps.set(name, tap);
    return tap;
  }
}
