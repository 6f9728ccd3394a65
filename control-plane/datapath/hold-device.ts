/** The program that puts held packets back, on the device that they wait in. Both last as long as the agent does. */
import type { AttachKind } from './attachments.ts';
import type { Closeable, Kernel, KernelObject } from './kernel.ts';

/** @throws KERNEL_* */
export function attachPutBack(kernel: Kernel, object: KernelObject, ifindex: number, kind: AttachKind): Closeable {
  const program = object.program('put_back');
  if (kind === 'tcx') return kernel.attachTcx(program, ifindex, 'ingress');
  kernel.attachClsact(program, ifindex, 'ingress');
  return { close: () => undefined }; // the filter goes with the device
}
