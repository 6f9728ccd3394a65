/** How large may a packet be that goes into the tunnel? What leaves must fit the underlay, so that nothing is fragmented. */
import type { NetworkInterface } from '../datapath/kernel.ts';
import type { Family } from '../datapath/kernel-network.ts';
import { MARK_OUTER } from './numbers.ts';
import type { TunnelKernel } from './ports.ts';

/** IPv6 40, UDP 8, WireGuard 32; over IPv4 20 bytes remain unused. */
const OVERHEAD = 80;
/** Every IPv6 link has it (RFC 8200 §5): with less the kernel takes IPv6 off the device. Below it outer packets are fragmented. */
const LEAST = 1280;
const ETHERNET = 1500;
const MAIN_TABLE = 254;
/** Peers that are looked at. */
const MOST = 256;

/** @param endpoints addresses of peers, in text */
export function tunnelMtu(kernel: TunnelKernel, endpoints: Iterable<string>): number {
  const interfaces = new Map(kernel.interfaces().map((each) => [each.ifindex, each]));
  const underlays = [...new Set(endpoints)].slice(0, MOST).flatMap((address) => wayMtu(kernel, interfaces, address));
  const known = underlays.length > 0 ? underlays : defaultMtus(kernel, interfaces);
  const smallest = known.length > 0 ? Math.min(...known) : ETHERNET;
  return Math.max(LEAST, smallest - OVERHEAD);
}

function wayMtu(kernel: TunnelKernel, interfaces: ReadonlyMap<number, NetworkInterface>, address: string): number[] {
  // With a zone, which the kernel's look-up does not take: then the device of the default route counts.
  if (address.includes('%')) return [];
  const way = kernel.wayTo(address, MARK_OUTER);
  const device = way && interfaces.get(way.ifindex);
  return device ? [Math.min(device.mtu, way.mtu ?? device.mtu)] : [];
}

/** Of the devices that default routes lead to: before there is a peer. */
function defaultMtus(kernel: TunnelKernel, interfaces: ReadonlyMap<number, NetworkInterface>): number[] {
  const families: readonly Family[] = [4, 6];
  return families.flatMap((family) => {
    const [first] = kernel
      .routes(family, MAIN_TABLE)
      .filter(({ prefixLength, ifindex, unreachable }) => prefixLength === 0 && ifindex !== 0 && !unreachable)
      .sort((a, b) => a.metric - b.metric);
    const device = first && interfaces.get(first.ifindex);
    return device ? [device.mtu] : [];
  });
}
