/** Can this machine run Sidestep, and what is lost where it can only in part? Each check is one question with a hint. */
import type { Kernel, KernelFeatures } from '../datapath/kernel.ts';
import { type TunnelSupport, tunnelSupport } from '../encryption/probe.ts';
import { SidestepError } from '../model/error.ts';

export interface CheckResult {
  readonly category: 'machine' | 'kernel' | 'installation';
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
  /** Path of the compiled programs. @throws ADDON_MISSING */
  readonly findObject: () => string;
}

const OLDEST = [5, 10] as const;

export function runChecks(inputs: CheckInputs): CheckResult[] {
  const results = [
    machine(inputs),
    kernelVersion(inputs.release),
    privilege(inputs.uid),
    nodeVersion(inputs.nodeVersion),
    programs(inputs),
  ];
  try {
    const kernel = inputs.openKernel();
    results.push({ category: 'installation', name: 'native addon loads', result: 'ok', detail: '', hint: '' });
    const found = kernel.features();
    results.push(...features(found), encryption(tunnelSupport(found.wireguard, inputs.wireguard)));
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

function machine({ platform }: CheckInputs): CheckResult {
  const ok = platform === 'linux';
  return {
    category: 'machine',
    name: 'runs Linux',
    result: verdict(ok),
    detail: platform,
    hint: ok ? '' : 'Use a Linux machine or a virtual one; the offline commands (policy check) work anywhere.',
  };
}

function kernelVersion(release: string): CheckResult {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  const ok = major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
  return {
    category: 'kernel',
    name: 'kernel is 5.10 or newer',
    result: verdict(ok),
    detail: release,
    hint: ok ? '' : 'Boot a newer kernel.',
  };
}

function privilege(uid: number): CheckResult {
  const ok = uid === 0;
  return {
    category: 'machine',
    name: 'runs as root',
    result: verdict(ok),
    detail: `uid ${uid}`,
    hint: ok ? '' : 'Run with sudo: loading programs and entering namespaces needs it.',
  };
}

function nodeVersion(version: string): CheckResult {
  const ok = Number(version.replace(/^v/, '').split('.')[0]) >= 24;
  return {
    category: 'installation',
    name: 'Node is 24 or newer',
    result: verdict(ok),
    detail: version,
    hint: ok ? '' : 'Run `make deps`; it installs its own Node.',
  };
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

function features(f: KernelFeatures): CheckResult[] {
  const needed = (name: string, ok: boolean, hint: string): CheckResult => ({
    category: 'kernel',
    name,
    result: verdict(ok),
    detail: '',
    hint: ok ? '' : hint,
  });
  const better = (name: string, ok: boolean, cost: string): CheckResult => ({
    category: 'kernel',
    name,
    result: verdict(ok, 'warning'),
    detail: ok ? '' : 'missing',
    hint: ok ? '' : cost,
  });
  return [
    needed('bpf() system call', f.bpf, 'CONFIG_BPF_SYSCALL=y, and root or CAP_BPF.'),
    needed('hash tables that evict (LRU)', f.lruHash, 'CONFIG_BPF_SYSCALL=y on a kernel from 4.10.'),
    needed('longest-prefix tables', f.lpmTrie, 'CONFIG_BPF_SYSCALL=y on a kernel from 4.11.'),
    needed('ring buffer', f.ringBuffer, 'Needs a kernel from 5.8.'),
    needed('a tc hook (tcx or clsact)', f.tcx || f.clsact, 'CONFIG_NET_SCH_INGRESS=y and CONFIG_NET_CLS_BPF=y.'),
    better(
      'tcx links (6.6)',
      f.tcx,
      'clsact filters are used: they outlive the agent too, but anything with CAP_NET_ADMIN may replace them unseen.',
    ),
    better('bpf file system mounted', f.bpffs, 'The agent mounts it at its start: /sys/fs/bpf.'),
    better(
      'cgroup v2',
      f.cgroup2 !== undefined,
      'Not needed for layer 3 and 4; service translation and Envoy will need it.',
    ),
    better('kernel type information (BTF)', f.btf, 'Nothing is lost yet; error texts of the verifier are shorter.'),
    better('coarse clock for programs (5.11)', f.coarseClock, 'Each packet costs about 15 ns more.'),
  ];
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
