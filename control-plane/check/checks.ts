/** Can this machine run Sidestep, and what is lost where it can only in part? Each check is one question with a hint. */
import type { Kernel, KernelFeatures } from '../datapath/kernel.ts';
import { type TunnelSupport, tunnelSupport } from '../encryption/probe.ts';
import { SidestepError } from '../model/error.ts';
import { isNewEnough, OLDEST_KERNEL } from '../model/kernel-version.ts';

export interface CheckResult {
  readonly category: 'machine' | 'kernel' | 'installation' | 'HTTP rules';
  readonly name: string;
  /** warning: it runs, with something less. */
  readonly result: 'ok' | 'warning' | 'failed';
  readonly detail: string;
  readonly hint: string;
}

export interface CheckInputs {
  readonly platform: string;
  readonly release: string;
  readonly uid: number;
  readonly nodeVersion: string;
  /** Opens the addon; its error is a result too. */
  readonly openKernel: () => Kernel;
  /** Path of wireguard-go, for a kernel without WireGuard. */
  readonly wireguard: string;
  /** Path by which TUN and TAP devices are made. */
  readonly tun: string;
  /** Path of the compiled programs. @throws ADDON_MISSING */
  readonly findObject: () => string;
  /** Gives the kernel the programs at this path, and takes them away again. @throws KERNEL_* */
  readonly tryPrograms: (kernel: Kernel, path: string) => void;
  /** Looks at Envoy and its module. @returns its version @throws ENVOY_* */
  readonly probeEnvoy: (kernel: Kernel) => Promise<string>;
}

export async function runChecks(inputs: CheckInputs): Promise<CheckResult[]> {
  const built = programs(inputs);
  const results = [
    machine(inputs.platform),
    kernelVersion(inputs.release),
    privilege(inputs.uid),
    nodeVersion(inputs.nodeVersion),
    built,
  ];
  try {
    const kernel = inputs.openKernel();
    results.push({ category: 'installation', name: 'native addon loads', result: 'ok', detail: '', hint: '' });
    const found = kernel.features();
    const tunnel = tunnelSupport(found.wireguard, inputs.wireguard, inputs.tun);
    results.push(...features(found), encryption(tunnel), waiting(tunnel));
    if (built.result === 'ok' && inputs.uid === 0) results.push(verifier(inputs, kernel, built.detail));
    results.push(...httpFeatures(found), await envoy(inputs, kernel));
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    results.push({
      category: 'installation',
      name: 'native addon loads',
      result: 'failed',
      detail: error.message,
      hint: error.hint,
    });
  }
  return results;
}

const verdict = (ok: boolean, otherwise: 'warning' | 'failed' = 'failed'): 'ok' | 'warning' | 'failed' =>
  ok ? 'ok' : otherwise;

/** It cannot run without. */
function required(
  category: CheckResult['category'],
  name: string,
  ok: boolean,
  detail: string,
  hint: string,
): CheckResult {
  return { category, name, result: verdict(ok), detail, hint: ok ? '' : hint };
}

function machine(platform: string): CheckResult {
  const hint = 'Use a Linux machine or a virtual one; the offline commands (policy check) work anywhere.';
  return required('machine', 'runs Linux', platform === 'linux', platform, hint);
}

function kernelVersion(release: string): CheckResult {
  const name = `kernel is ${OLDEST_KERNEL} or newer`;
  return required('kernel', name, isNewEnough(release), release, 'Boot a newer kernel.');
}

function privilege(uid: number): CheckResult {
  const hint = 'Run with sudo: loading programs and entering namespaces needs it.';
  return required('machine', 'runs as root', uid === 0, `uid ${uid}`, hint);
}

function nodeVersion(version: string): CheckResult {
  const ok = Number(version.replace(/^v/, '').split('.')[0]) >= 24;
  return required('installation', 'Node is 24 or newer', ok, version, 'Run `make deps`; it installs its own Node.');
}

function programs(inputs: CheckInputs): CheckResult {
  const base = { category: 'installation', name: 'kernel programs are built' } as const;
  try {
    return { ...base, result: 'ok', detail: inputs.findObject(), hint: '' };
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    return { ...base, result: 'failed', detail: error.message, hint: error.hint };
  }
}

/** The features are what is known to be needed; this is the kernel's own word. */
function verifier(inputs: CheckInputs, kernel: Kernel, path: string): CheckResult {
  const base = { category: 'kernel', name: 'kernel takes the programs' } as const;
  try {
    inputs.tryPrograms(kernel, path);
    return { ...base, result: 'ok', detail: '', hint: '' };
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    return { ...base, result: 'failed', detail: error.message, hint: error.hint };
  }
}

const needed = (name: string, ok: boolean, hint: string): CheckResult => required('kernel', name, ok, '', hint);

/** It runs without, at a cost. */
function better(name: string, ok: boolean, cost: string, category: CheckResult['category'] = 'kernel'): CheckResult {
  return { category, name, result: verdict(ok, 'warning'), detail: ok ? '' : 'missing', hint: ok ? '' : cost };
}

function features(f: KernelFeatures): CheckResult[] {
  return [
    needed('bpf() system call', f.bpf, 'CONFIG_BPF_SYSCALL=y, and root or CAP_BPF.'),
    needed('hash tables that evict (LRU)', f.lruHash, 'CONFIG_BPF_SYSCALL=y on a kernel from 4.10.'),
    needed('longest-prefix tables', f.lpmTrie, 'CONFIG_BPF_SYSCALL=y on a kernel from 4.11.'),
    needed('ring buffer', f.ringBuffer, 'Needs a kernel from 5.8.'),
    needed('a tc hook (tcx or clsact)', f.tcx || f.clsact, 'CONFIG_NET_SCH_INGRESS=y and CONFIG_NET_CLS_BPF=y.'),
    // HTTP rules live by these two, but all programs are loaded together.
    needed('programs that pick a socket (sk_lookup)', f.skLookup, 'CONFIG_INET=y on a kernel from 5.9.'),
    needed('programs on a cgroup (getsockopt)', f.cgroupSockopt, 'CONFIG_CGROUP_BPF=y.'),
    better(
      'tcx links (6.6)',
      f.tcx,
      'clsact filters are used: they outlive the agent too, but anything with CAP_NET_ADMIN may replace them unseen.',
    ),
    better('bpf file system mounted', f.bpffs, 'The agent mounts it at its start: /sys/fs/bpf.'),
    better('kernel type information (BTF)', f.btf, 'Nothing is lost yet; error texts of the verifier are shorter.'),
    better('coarse clock for programs (5.11)', f.coarseClock, 'Each packet costs about 15 ns more.'),
  ];
}

/** What only HTTP rules need of the kernel. */
function httpFeatures(f: KernelFeatures): CheckResult[] {
  return [
    better(
      'cgroup v2',
      f.cgroup2 !== undefined,
      'HTTP rules refuse what they select: Envoy is known by its cgroup. Mount cgroup2, e.g. at /sys/fs/cgroup/unified.',
      'HTTP rules',
    ),
    better(
      "ending other processes' connections (CONFIG_INET_DIAG_DESTROY)",
      f.socketDestroy,
      'Connections that Envoy holds for an address live on when the address goes to another workload.',
      'HTTP rules',
    ),
  ];
}

async function envoy(inputs: CheckInputs, kernel: Kernel): Promise<CheckResult> {
  const base = { category: 'HTTP rules', name: 'Envoy and its module fit' } as const;
  try {
    return { ...base, result: 'ok', detail: await inputs.probeEnvoy(kernel), hint: '' };
  } catch (error) {
    if (!(error instanceof SidestepError)) throw error;
    return { ...base, result: 'warning', detail: error.message, hint: error.hint };
  }
}

/** Needed by policies that ask for authentication, and by --encryption on or strict. */
export function encryption({ kernel, userSpace, missing }: TunnelSupport): CheckResult {
  const base = { category: 'kernel', name: 'WireGuard', result: verdict(kernel, 'warning') } as const;
  if (kernel) return { ...base, detail: '', hint: '' };
  if (userSpace)
    return {
      ...base,
      detail: 'missing: a process on a TUN device does it',
      hint: 'Encrypted traffic between nodes costs more CPU, and a process of its own with its memory; CONFIG_WIREGUARD=m or y avoids both.',
    };
  return {
    ...base,
    detail: `missing, and so is what could stand in: ${missing ?? ''}`,
    hint: 'What a policy wants authenticated between nodes is refused. Load the module (modprobe wireguard), or run `make deps` on a kernel with CONFIG_TUN.',
  };
}

/** With the kernel's own WireGuard it would be missed only when the first packet is to wait. */
export function waiting({ tun }: TunnelSupport): CheckResult {
  return better(
    'TAP devices (CONFIG_TUN)',
    tun,
    'The first packet of a connection whose proof is not there yet is refused instead of waiting for it. Load the module: modprobe tun.',
  );
}
