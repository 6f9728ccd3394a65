/** Which interface of this node leads to a workload: the other end of the veth in its network namespace. */
import { SidestepError } from '../model/error.ts';
import type { WorkloadSpec } from '../model/snapshot.ts';
import type { Kernel, NetworkInterface } from './kernel.ts';

export interface WorkloadInterface {
  /** Host side. */
  readonly ifindex: number;
  readonly name: string;
  /** The bridge it is a port of, or 0. */
  readonly masterIfindex: number;
  /** Of the workload's side. */
  readonly mac: Uint8Array;
}

interface Found {
  readonly netnsId: bigint;
  readonly peerIfindex: number;
  readonly mac: Uint8Array;
  readonly ifindex: number;
}

/** addresses of the kernel (4 or 16 bytes) in our 16-byte form */
export function mapped(address: Uint8Array): Uint8Array {
  if (address.length === 16) return address;
  const bytes = new Uint8Array(16);
  bytes.set([0xff, 0xff], 10);
  bytes.set(address, 12);
  return bytes;
}

/** Remembers what it found, because entering a namespace costs a thread; a changed namespace or veth is looked up again. */
export class InterfaceFinder {
  readonly #kernel: Kernel;
  readonly #found = new Map<string, Found>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Forgets everything, so that the next look-ups enter the namespaces again (a workload may have changed its MAC). */
  refresh(): void {
    this.#found.clear();
  }

  /**
   * @param own interfaces of this node
   * @throws POD_NETNS_MISSING, POD_NO_VETH
   */
  find(workload: WorkloadSpec, own: readonly NetworkInterface[]): WorkloadInterface {
    const netnsId = this.#netnsId(workload);
    const known = this.#found.get(workload.netns);
    const found = known?.netnsId === netnsId && this.#hostSide(own, known) ? known : this.#look(workload, netnsId, own);
    const host = this.#hostSide(own, found);
    if (host === undefined) throw this.#noVeth(workload);
    this.#found.set(workload.netns, found);
    return { ifindex: host.ifindex, name: host.name, masterIfindex: host.masterIfindex, mac: found.mac };
  }

  #netnsId(workload: WorkloadSpec): bigint {
    try {
      return this.#kernel.netnsId(workload.netns);
    } catch (cause) {
      throw new SidestepError('POD_NETNS_MISSING', `${workload.netns} does not exist`, { cause });
    }
  }

  #hostSide(own: readonly NetworkInterface[], found: Found): NetworkInterface | undefined {
    return own.find((i) => i.ifindex === found.ifindex && i.kind === 'veth' && i.peerIfindex === found.peerIfindex);
  }

  #look(workload: WorkloadSpec, netnsId: bigint, own: readonly NetworkInterface[]): Found {
    let inside: readonly NetworkInterface[];
    try {
      inside = this.#kernel.interfaces(workload.netns);
    } catch (cause) {
      throw new SidestepError('POD_NETNS_MISSING', `${workload.netns} cannot be entered`, { cause });
    }
    const wanted = new Set(workload.addresses.map((address) => Buffer.from(address).toString('hex')));
    const veths = inside.filter((i) => i.kind === 'veth' && i.peerIfindex !== 0);
    const withAddress = veths.filter((i) =>
      i.addresses.some(({ address }) => wanted.has(Buffer.from(mapped(address)).toString('hex'))),
    );
    for (const candidate of [...withAddress, ...veths]) {
      const found = { netnsId, peerIfindex: candidate.ifindex, mac: candidate.mac, ifindex: candidate.peerIfindex };
      if (this.#hostSide(own, found)) return found;
    }
    throw this.#noVeth(workload);
  }

  #noVeth(workload: WorkloadSpec): SidestepError {
    return new SidestepError('POD_NO_VETH', `no veth of this node leads into ${workload.netns}`);
  }
}
