/**
 * The program on the tunnel's device that lets nothing leave this node decrypted (bpf/tunnel.bpf.c). A filter, not a link: it
 * stays when the agent ends, and goes with the device.
 */
import type { Kernel, KernelObject } from './kernel.ts';

export class TunnelGuard {
  readonly #kernel: Kernel;
  readonly #object: KernelObject;
  /** Where this agent has put its own program in the place of an earlier one's. */
  #ifindex = 0;

  constructor(kernel: Kernel, object: KernelObject) {
    this.#kernel = kernel;
    this.#object = object;
  }

  /** @param ifindex of the tunnel; 0: there is none. @returns whether somebody had taken it away. @throws KERNEL_* */
  ensure(ifindex: number): boolean {
    if (ifindex === 0) return false;
    const isNew = ifindex !== this.#ifindex;
    if (!isNew && this.#kernel.clsactProgram(ifindex, 'ingress') !== 0) return false;
    this.#kernel.attachClsact(this.#object.program('leave_tunnel'), ifindex, 'ingress');
    this.#ifindex = ifindex;
    return !isNew;
  }
}
