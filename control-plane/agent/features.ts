/** What the kernel must have before the agent touches it. `sidestep check` says the same at more length. */
import type { KernelFeatures } from '../datapath/kernel.ts';
import { SidestepError } from '../model/error.ts';
import { isNewEnough } from '../model/kernel-version.ts';
import type { Config } from './config.ts';

/** @throws KERNEL_TOO_OLD, KERNEL_FEATURE_MISSING naming everything that is missing */
export function requireFeatures(features: KernelFeatures, attach: Config['attach']): void {
  if (!isNewEnough(features.release)) throw new SidestepError('KERNEL_TOO_OLD', `this kernel is ${features.release}`);
  const hooks = {
    auto: [features.tcx || features.clsact, 'a tc hook'],
    tcx: [features.tcx, 'tcx links (6.6)'],
    clsact: [features.clsact, 'clsact filters'],
  } as const;
  const missing = [
    [features.bpf, 'the bpf() system call'],
    [features.lruHash, 'LRU hash tables'],
    [features.lpmTrie, 'longest-prefix tables'],
    [features.ringBuffer, 'the BPF ring buffer'],
    // All programs are loaded together.
    [features.skLookup, 'programs that pick a socket (sk_lookup)'],
    [features.cgroupSockopt, 'programs on a cgroup (CONFIG_CGROUP_BPF)'],
    hooks[attach],
  ].flatMap(([there, what]) => (there ? [] : [what]));
  if (missing.length > 0) throw new SidestepError('KERNEL_FEATURE_MISSING', `this kernel lacks ${missing.join(', ')}`);
}
