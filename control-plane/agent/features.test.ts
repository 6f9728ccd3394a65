import { expect, test } from 'vitest';
import { MemoryKernel } from '../datapath/memory.ts';
import { requireFeatures } from './features.ts';

const WHOLE = new MemoryKernel().features();

test('a whole kernel is taken, and 5.17 without tcx', () => {
  requireFeatures(WHOLE, 'auto');
  requireFeatures({ ...WHOLE, release: '5.17.0-1-amd64', tcx: false, coarseClock: false }, 'auto');
});

test.each(['5.16.20', '5.10.0-46-amd64', '4.19.0-27-amd64'])('%s is too old', (release) => {
  expect(() => requireFeatures({ ...WHOLE, release }, 'auto')).toThrow(
    expect.objectContaining({ code: 'KERNEL_TOO_OLD' }),
  );
});

test('everything that is missing is named at once', () => {
  expect(() => requireFeatures({ ...WHOLE, ringBuffer: false, lpmTrie: false }, 'auto')).toThrow(
    expect.objectContaining({
      code: 'KERNEL_FEATURE_MISSING',
      message: 'this kernel lacks longest-prefix tables, the BPF ring buffer',
    }),
  );
});

test.each(['skLookup', 'cgroupSockopt'] as const)('without %s the programs cannot be loaded', (feature) => {
  expect(() => requireFeatures({ ...WHOLE, [feature]: false }, 'auto')).toThrow(
    expect.objectContaining({ code: 'KERNEL_FEATURE_MISSING' }),
  );
});

test('a hook that was asked for by name is not replaced by another', () => {
  expect(() => requireFeatures({ ...WHOLE, tcx: false }, 'tcx')).toThrow('this kernel lacks tcx links (6.6)');
  requireFeatures({ ...WHOLE, tcx: false }, 'clsact');
});
