/** Our two programs on the host side of each workload's veth: tcx links, or clsact filters before kernel 6.6. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import type { AttachPoint, Kernel, KernelLink, KernelProgram } from './kernel.ts';
import { linkPin, type Pins, parseLinkPin } from './pins.ts';

export interface Programs {
  readonly fromWorkload: KernelProgram;
  readonly toWorkload: KernelProgram;
}

/** What a workload receives is enforced before what it sends, so that no answer is ever judged before its question. */
const ORDER: readonly AttachPoint[] = ['egress', 'ingress'];

export interface Attachment {
  readonly kind: 'tcx' | 'clsact';
  readonly links: ReadonlyMap<AttachPoint, KernelLink>;
}

export class Attachments {
  readonly #kernel: Kernel;
  readonly #pins: Pins;
  readonly #programs: Programs;
  readonly #tcx: boolean;
  readonly #attached = new Map<number, Attachment>();

  /**
   * Takes over what an earlier agent attached and swaps its programs for ours, `to_workload` of all workloads first.
   * @param known interfaces that had an endpoint: clsact filters leave no pin to find them by
   */
  constructor(kernel: Kernel, pins: Pins, programs: Programs, tcx: boolean, known: readonly number[]) {
    this.#kernel = kernel;
    this.#pins = pins;
    this.#programs = programs;
    this.#tcx = tcx;
    mkdirSync(pins.links, { recursive: true });
    if (!tcx) {
      const existing = new Set(kernel.interfaces().map((i) => i.ifindex));
      for (const point of ORDER)
        for (const ifindex of known)
          if (existing.has(ifindex)) kernel.attachClsact(this.#program(point), ifindex, point);
      for (const ifindex of known) this.#attached.set(ifindex, { kind: 'clsact', links: new Map() });
      return;
    }
    const pinned = readdirSync(pins.links).flatMap((name) => parseLinkPin(name) ?? []);
    for (const point of ORDER) for (const pin of pinned) if (pin.point === point) this.#adopt(pin.ifindex, point);
  }

  /** Interfaces that carry our programs. */
  get ifindexes(): readonly number[] {
    return [...this.#attached.keys()];
  }

  get(ifindex: number): Attachment | undefined {
    return this.#attached.get(ifindex);
  }

  #program(point: AttachPoint): KernelProgram {
    return point === 'ingress' ? this.#programs.fromWorkload : this.#programs.toWorkload;
  }

  #adopt(ifindex: number, point: AttachPoint): void {
    const path = linkPin(this.#pins, ifindex, point);
    const link = this.#kernel.openLink(path);
    if (link.ifindex !== ifindex) {
      // The device is gone; what stays pinned is an empty shell.
      link.close();
      rmSync(path);
      return;
    }
    link.update(this.#program(point));
    this.#attached.set(ifindex, { kind: 'tcx', links: new Map(this.#attached.get(ifindex)?.links).set(point, link) });
  }

  /** Idempotent. The endpoint's entries must be in the tables before. */
  attach(ifindex: number): void {
    const links = new Map(this.#attached.get(ifindex)?.links);
    for (const point of ORDER) {
      if (!this.#tcx) {
        if (!this.#attached.has(ifindex)) this.#kernel.attachClsact(this.#program(point), ifindex, point);
        continue;
      }
      const link = links.get(point);
      if (link?.ifindex === ifindex) continue;
      link?.close();
      const path = linkPin(this.#pins, ifindex, point);
      rmSync(path, { force: true });
      const fresh = this.#kernel.attachTcx(this.#program(point), ifindex, point);
      fresh.pin(path);
      links.set(point, fresh);
    }
    this.#attached.set(ifindex, { kind: this.#tcx ? 'tcx' : 'clsact', links });
  }

  detach(ifindex: number, deviceExists: boolean): void {
    const attachment = this.#attached.get(ifindex);
    if (attachment === undefined) return;
    for (const [point, link] of attachment.links) {
      if (link.ifindex !== 0) link.detach();
      link.close();
      rmSync(linkPin(this.#pins, ifindex, point), { force: true });
    }
    if (attachment.kind === 'clsact' && deviceExists)
      for (const point of ORDER) this.#kernel.detachClsact(ifindex, point);
    this.#attached.delete(ifindex);
  }

  /** Programs of others that see a workload's packets before ours do, by attach point. */
  foreignFirst(ifindex: number): AttachPoint[] {
    if (!this.#tcx) return [];
    return ORDER.filter((point) => {
      const ids = this.#kernel.tcxPrograms(ifindex, point);
      return ids[0] !== undefined && ids[0] !== this.#program(point).id;
    });
  }

  /** Whether both programs are where we put them. */
  inForce(ifindex: number): boolean {
    const attachment = this.#attached.get(ifindex);
    if (attachment === undefined) return false;
    if (attachment.kind === 'clsact') return true;
    return ORDER.every((point) => this.#kernel.tcxPrograms(ifindex, point).includes(this.#program(point).id));
  }
}
