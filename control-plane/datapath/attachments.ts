/** Our two programs on the host side of each workload's veth: tcx links, or clsact filters before kernel 6.6. */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import type { AttachPoint, Kernel, KernelLink, KernelProgram } from './kernel.ts';
import { linkPin, type Pins, parseLinkPin } from './pins.ts';

export interface Programs {
  readonly fromWorkload: KernelProgram;
  readonly toWorkload: KernelProgram;
}

export type AttachKind = 'tcx' | 'clsact';

/** What a workload receives is enforced before what it sends, so that no answer is ever judged before its question. */
const ORDER: readonly AttachPoint[] = ['egress', 'ingress'];

export class Attachments {
  readonly kind: AttachKind;
  readonly #kernel: Kernel;
  readonly #pins: Pins;
  readonly #programs: Programs;
  /** Links by interface and point; empty for clsact, whose filters have no handle of ours. */
  readonly #attached = new Map<number, Map<AttachPoint, KernelLink>>();

  /**
   * Takes over what an earlier agent attached and swaps its programs for ours, `to_workload` of all workloads first.
   * What it attached the other way is replaced, ours first, so that no packet passes unseen.
   * @param known interfaces that had an endpoint: clsact filters leave no pin to find them by
   */
  constructor(kernel: Kernel, pins: Pins, programs: Programs, kind: AttachKind, known: readonly number[]) {
    this.kind = kind;
    this.#kernel = kernel;
    this.#pins = pins;
    this.#programs = programs;
    mkdirSync(pins.links, { recursive: true });
    const existing = new Set(kernel.interfaces().map((i) => i.ifindex));
    const pinned = readdirSync(pins.links).flatMap((name) => parseLinkPin(name) ?? []);
    // The device is gone; what stays pinned is an empty shell.
    for (const pin of pinned)
      if (!existing.has(pin.ifindex)) rmSync(linkPin(pins, pin.ifindex, pin.point), { force: true });
    const adopted = [...new Set([...known, ...pinned.map((pin) => pin.ifindex)])].filter((i) => existing.has(i));
    for (const point of ORDER) for (const ifindex of adopted) this.#attachAt(ifindex, point);
    for (const ifindex of adopted) this.#removeOtherKind(ifindex);
  }

  /** Interfaces that carry our programs. */
  get ifindexes(): readonly number[] {
    return [...this.#attached.keys()];
  }

  has(ifindex: number): boolean {
    return this.#attached.has(ifindex);
  }

  #program(point: AttachPoint): KernelProgram {
    return point === 'egress' ? this.#programs.toWorkload : this.#programs.fromWorkload;
  }

  /** Idempotent. The endpoint's entries must be in the tables before. */
  attach(ifindex: number): void {
    for (const point of ORDER) {
      if (this.kind === 'clsact' && this.#attached.has(ifindex)) continue;
      if (this.#attached.get(ifindex)?.get(point)?.ifindex === ifindex) continue;
      this.#attachAt(ifindex, point);
    }
  }

  #attachAt(ifindex: number, point: AttachPoint): void {
    const links = this.#attached.get(ifindex) ?? new Map<AttachPoint, KernelLink>();
    if (this.kind === 'tcx') {
      links.get(point)?.close();
      links.set(point, this.#adopt(ifindex, point) ?? this.#link(ifindex, point));
    } else this.#kernel.attachClsact(this.#program(point), ifindex, point);
    // Only when both points are there does `attach` of a clsact interface have nothing left to do.
    if (this.kind === 'tcx' || point === ORDER.at(-1)) this.#attached.set(ifindex, links);
  }

  #adopt(ifindex: number, point: AttachPoint): KernelLink | undefined {
    const path = linkPin(this.#pins, ifindex, point);
    if (!existsSync(path)) return undefined;
    const link = this.#kernel.openLink(path);
    if (link.ifindex === ifindex) {
      link.update(this.#program(point));
      return link;
    }
    link.close();
    rmSync(path);
    return undefined;
  }

  #link(ifindex: number, point: AttachPoint): KernelLink {
    const link = this.#kernel.attachTcx(this.#program(point), ifindex, point);
    link.pin(linkPin(this.#pins, ifindex, point));
    return link;
  }

  #removeOtherKind(ifindex: number): void {
    for (const point of ORDER) {
      if (this.kind === 'clsact') this.#removePinned(ifindex, point);
      else if (this.#kernel.clsactProgram(ifindex, point) !== 0) this.#kernel.detachClsact(ifindex, point);
    }
  }

  #removePinned(ifindex: number, point: AttachPoint): void {
    const path = linkPin(this.#pins, ifindex, point);
    if (!existsSync(path)) return;
    const link = this.#kernel.openLink(path);
    if (link.ifindex !== 0) link.detach();
    link.close();
    rmSync(path);
  }

  detach(ifindex: number, deviceExists: boolean): void {
    const links = this.#attached.get(ifindex);
    if (links === undefined) return;
    for (const [point, link] of links) {
      if (link.ifindex !== 0) link.detach();
      link.close();
      rmSync(linkPin(this.#pins, ifindex, point), { force: true });
    }
    if (this.kind === 'clsact' && deviceExists) for (const point of ORDER) this.#kernel.detachClsact(ifindex, point);
    this.#attached.delete(ifindex);
  }

  /** Points at which programs of others see a workload's packets before ours do. */
  foreignFirst(ifindex: number): AttachPoint[] {
    if (this.kind === 'clsact') return [];
    return ORDER.filter((point) => {
      const ids = this.#kernel.tcxPrograms(ifindex, point);
      return ids[0] !== undefined && ids[0] !== this.#program(point).id;
    });
  }

  /** Whether both programs are where we put them. */
  inForce(ifindex: number): boolean {
    if (!this.#attached.has(ifindex)) return false;
    return ORDER.every((point) => {
      const { id } = this.#program(point);
      return this.kind === 'tcx'
        ? this.#kernel.tcxPrograms(ifindex, point).includes(id)
        : this.#kernel.clsactProgram(ifindex, point) === id;
    });
  }
}
