/**
 * Calls of the Kernel port from a process of its own, which a test starts in another namespace or cgroup: the test itself
 * never moves. Reads [method, ...arguments][] as its argument, prints {value} or {code, errno} for each. Bytes are {hex}.
 */
import { openKernel } from '../../control-plane/datapath/addon.ts';
import type { Kernel } from '../../control-plane/datapath/kernel.ts';
import { KernelCause } from '../../control-plane/datapath/kernel-error.ts';
import { SidestepError } from '../../control-plane/model/error.ts';

type Method = { [K in keyof Kernel]: Kernel[K] extends (...args: never[]) => unknown ? K : never }[keyof Kernel];
export type Call = readonly [method: Method, ...args: unknown[]];

export interface Answer {
  readonly value?: unknown;
  readonly code?: string;
  readonly errno?: string;
}

const kernel = openKernel();

function answer([method, ...args]: Call): Answer {
  try {
    const run = kernel[method] as (...args: unknown[]) => unknown;
    return { value: run.apply(kernel, args) };
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    return { code: error.code, errno: error.cause instanceof KernelCause ? error.cause.errno : '' };
  }
}

function bytes(_: string, value: unknown): unknown {
  const isHex = typeof value === 'object' && value !== null && 'hex' in value && typeof value.hex === 'string';
  return isHex ? Buffer.from(String(value.hex), 'hex') : value;
}

const calls = JSON.parse(process.argv[2] ?? '[]', bytes) as Call[];
console.log(JSON.stringify(calls.map(answer)));
