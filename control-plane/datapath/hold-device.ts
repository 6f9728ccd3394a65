/** The programs that put held packets back, each on the device that they wait in. All of it lasts as long as the agent does. */
import type { AttachKind } from './attachments.ts';
import type { Closeable, Kernel, KernelObject } from './kernel.ts';

/**
 * @param name of what waits for a proof, or of DNS that the agent looks at
 * @throws KERNEL_*
 */
export function attachPutBack(
  kernel: Kernel,
  object: KernelObject,
  name: 'put_back' | 'put_back_dns',
  ifindex: number,
  kind: AttachKind,
): Closeable {
  const program = object.program(name);
  if (kind === 'tcx') return kernel.attachTcx(program, ifindex, 'ingress');
  kernel.attachClsact(program, ifindex, 'ingress');
  return { close: () => undefined }; // the filter goes with the device
}
