import { expect, test } from 'vitest';
import type { KernelFeatures } from '../datapath/kernel.ts';
import { MemoryKernel } from '../datapath/memory.ts';
import { SidestepError } from '../model/error.ts';
import { type CheckInputs, type CheckResult, encryption, runChecks } from './checks.ts';

class KernelWith extends MemoryKernel {
  readonly #changes: Partial<KernelFeatures>;

  constructor(changes: Partial<KernelFeatures>) {
    super();
    this.#changes = changes;
  }

  override features(): KernelFeatures {
    return { ...super.features(), cgroup2: '/sys/fs/cgroup', ...this.#changes };
  }
}

function check(features: Partial<KernelFeatures> = {}, inputs: Partial<CheckInputs> = {}): Promise<CheckResult[]> {
  return runChecks({
    platform: 'linux',
    release: '6.18.0',
    uid: 0,
    nodeVersion: 'v24.1.0',
    openKernel: () => new KernelWith(features),
    findObject: () => '/usr/lib/sidestep/sidestep.bpf.o',
    wireguard: '/usr/lib/sidestep/wireguard-go',
    tun: '/dev/null', // a device, which is all that is asked
    tryPrograms: () => undefined,
    probeEnvoy: async () => 'Envoy 1.40.0',
    ...inputs,
  });
}

const bad = (results: readonly CheckResult[]): CheckResult[] => results.filter(({ result }) => result !== 'ok');

test('a machine that has everything passes, and no line of it has a hint', async () => {
  const results = await check();
  expect(bad(results)).toEqual([]);
  expect(results.filter(({ hint }) => hint !== '')).toEqual([]);
  expect(results.filter(({ category }) => category === 'HTTP rules').map(({ name, detail }) => [name, detail])).toEqual(
    [
      ['cgroup v2', ''],
      ["ending other processes' connections (CONFIG_INET_DIAG_DESTROY)", ''],
      ['Envoy and its module fit', 'Envoy 1.40.0'],
    ],
  );
});

const ANYTHING = expect.stringMatching(/./);

test.each([
  ['cgroup2', undefined, 'warning', 'HTTP rules', /^HTTP rules refuse what they select/],
  ['socketDestroy', false, 'warning', 'HTTP rules', /live on/],
  ['skLookup', false, 'failed', 'kernel', /5\.9/],
  ['cgroupSockopt', false, 'failed', 'kernel', /CONFIG_CGROUP_BPF/],
  ['tcx', false, 'warning', 'kernel', /clsact/],
  ['ringBuffer', false, 'failed', 'kernel', /5\.8/],
  ['coarseClock', false, 'warning', 'kernel', /15 ns/],
] as const)('%s %j: %s among %s', async (feature, value, result, category, hint) => {
  expect(bad(await check({ [feature]: value }))).toMatchObject([
    { category, name: ANYTHING, result, hint: expect.stringMatching(hint) },
  ]);
});

test('without a tc hook of either kind it cannot run', async () => {
  expect(bad(await check({ tcx: false, clsact: false })).map(({ result }) => result)).toContain('failed');
});

test.each(['ENVOY_MISSING', 'ENVOY_VERSION', 'ENVOY_MODULE_MISSING', 'ENVOY_MODULE_MISMATCH'] as const)(
  '%s: all but HTTP rules works, in the words of the probe',
  async (code) => {
    const error = new SidestepError(code, '/opt/envoy is of no use');
    const results = await check({}, { probeEnvoy: () => Promise.reject(error) });
    expect(bad(results)).toEqual([
      {
        category: 'HTTP rules',
        name: 'Envoy and its module fit',
        result: 'warning',
        detail: '/opt/envoy is of no use',
        hint: error.hint,
      },
    ]);
  },
);

test('a mistake of ours in the probe is not taken for a finding', async () => {
  await expect(check({}, { probeEnvoy: () => Promise.reject(new TypeError('oops')) })).rejects.toThrow('oops');
});

test.each([
  [{ platform: 'darwin' }, 'machine', 'runs Linux'],
  [{ release: '5.10.0-46-amd64' }, 'kernel', 'kernel is 5.17 or newer'],
  [{ uid: 1000 }, 'machine', 'runs as root'],
  [{ nodeVersion: 'v22.9.0' }, 'installation', 'Node is 24 or newer'],
] as const)('%j is said', async (inputs, category, name) => {
  expect(bad(await check({}, inputs))).toEqual([
    { category, name, result: 'failed', detail: ANYTHING, hint: ANYTHING },
  ]);
});

test('a program that the kernel refuses is named', async () => {
  const error = new SidestepError('KERNEL_LOAD_FAILED', 'pick_envoy: invalid bpf_context access');
  const tried: string[] = [];
  const tryPrograms = (_kernel: unknown, path: string): never => {
    tried.push(path);
    throw error;
  };
  expect(bad(await check({}, { tryPrograms }))).toEqual([
    {
      category: 'kernel',
      name: 'kernel takes the programs',
      result: 'failed',
      detail: error.message,
      hint: error.hint,
    },
  ]);
  expect(tried).toEqual(['/usr/lib/sidestep/sidestep.bpf.o']);
  // It would be refused for lack of privilege, which is said already.
  expect(bad(await check({}, { tryPrograms, uid: 1000 })).map(({ name }) => name)).toEqual(['runs as root']);
});

test('what is not built is said, and nothing that needs it is asked', async () => {
  const missing = (): never => {
    throw new SidestepError('ADDON_MISSING', 'not built');
  };
  const results = await check({}, { openKernel: missing, findObject: missing });
  expect(bad(results).map(({ name }) => name)).toEqual(['kernel programs are built', 'native addon loads']);
  expect(results.some(({ category }) => category === 'HTTP rules')).toBe(false);
});

test('a kernel with WireGuard needs no process', () => {
  expect(encryption({ kernel: true, userSpace: false, tun: false, missing: 'no TUN' })).toMatchObject({
    result: 'ok',
    hint: '',
  });
});

test('without it: a process does it, and what that costs is said', () => {
  const found = encryption({ kernel: false, userSpace: true, tun: true, missing: undefined });
  expect(found).toMatchObject({ name: 'WireGuard', result: 'warning' });
  expect(found.hint).toContain('costs more CPU');
});

test('with neither: what is refused then, and what is missing', () => {
  const found = encryption({ kernel: false, userSpace: false, tun: false, missing: '/dev/net/tun is not there' });
  expect(found.result).toBe('warning');
  expect(found.detail).toContain('/dev/net/tun is not there');
  expect(found.hint).toContain('refused');
});

test('without TAP devices: no packet can wait, whoever encrypts', async () => {
  expect(bad(await check({}, { tun: '/no/such/device' }))).toMatchObject([
    {
      category: 'kernel',
      name: 'TAP devices (CONFIG_TUN)',
      result: 'warning',
      hint: expect.stringContaining('refused'),
    },
  ]);
});
